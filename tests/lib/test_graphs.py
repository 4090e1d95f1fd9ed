# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Graph folders: the same model, the same bytes, and the liberties of old exporters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from stages.lib import errors, graphs
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from pathlib import Path


def test_a_graph_comes_back_and_its_bytes_do_not_change(tmp_path: Path) -> None:
    zoo.put(zoo.tiny(), tmp_path / "a")
    graphs.save(graphs.load(tmp_path / "a"), tmp_path / "b")
    graphs.save(graphs.load(tmp_path / "b"), tmp_path / "c")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["model.onnx"]
    assert (tmp_path / "b/model.onnx").read_bytes() == (tmp_path / "c/model.onnx").read_bytes()
    x = {"x": zoo.values(2, 3, 8, 8)}
    after = zoo.infer(onnx.load(tmp_path / "c/model.onnx"), x)["logits"]
    np.testing.assert_array_equal(after, zoo.infer(zoo.tiny(), x)["logits"])


def test_the_weights_of_a_large_graph_lie_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo.put(zoo.tiny(), tmp_path / "a")
    monkeypatch.setattr(graphs, "_INLINE_LIMIT", 1000)
    monkeypatch.setattr(graphs, "_EXTERNAL_FLOOR", 100)
    for name in ("b", "c"):
        graphs.save(graphs.load(tmp_path / "a"), tmp_path / name)
        assert sorted(p.name for p in (tmp_path / name).iterdir()) == [
            "model.onnx",
            "model.onnx.data",
        ]
    for name in ("model.onnx", "model.onnx.data"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()
    monkeypatch.setattr(graphs, "_EXTERNAL_FLOOR", 500)
    graphs.save(graphs.load(tmp_path / "b"), tmp_path / "d")
    monkeypatch.undo()
    graphs.save(graphs.load(tmp_path / "b"), tmp_path / "e")
    assert [path.name for path in (tmp_path / "e").iterdir()] == ["model.onnx"]
    (tmp_path / "b" / "model.onnx.data").unlink()
    x = {"x": zoo.values(2, 3, 8, 8)}
    for name in ("c", "d", "e"):
        after = zoo.infer(onnx.load(tmp_path / name / "model.onnx"), x)["logits"]
        np.testing.assert_array_equal(after, zoo.infer(zoo.tiny(), x)["logits"])


@pytest.mark.parametrize("data", [b"\x08", b"not a graph", None])
def test_what_is_no_graph_is_an_artifact_error(tmp_path: Path, data: bytes | None) -> None:
    if data is not None:
        (tmp_path / "model.onnx").write_bytes(data)
    wanted = "is not there" if data is None else r"not an ONNX file, or is truncated \(\d+ bytes\)"
    with pytest.raises(errors.ArtifactError, match=wanted):
        graphs.load(tmp_path)
    with pytest.raises(errors.ArtifactError, match=wanted):
        graphs.load_structure(tmp_path)


def test_a_truncated_graph_is_an_artifact_error(tmp_path: Path) -> None:
    path = zoo.put(zoo.tiny(), tmp_path / "a") / "model.onnx"
    path.write_bytes(path.read_bytes()[:-100])
    for load in (graphs.load, graphs.load_structure):
        with pytest.raises(errors.ArtifactError, match="not an ONNX file, or is truncated"):
            load(tmp_path / "a")


@pytest.mark.parametrize("proto", [zoo.tiny(), zoo.attention(), zoo.branch(), zoo.loop()])
@pytest.mark.parametrize("limit", [1 << 20, 0])  # weights lie in the file, or beside it
def test_the_structure_is_the_graph_without_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proto: onnx.ModelProto, limit: int
) -> None:
    zoo.put(proto, tmp_path / "a")
    monkeypatch.setattr(graphs, "_INLINE_LIMIT", limit)
    monkeypatch.setattr(graphs, "_EXTERNAL_FLOOR", 10)
    graphs.save(graphs.load(tmp_path / "a"), tmp_path / "b")
    made = []
    for load in (graphs.load, graphs.load_structure):
        proto = ir.to_proto(load(tmp_path / "b"))
        for tensor in proto.graph.initializer:
            tensor.ClearField("raw_data")
        made.append(proto)
    assert made[0] == made[1]


