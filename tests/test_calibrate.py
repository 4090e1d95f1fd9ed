# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The stage `calibrate`: histograms in, caches in TensorRT's format out."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from stages import calibrate, export, observe, precision, sanitize
from stages.calibration import methods, observations
from stages.lib import caches, errors, files, graphs, layout, observed, schema
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from tests.conftest import Project

METHODS = {
    "minmax": "MinMaxCalibration",
    "entropy": "EntropyCalibration2",
    "percentile": "LegacyCalibration",
    "mse": "EntropyCalibration2",
}


@pytest.fixture
def calibrated(project: Project) -> Project:
    for stage in (export, sanitize, observe, calibrate):
        stage.main("tiny")
    return project


def read(method: str) -> caches.Cache:
    path = layout.cache("tiny", method)
    return caches.parse(path.read_bytes(), str(path))


def ranged() -> tuple[observations.Arrays, list[str]]:
    """Observations, and the names of tensors with a histogram."""
    found = observations.read(layout.observations("tiny"))
    return found, [str(found["names"][place]) for place in found["ranged"]]


@pytest.mark.usefixtures("calibrated")
def test_one_cache_for_each_method_with_its_own_header() -> None:
    _, names = ranged()
    for method, algorithm in METHODS.items():
        cache = read(method)
        assert (cache.version, cache.algorithm) == (101601, algorithm)
        assert list(cache.scales) == names
    for method in ("none", "imported"):
        assert layout.cache("tiny", method).read_bytes() == b"no ranges\n"


@pytest.mark.usefixtures("calibrated")
def test_scales_are_the_ranges_over_127_levels() -> None:
    found, names = ranged()
    for row, name in enumerate(names):
        maximum = float(found["maxima"][found["ranged"][row]])
        width = 2.0 ** found["exponents"][row] / int(found["bins"])
        counts = found["counts"][row]
        wanted = {
            "minmax": methods.minmax(maximum, int(found["bins"])),
            "entropy": methods.entropy(counts, width),
            "percentile": methods.percentile(counts, width, maximum, 99.99),
            "mse": methods.mse(counts, width, int(found["zeros"][row])),
        }
        for method, value in wanted.items():
            assert read(method).scales[name] == np.float32(value / 127), method
            assert value <= 2 * maximum


def test_version_algorithms_and_percentile_are_the_params(calibrated: Project) -> None:
    before = {method: layout.cache("tiny", method).read_bytes() for method in METHODS}
    algorithms = {"percentile": "Mine", "mse": "Yours"}
    settings = {"cache_version": 110400, "percentile": 90, "algorithms": algorithms, "import": None}
    calibrated.set("models.tiny.calibrate", settings)
    calibrate.main("tiny")
    assert read("minmax").version == 110400
    assert (read("percentile").algorithm, read("mse").algorithm) == ("Mine", "Yours")
    assert read("minmax").scales == caches.parse(before["minmax"], "").scales
    new, old = read("percentile").scales, caches.parse(before["percentile"], "").scales
    assert all(new[name] < old[name] for name in new)


@pytest.mark.usefixtures("calibrated")
def test_a_tensor_without_a_range_gets_zero_and_is_told() -> None:
    found, names = ranged()
    dead = sorted([names[0], names[-1]])
    found["maxima"][found["names"] == dead[0]] = 0.0
    found["maxima"][found["names"] == dead[1]] = np.inf
    observations.write(layout.observations("tiny"), found)
    calibrate.main("tiny")
    for method in METHODS:
        assert [name for name, scale in read(method).scales.items() if scale == 0] == dead
    told = files.read_json(layout.facts("calibrate", "tiny"))["details"]
    assert told["without_range"] == dead
    assert (told["samples"], told["tensors"], told["imported"]) == (24, len(names), None)


@pytest.mark.usefixtures("calibrated")
def test_ranges_json_holds_what_the_caches_cannot() -> None:
    found, names = ranged()
    made = files.read_json(layout.ranges("tiny"))
    assert schema.problems(made, schema.read(layout.schema("ranges"))) == []
    assert list(made["tensors"]) == names
    assert made["graph_digest"] == observed.graph_digest(layout.clean("tiny"))
    assert made["data_digest"] == str(found["data"])
    for name, entry in made["tensors"].items():
        assert entry["methods"]["minmax"]["clipped"] == 0
        for method in METHODS:
            limit = entry["methods"][method]["range"]
            assert np.float32(limit / 127) == np.float32(read(method).scales[name])


