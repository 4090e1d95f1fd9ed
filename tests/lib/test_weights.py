# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Weights in files of their own: one layout, whatever the source's, and no copy in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from stages.lib import errors, files, graphs, weights
from tests import graphs_zoo as zoo

ROOT = Path(__file__).parents[2]
FEEDS = {"x": zoo.values(2, 3, 8, 8)}


@pytest.fixture(autouse=True)
def _all_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "_INLINE_LIMIT", 1000)
    monkeypatch.setattr(graphs, "_EXTERNAL_FLOOR", 100)


def scattered(folder: Path, order: tuple[str, ...], gap: int = 0) -> Path:
    """The tiny network with each weight in a file of its own choice."""
    proto = zoo.tiny()
    folder.mkdir(parents=True)
    for number, name in enumerate(order):
        tensor = next(item for item in proto.graph.initializer if item.name == name)
        path = folder / "sub" / f"{number % 2}.bin"
        path.parent.mkdir(exist_ok=True)
        with path.open("ab") as stream:
            stream.write(b"-" * gap)
            offset = stream.tell()
            stream.write(tensor.raw_data)
        length = len(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", f"sub/{number % 2}.bin"), ("offset", offset)):
            tensor.external_data.add(key=key, value=str(value))
        tensor.external_data.add(key="length", value=str(length))
    return _write(proto, folder)


def _write(proto: onnx.ModelProto, folder: Path) -> Path:
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_layout_is_one_whatever_the_sources(tmp_path: Path) -> None:
    made = []
    for number, (order, gap) in enumerate([(("w2", "stem_raw"), 0), (("stem_raw", "w2", "fc"), 7)]):
        source = scattered(tmp_path / f"source{number}", order, gap)
        graphs.save(graphs.load(source), tmp_path / f"clean{number}")
        made.append(content(tmp_path / f"clean{number}"))
    assert made[0] == made[1]
    assert sorted(made[0]) == ["model.onnx", "model.onnx.data"]
    after = zoo.infer(onnx.load(tmp_path / "clean1/model.onnx"), FEEDS)["logits"]
    np.testing.assert_array_equal(after, zoo.infer(zoo.tiny(), FEEDS)["logits"])


def test_a_file_of_that_layout_is_copied_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = scattered(tmp_path / "source", ("w2", "stem_raw"))
    graphs.save(graphs.load(source), tmp_path / "a")
    copied, copy = [], files.copy

    def spy(source: Path, target: Path) -> None:
        copied.append((source, target))
        copy(source, target)

    monkeypatch.setattr(files, "copy", spy)
    graphs.save(graphs.load(tmp_path / "a"), tmp_path / "b")
    assert copied == [(tmp_path / "a/model.onnx.data", tmp_path / "b/model.onnx.data")]
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_a_weight_that_nobody_reads_any_more_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "_INLINE_LIMIT", 500)
    model = graphs.load(scattered(tmp_path / "source", ("w2", "stem_raw")))
    graphs.save(model, tmp_path / "a")
    size = (tmp_path / "a/model.onnx.data").stat().st_size
    del model.graph.initializers["w2"]
    graphs.save(model, tmp_path / "b")
    assert (tmp_path / "b/model.onnx.data").stat().st_size == size - 4 * 4 * 4 * 3 * 3


def test_tied_weights_are_written_once(tmp_path: Path) -> None:
    model = graphs.load(scattered(tmp_path / "source", ("w2", "stem_raw")))
    graphs.save(model, tmp_path / "a")
    first = model.graph.initializers["w2"]
    again = ir.Value(name="again", type=first.type, shape=first.shape)
    again.const_value = first.const_value
    model.graph.register_initializer(again)
    assert weights.size(model) == weights.size(graphs.load(tmp_path / "a"))
    graphs.save(model, tmp_path / "b")
    assert (tmp_path / "b/model.onnx.data").read_bytes() == (
        tmp_path / "a/model.onnx.data"
    ).read_bytes()


