# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The stage `observe`: what it sees is the data, however the data is cut."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from stages import calibrate, export, observe, sanitize
from stages.calibration import observations
from stages.lib import errors, files, layout
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Project

OUT = layout.observations("tiny")
X = ("batch", 3, 8, 8)


@pytest.fixture
def clean(project: Project) -> Project:
    export.main("tiny")
    sanitize.main("tiny")
    return project


def put(project: Project, nodes: list[onnx.NodeProto], *constants: onnx.TensorProto) -> None:
    """Make the clean graph of these nodes, from `x` to `logits`."""
    proto = zoo.model(nodes, [zoo.face("x", *X)], [zoo.face("logits", "batch")], constants)
    proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    folder = project.root / layout.clean("tiny")
    shutil.rmtree(folder, ignore_errors=True)
    zoo.put(proto, folder)


def elementwise(first: str = "x") -> list[onnx.NodeProto]:
    return [
        zoo.node("Mul", [first, "factor"], ["scaled"]),
        zoo.node("Relu", ["scaled"], ["positive"]),
        zoo.node("ReduceMax", ["positive", "axes"], ["logits"], keepdims=0),  # one value a sample
    ]


CONSTANTS = (zoo.const("factor", 0.37), zoo.const("axes", [1, 2, 3], np.int64))


def samples(project: Project) -> list[np.ndarray[Any, Any]]:
    folder: Path = project.root / layout.samples("tiny", "calibration")
    return [np.load(path)["x"] for path in sorted(folder.glob("*.npz"))]


def write(project: Project, *files: np.ndarray[Any, Any]) -> None:
    folder = project.root / layout.samples("tiny", "calibration")
    shutil.rmtree(folder)
    folder.mkdir()
    for number, array in enumerate(files):
        np.savez(folder / f"{number:03}.npz", allow_pickle=False, x=array)


def test_what_is_recorded_is_the_data(clean: Project) -> None:
    observe.main("tiny")
    found = observations.read(OUT)
    names = found["names"].tolist()
    assert names == sorted(["x", "a", "b", "c", "d", "e", "f", "g", "logits"])
    ranged = [names[place] for place in found["ranged"]]
    data = np.concatenate(samples(clean))
    assert int(found["samples"]) == len(data) == 24
    place = names.index("x")
    assert found["maxima"][place] == np.abs(data).max()
    row = ranged.index("x")
    assert found["counts"][row].sum() == data.size
    assert found["negative"][row].sum() == (data < 0).sum()
    assert found["zeros"][row] == (data == 0).sum()
    assert (found["lowest"][place], found["highest"][place]) == (data.min(), data.max())
    start, end = found["channel_offsets"][place : place + 2]
    wanted = np.abs(data).max(axis=(0, 2, 3))
    np.testing.assert_array_equal(found["channel_maxima"][start:end], wanted)
    np.testing.assert_array_equal(found["counts"].sum(axis=1) > 0, True)


def test_neither_batches_nor_files_change_the_bytes(project: Project) -> None:
    put(project, elementwise(), *CONSTANTS)
    observe.main("tiny")
    first = OUT.read_bytes()
    for size in (1, 5, 64):
        project.set("models.tiny.observe.batch", size)
        observe.main("tiny")
        assert OUT.read_bytes() == first, size
    write(project, np.concatenate(samples(project))[::-1])
    observe.main("tiny")
    assert OUT.read_bytes() == first


def test_the_memory_of_a_run_changes_no_byte(project: Project) -> None:
    """1 MiB holds few samples of these activations, 1000 MiB all."""
    side = 64
    faces = [zoo.face("x", "batch", 3, side, side)], [zoo.face("logits", "batch")]
    proto = onnx.shape_inference.infer_shapes(zoo.model(elementwise(), *faces, CONSTANTS))
    zoo.put(proto, project.root / layout.clean("tiny"))
    bounds = {key: [8, 3, side, side] for key in ("min", "opt", "max")}
    project.set("models.tiny.inputs.x.shape", ["batch", 3, side, side])
    project.set("profiles.tiny", [{"x": bounds}])
    write(project, zoo.values(20, 3, side, side))
    found = []
    for memory in (1, 1000):
        project.set("models.tiny.observe.memory_mib", memory)
        observe.main("tiny")
        found.append(OUT.read_bytes())
    assert found[0] == found[1]


def test_samples_of_any_form_give_the_same_bytes(clean: Project) -> None:
    observe.main("tiny")
    first, data = OUT.read_bytes(), np.concatenate(samples(clean))
    folder = clean.root / layout.samples("tiny", "calibration")
    shutil.rmtree(folder)
    folder.mkdir()
    np.save(folder / "x.npy", data)
    observe.main("tiny")
    as_npy = OUT.read_bytes()
    (folder / "x.npy").rename(folder / "x.data")
    (folder / "data.py").write_text(
        "import pathlib\nimport numpy as np\n\ndef load_data():\n"
        "    whole = np.load(pathlib.Path(__file__).with_name('x.data'))\n"
        "    for start in range(0, 24, 7):\n        yield {'x': whole[start:start + 7]}\n"
    )
    observe.main("tiny")
    for found in (as_npy, OUT.read_bytes()):
        (clean.root / "found.npz").write_bytes(found)
        read = observations.read(clean.root / "found.npz")
        (clean.root / "found.npz").write_bytes(first)
        wanted = observations.read(clean.root / "found.npz")
        # The runtime computes a matrix product differently in another batch, in the last bits.
        for name in ("graph", "data", "names", "samples", "ranged"):
            np.testing.assert_array_equal(read[name], wanted[name])
        np.testing.assert_allclose(read["maxima"], wanted["maxima"], rtol=1e-5)