def put(project: Project, name: str, *rows: str) -> None:
    """A cache from elsewhere, of all tensors of the graph unless `rows` says other."""
    _, names = ranged()
    made = rows or [f"{tensor}: {index + 0x3C000000:x}" for index, tensor in enumerate(names)]
    extra = ["(Unnamed Layer* 3) [Constant]_output: 3c010a14", "a: b: 3C010A14"]
    text = "\n".join(["TRT-8601-MinMaxCalibration", *made, *extra]) + "\n"
    (project.root / layout.caches("tiny") / name).write_text(text)
    project.set("models.tiny.calibrate.import", name)


def test_a_cache_from_elsewhere_is_a_method(calibrated: Project) -> None:
    before = {method: layout.cache("tiny", method).read_bytes() for method in METHODS}
    put(calibrated, "trt 8.cache")
    calibrate.main("tiny")
    assert {method: layout.cache("tiny", method).read_bytes() for method in METHODS} == before
    _, names = ranged()
    cache = read("imported")
    assert (cache.version, cache.algorithm) == (101601, "MinMaxCalibration")
    bits = [struct.pack(">f", scale).hex() for scale in cache.scales.values()]
    assert bits == [f"{0x3C000000 + index:x}" for index in range(len(names))]
    made = files.read_json(layout.ranges("tiny"))
    assert schema.problems(made, schema.read(layout.schema("ranges"))) == []
    told = made["imported"]
    assert (told["version"], told["not_in_the_graph"], told["used"]) == (8601, 2, len(names))
    first = made["tensors"][names[0]]["methods"]["imported"]
    assert first["range"] == cache.scales[names[0]] * 127


def test_a_cache_of_another_graph_is_refused_and_nothing_is_left(calibrated: Project) -> None:
    for path in layout.cache("tiny", "none").parent.iterdir():
        path.unlink()
    put(calibrated, "other.cache", "conv_9: 3c010a14")
    with pytest.raises(errors.CalibrationError, match=r"other\.cache does not fit the graph"):
        calibrate.main("tiny")
    assert not layout.ranges("tiny").exists()
    assert not layout.cache("tiny", "imported").exists()


def test_hostile_names_reach_the_typed_graph_and_come_back_from_a_cache(project: Project) -> None:
    hostile = {"b": "a: b (1)", "g": " x: 3f800000", "d": "tab\there", "c": "\u2028", "a": "_scale"}
    proto = zoo.tiny()
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [hostile.get(name, name) for name in names]
    source = project.root / layout.model_source("tiny") / "net.onnx"
    source.write_bytes(proto.SerializeToString())
    for stage in (export, sanitize, observe, calibrate):
        stage.main("tiny")
    precision.main("tiny-int8")
    graph, scales = graphs.load(layout.typed("tiny-int8")).graph, read("entropy").scales
    assert set(scales) == {"x", "a: b (1)", " x: 3f800000"}
    quantized = {
        node.inputs[0].name: node.inputs[1].const_value
        for node in graph
        if node.op_type == "QuantizeLinear" and node.inputs[0] and node.inputs[1]
    }
    for name, scale in scales.items():
        found = quantized[name]
        assert found is not None
        assert found.numpy().tobytes() == np.float32(scale).tobytes()
    ours = layout.cache("tiny", "entropy").read_bytes()
    foreign = project.root / layout.caches("tiny") / "theirs.cache"
    foreign.write_bytes(ours.replace(b"TRT-101601-", b"TRT-8601-"))
    project.set("models.tiny.calibrate.import", foreign.name)
    calibrate.main("tiny")
    assert layout.cache("tiny", "imported").read_bytes() == ours


def test_a_killed_run_leaves_nothing_half_written(calibrated: Project) -> None:
    folder = layout.ranges("tiny").parent
    assert calibrated.run("calibrate", "tiny").returncode == 0
    old = {path.name: path.read_bytes() for path in folder.iterdir()}
    for delay in (0.2, 0.4, 0.5, 0.6):
        command = [sys.executable, "-m", "stages.calibrate", "tiny"]
        with subprocess.Popen(command, cwd=calibrated.root, stdout=subprocess.DEVNULL) as process:
            time.sleep(delay)
            process.kill()
        # The same ranges again: whenever the kill comes, each file is whole.
        assert {name: (folder / name).read_bytes() for name in old} == old
    assert calibrated.run("calibrate", "tiny").returncode == 0
    assert sorted(path.name for path in folder.iterdir()) == sorted(old)


@pytest.mark.usefixtures("project")
def test_without_observations_it_says_what_runs_first() -> None:
    with pytest.raises(errors.ArtifactError, match=r"observations\.npz is not there"):
        calibrate.main("tiny")