def test_the_model_still_reads_where_it_read_before(tmp_path: Path) -> None:
    model = graphs.load(scattered(tmp_path / "source", ("w2",)))
    before = model.graph.initializers["w2"].const_value
    graphs.save(model, tmp_path / "a")
    assert model.graph.initializers["w2"].const_value is before
    assert isinstance(before, ir.ExternalTensor)
    assert before.path == str(tmp_path / "source/sub/0.bin")


def test_constants_in_files_come_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = scattered(tmp_path / "source", ("w2",))
    proto = onnx.load(folder / "model.onnx", load_external_data=False)
    tensor = next(item for item in proto.graph.initializer if item.name == "w2")
    proto.graph.node.insert(0, zoo.node("Constant", [], ["w2"], value=tensor))
    proto.graph.initializer.remove(tensor)
    _write(proto, folder)
    for limit, names in ((1000, ["model.onnx", "model.onnx.data"]), (1 << 20, ["model.onnx"])):
        monkeypatch.setattr(graphs, "_INLINE_LIMIT", limit)
        graphs.save(graphs.load(folder), tmp_path / f"{limit}")
        assert sorted(content(tmp_path / f"{limit}")) == names
        after = zoo.infer(onnx.load(tmp_path / f"{limit}" / "model.onnx"), FEEDS)["logits"]
        np.testing.assert_array_equal(after, zoo.infer(zoo.tiny(), FEEDS)["logits"])


def test_a_file_that_is_too_short_is_an_artifact_error(tmp_path: Path) -> None:
    folder = scattered(tmp_path / "source", ("w2", "stem_raw"))
    model = graphs.load(folder)
    (folder / "sub/0.bin").write_bytes(b"short")
    with pytest.raises(errors.ArtifactError, match=r"0\.bin ends before byte 576"):
        graphs.save(model, tmp_path / "a")


@pytest.mark.parametrize("kernel", [True, False])
def test_ranges_are_copied_with_and_without_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, kernel: bool
) -> None:
    if not kernel:

        def refuse(*_: object) -> int:
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr("os.copy_file_range", refuse)
    data = bytes(range(256)) * 4096
    (tmp_path / "a").write_bytes(data)
    with (tmp_path / "b").open("wb") as stream:
        stream.write(b"first")
        files.copy_range(tmp_path / "a", 100, 700_000, stream)
        stream.write(b"last")
    assert (tmp_path / "b").read_bytes() == b"first" + data[100:700_100] + b"last"
    files.copy(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == data
    with (
        (tmp_path / "d").open("wb") as stream,
        pytest.raises(errors.ArtifactError, match="ends before byte"),
    ):
        files.copy_range(tmp_path / "a", 0, len(data) + 1, stream)


LARGE = """
import resource
from pathlib import Path
from stages.lib import graphs
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
graphs.save(graphs.load(Path("source")), Path("clean"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_weights_are_not_taken_into_memory(tmp_path: Path) -> None:
    size = 1 << 29
    tensor = onnx.TensorProto(name="w", data_type=zoo.FLOAT, dims=[1 << 13, 1 << 14])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "w.bin"), ("offset", 4096), ("length", size)):
        tensor.external_data.add(key=key, value=str(value))
    graph = onnx.helper.make_graph(
        [zoo.node("MatMul", ["x", "w"], ["y"])],
        "graph",
        [zoo.face("x", "batch", 1 << 13)],
        [zoo.face("y", "batch", 1 << 14)],
        [tensor],
    )
    (tmp_path / "source").mkdir()
    _write(onnx.helper.make_model(graph), tmp_path / "source")
    with (tmp_path / "source/w.bin").open("wb") as stream:
        stream.truncate(size + 4096)  # a hole: nothing is read from the disk
    done = subprocess.run(
        [sys.executable, "-c", LARGE],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) << 10 < 32 << 20
    assert (tmp_path / "clean/model.onnx.data").stat().st_size == size
