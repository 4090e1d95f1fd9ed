# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Tactics recorded and replayed by TensorRT on a real GPU.

One command: `bench/device.sh --test`. It needs the package `tensorrt` too.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from ruamel.yaml import YAML

from stages.lib import errors, files, layout, machine, pins

ROOT = Path(__file__).parents[2]
ENGINE = "digits-fp32-b64"
COMMITTED = layout.timing("digits") / f"{ENGINE}.cache"

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def here() -> machine.Gpu:
    try:
        return machine.gpu()
    except errors.NoDeviceError as error:
        pytest.skip(f"not run: {error.what.splitlines()[0]}")


@pytest.fixture(scope="module")
def trt() -> Any:
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        pytest.skip(f"not run: the package tensorrt cannot be imported ({error})")
    return tensorrt


@pytest.fixture
def project(tmp_path: Path, here: machine.Gpu, trt: Any) -> Path:
    """A project with one engine of `tensorrt`, pinned to what is here, and its typed graph."""
    assert trt.__version__
    for name in ("schemas", "stages"):
        (tmp_path / name).symlink_to(ROOT / name)
    document = YAML(typ="safe").load(ROOT / "params.yaml")
    engine = document["engines"][ENGINE]
    engine["backend"] = "tensorrt"
    engine["builder"] = {
        "workspace_mib": 256,
        "optimization_level": 3,
        "sparsity": False,
        "hardware_compatibility": "none",
        "version_compatible": False,
        "strip_plan": False,
        "refit": False,
        "max_aux_streams": 0,
        "profiling_verbosity": "detailed",
        "timing_cache": "record",
        "gpu": {"name": here.name, "compute_capability": here.compute_capability},
    }
    toolchain = document["toolchain"]["tensorrt"]
    toolchain["packages"] = {"tensorrt": pins.installed("tensorrt")}
    toolchain["cuda_runtime"] = machine.cuda_runtime("13.0")
    toolchain["driver_min"] = "1.0"
    write(tmp_path, document)
    write_graph(tmp_path / layout.typed(ENGINE))
    return tmp_path


def write(project: Path, document: Any) -> None:
    with (project / "params.yaml").open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump(document, stream)


def write_graph(folder: Path) -> None:
    """Convolutions of several sizes, which TensorRT has several kernels for."""
    rng = np.random.default_rng(0)
    nodes, weights, name, channels = [], [], "image", 1
    for index, (width, size) in enumerate([(32, 3), (64, 3), (64, 5), (10, 8)]):
        weight = rng.standard_normal((width, channels, size, size)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight / size, f"w{index}"))
        pads = [0 if size == 8 else size // 2] * 4
        inputs = [name, f"w{index}"]
        nodes.append(helper.make_node("Conv", inputs, [f"c{index}"], f"conv{index}", pads=pads))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"], f"relu{index}"))
        name, channels = f"r{index}", width
    nodes.append(helper.make_node("Flatten", [name], ["logits"], "flatten"))
    shape: list[int | str] = ["batch", 1, 8, 8]
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "graph", [image], [logits], weights)
    folder.mkdir(parents=True)
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.save(model, folder / layout.GRAPH_FILE)


def run(project: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stages.build", ENGINE]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def told(project: Path) -> dict[str, Any]:
    details: dict[str, Any] = json.loads((project / layout.facts("build", ENGINE)).read_bytes())
    return dict(details["details"])


@pytest.fixture
def recorded(project: Path) -> Path:
    """A project whose engine is set to replay what was recorded just now."""
    done = run(project)
    assert (done.returncode, done.stderr) == (0, "")
    recording = project / layout.recording(ENGINE)
    assert f"cp {layout.recording(ENGINE)} {COMMITTED}" in done.stdout
    facts = told(project)["timing_cache"]
    assert facts["mode"] == "record"
    assert facts["sha256"] == files.sha256(recording)
    assert facts["keys"] > 0
    (project / COMMITTED).parent.mkdir(parents=True)
    shutil.copy(recording, project / COMMITTED)
    document = YAML(typ="safe").load(project / "params.yaml")
    document["engines"][ENGINE]["builder"]["timing_cache"] = "replay"
    write(project, document)
    return project


def test_a_replay_keeps_every_tactic(recorded: Path) -> None:
    first = told(recorded)
    for _ in range(2):
        done = run(recorded)
        assert (done.returncode, done.stderr) == (0, "")
        again = told(recorded)
        assert again["timing_cache"]["compared"] == {"added": 0, "removed": 0, "changed": 0}
        assert again["timing_cache"]["keys"] == first["timing_cache"]["keys"]
        assert again["timing_cache"]["sha256"] == first["timing_cache"]["sha256"]
        assert again["plan"]["bytes"] == first["plan"]["bytes"]


def edit(trt: Any, path: Path, tactic: int, time: float) -> None:
    """Overwrite the first key; the time NaN deletes it (NvInfer.h, ITimingCache::update)."""
    builder = trt.Builder(trt.Logger())
    config = builder.create_builder_config()
    config.set_flag(trt.BuilderFlag.EDITABLE_TIMING_CACHE)
    cache = config.create_timing_cache(path.read_bytes())
    assert cache.update(cache.queryKeys()[0], trt.TimingCacheValue(tactic, time))
    path.write_bytes(bytes(cache.serialize()))


@pytest.mark.parametrize(("tactic", "time"), [(12345, 0.001), (12345, float("nan"))])
def test_a_tampered_key_is_refused(recorded: Path, trt: Any, tactic: int, time: float) -> None:
    before = (recorded / layout.plan(ENGINE)).read_bytes()
    edit(trt, recorded / COMMITTED, tactic, time)
    done = run(recorded)
    refusals = (errors.ArtifactError.exit_code, errors.BuildError.exit_code)
    assert done.returncode in refusals, done.stdout
    assert f"If {COMMITTED} no longer fits: set engines.{ENGINE}." in done.stderr
    assert (recorded / layout.plan(ENGINE)).read_bytes() == before


def test_a_truncated_file_is_refused(recorded: Path) -> None:
    path = recorded / COMMITTED
    path.write_bytes(path.read_bytes()[:100])
    done = run(recorded)
    assert done.returncode == errors.ArtifactError.exit_code
    assert f"{COMMITTED.name} holds no tactics" in done.stderr