def test_initializers_are_no_inputs(tmp_path: Path) -> None:
    proto = zoo.tiny()
    proto.graph.input.append(zoo.face("w2", 4, 4, 3, 3))
    zoo.put(proto, tmp_path / "a")
    loaded = graphs.load(tmp_path / "a")
    assert [value.name for value in loaded.graph.inputs] == ["x"]
    assert "w2" in loaded.graph.initializers
    graphs.save(loaded, tmp_path / "b")
    assert [value.name for value in onnx.load(tmp_path / "b/model.onnx").graph.input] == ["x"]


@pytest.mark.parametrize("indices", [[0, 5], [[0, 0], [1, 2]]])
def test_sparse_initializers_become_dense(tmp_path: Path, indices: Any) -> None:
    proto = zoo.model(
        [zoo.node("MatMul", ["x", "w"], ["y"])],
        [zoo.face("x", "batch", 2)],
        [zoo.face("y", "batch", 3)],
        [zoo.weight("w", 2, 3)],
    )
    del proto.graph.initializer[:]
    entries = (zoo.const("w", [1.0, 2.0]), zoo.const("i", indices, np.int64))
    proto.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(*entries, [2, 3]))
    onnx.checker.check_model(proto)
    graphs.save(graphs.load(zoo.put(proto, tmp_path / "a")), tmp_path / "b")
    made = onnx.load(tmp_path / "b/model.onnx")
    onnx.checker.check_model(made)
    after = zoo.infer(made, {"x": np.array([[1.0, 10.0]], np.float32)})["y"]
    np.testing.assert_array_equal(after, [[1.0, 0.0, 20.0]])


def test_nodes_without_a_name_get_tensorrts(tmp_path: Path) -> None:
    zoo.put(zoo.attention(), tmp_path / "a")
    names = [item.name for item in graphs.load(tmp_path / "a").graph]
    assert names == [f"node_of_{v}" for v in ("q", "k", "kt", "s", "wide", "masked", "p", "y")]
    zoo.put(zoo.tiny(), tmp_path / "b")
    assert graphs.load(tmp_path / "b").graph[0].name == "scale_weight"


def test_a_clone_is_typed_without_changing_the_graph() -> None:
    model = ir.from_proto(zoo.branch())
    before = ir.to_proto(model).SerializeToString()
    made = graphs.clone(model)
    assert ir.to_proto(made).SerializeToString() == before
    for graph in made.graphs():
        inner = [value for node in graph for value in node.outputs]
        for value in (*graph.inputs, *graph.initializers.values(), *inner):
            value.dtype = ir.DataType.FLOAT16
    assert ir.to_proto(model).SerializeToString() == before


@pytest.mark.parametrize("limit", [1 << 20, 0])  # what is new lies in the file, or beside it
def test_graphs_share_the_weights_that_they_have_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(graphs, "_INLINE_LIMIT", limit)
    monkeypatch.setattr(graphs, "_EXTERNAL_FLOOR", 100)
    x, path = {"x": zoo.values(2, 3, 8, 8)}, tmp_path / "model.onnx"
    model = zoo.typed(zoo.tiny())
    weights = graphs.put_weights(model, tmp_path)
    expected, outputs = zoo.infer(zoo.tiny(), x)["logits"], []
    for factor in (1.0, 2.0):
        made = graphs.clone(model)
        value = made.graph.initializers["w2"]
        assert value.const_value is not None
        if factor != 1:
            value.const_value = ir.Tensor(value.const_value.numpy() * np.float32(factor))
        wanted = zoo.infer(graphs.clone(made), x)["logits"]
        graphs.save_sharing(made, path, weights)
        outputs.append(zoo.infer(onnx.load(path), x)["logits"])
        np.testing.assert_array_equal(outputs[-1], wanted)
        stored = onnx.load(path, load_external_data=False).graph.initializer
        shared = [one.name for one in stored if one.data_location == onnx.TensorProto.EXTERNAL]
        assert ("w2" in shared) == (factor == 1 or limit == 0)
        assert shared
    np.testing.assert_array_equal(outputs[0], expected)
    assert np.abs(outputs[1] - expected).max() > 0