def test_what_the_samples_cannot_tell_is_noted(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    put(project, elementwise(), *CONSTANTS)
    project.set("models.tiny.inputs.x.shape", ["batch", 3, "side", "side"])
    write(project, zoo.values(1, 3, 8, 8))
    observe.main("tiny")
    notes = files.read_json(layout.facts("observe", "tiny"))["details"]["notes"]
    assert notes[0] == "one sample: its ranges say little about any other"
    assert "'side' of input 'x' may vary, and is 8 in every calibration sample" in notes[1]
    assert f"observe tiny: note: {notes[0]}" in capsys.readouterr().out


def test_a_constant_sample_is_observed(clean: Project) -> None:
    write(clean, np.zeros((3, 3, 8, 8), np.float32))
    observe.main("tiny")
    calibrate.main("tiny")
    assert "x: 00000000\n" in layout.cache("tiny", "entropy").read_text()
    assert "x" in files.read_json(layout.facts("calibrate", "tiny"))["details"]["without_range"]


def test_a_changed_sample_changes_the_ranges(clean: Project) -> None:
    caches = []
    for factor in (1.0, 3.0):
        first, second = samples(clean)
        second[4] *= np.float32(factor)
        write(clean, first, second)
        observe.main("tiny")
        calibrate.main("tiny")
        caches.append([layout.cache("tiny", m).read_bytes() for m in ("minmax", "entropy", "none")])
    minmax, entropy, none = zip(*caches, strict=True)
    assert minmax[0] != minmax[1]
    assert entropy[0] != entropy[1]
    assert none[0] == none[1]


def test_the_bins_are_the_params(clean: Project) -> None:
    clean.set("models.tiny.observe.bins", 128)
    observe.main("tiny")
    assert observations.read(OUT)["counts"].shape == (3, 128)


def test_a_nan_is_told_with_tensor_and_sample(project: Project) -> None:
    put(project, [zoo.node("Sqrt", ["x"], ["root"]), *elementwise("root")], *CONSTANTS)
    first, second = (np.abs(array) for array in samples(project))
    second[6, 1, 2, 3] = -1
    write(project, first, second)
    with pytest.raises(errors.CalibrationError, match=r"activation 'root' is NaN on .* sample 19:"):
        observe.main("tiny")
    assert not OUT.exists()


def test_a_nan_without_a_batch_axis_names_the_batch(project: Project) -> None:
    nodes = [
        zoo.node("ReduceMin", ["x"], ["least"], keepdims=0),
        zoo.node("Sqrt", ["least"], ["root"]),
        *elementwise(),
    ]
    put(project, nodes, *CONSTANTS)
    with pytest.raises(errors.CalibrationError, match="'root' is NaN on calibration sample 0:"):
        observe.main("tiny")


def test_infinity_leaves_a_tensor_without_a_range(project: Project) -> None:
    nodes = [
        zoo.node("Relu", ["x"], ["zeroed"]),
        zoo.node("Log", ["zeroed"], ["log"]),
        zoo.node("Conv", ["log", "kernel"], ["mixed"]),
    ]
    kernel = zoo.const("kernel", np.ones((1, 3, 1, 1)))
    put(project, [*nodes, *elementwise()], kernel, *CONSTANTS)
    observe.main("tiny")
    found = observations.read(OUT)
    assert np.isinf(found["maxima"][found["names"].tolist().index("log")])
    told = files.read_json(layout.facts("observe", "tiny"))["details"]
    assert told["infinite"]["log"] == "sample 0"
    assert "the first is 'log', on sample 0" in told["notes"][0]
    calibrate.main("tiny")
    assert "log: 00000000\n" in layout.cache("tiny", "minmax").read_text()


def test_a_model_without_float_activations_passes(project: Project) -> None:
    half = zoo.halved(zoo.tiny())
    half.graph.input[0].type.tensor_type.elem_type = zoo.FLOAT
    half.graph.node.insert(0, zoo.node("Cast", ["x"], ["x_half"], to=zoo.FLOAT16))
    half.graph.node[2].input[0] = "x_half"
    del half.graph.value_info[:]
    folder = zoo.put(onnx.shape_inference.infer_shapes(half), project.root / layout.clean("tiny"))
    assert folder.is_dir()
    observe.main("tiny")
    assert observations.read(OUT)["names"].tolist() == ["x"]
    calibrate.main("tiny")
    assert layout.cache("tiny", "entropy").is_file()


def test_a_killed_run_leaves_nothing_half_written(clean: Project) -> None:
    observe.main("tiny")
    old = OUT.read_bytes()
    write(clean, np.tile(samples(clean)[0], (200, 1, 1, 1)))
    for delay in (0.6, 0.9, 1.2):
        command = [sys.executable, "-m", "stages.observe", "tiny"]
        with subprocess.Popen(command, cwd=clean.root, stdout=subprocess.DEVNULL) as process:
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        # Old or new, and whole: the kill may come before, in or after the write.
        assert OUT.read_bytes() == old or observations.read(OUT)["samples"] == 2600
        files.read_json(layout.facts("observe", "tiny"))
    observe.main("tiny")
    left = sorted(path.name for path in OUT.parent.iterdir())
    assert left == ["observations.npz", "observe.facts.json"]


def test_a_full_scratch_folder_is_told(clean: Project) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stages.observe", "tiny"],
        cwd=clean.root,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 16
    assert "File too large" in done.stderr
    assert "df -h" in done.stderr
    assert not OUT.exists()
