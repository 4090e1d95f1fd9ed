# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What TensorRT-RTX's parser refuses, all of it at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from stages.passes import advice, blockers, infer_shapes
from stages.passes.api import Context

if TYPE_CHECKING:
    from pathlib import Path

X = helper.make_tensor_value_info("x", T.FLOAT, [1, 1, 8, 8])
CONTEXT = Context(fold_limit_bytes=0, opset=None)


def out(name: str, kind: int = T.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, None)


def pool(x: str, y: str) -> onnx.NodeProto:
    """Imported, and then refused: the parser stops at the first of these."""
    return helper.make_node(
        "MaxPool", [x], [y], name=f"pool_{y}", kernel_shape=[2, 2], dilations=[2, 2]
    )


def find(tmp_path: Path, *parts: Any, **more: Any) -> list[dict[str, Any]]:
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("mine", 1)]
    graph = helper.make_graph(parts[0], "g", *parts[1:], **more)
    model = ir.from_proto(helper.make_model(graph, opset_imports=opsets))
    infer_shapes.run(model, CONTEXT)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    found = blockers.find(model, tmp_path)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    return found


def named(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["name"], one["op"]) for one in found]


def test_a_graph_that_parses_has_none(tmp_path: Path) -> None:
    assert find(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], [X], [out("y")]) == []


def test_nodes_that_stop_the_import_are_found_one_after_another(tmp_path: Path) -> None:
    nodes = [pool("x", "a"), pool("a", "b"), helper.make_node("Relu", ["b"], ["c"]), pool("c", "y")]
    found = find(tmp_path, nodes, [X], [out("y")])
    assert named(found) == [("pool_a", "MaxPool"), ("pool_b", "MaxPool"), ("pool_y", "MaxPool")]
    assert "does not support dilations" in found[0]["reason"]
    assert found[0]["mend"].startswith("use dilation 1")


def test_names_need_not_be_unique(tmp_path: Path) -> None:
    nodes = [pool("x", "a"), pool("a", "y")]
    for node in nodes:
        node.name = "same"
    assert len(find(tmp_path, nodes, [X], [out("a"), out("y")])) == 1  # told once
    nodes[0].name = ""
    assert named(find(tmp_path, nodes, [X], [out("y")])) == [("", "MaxPool"), ("same", "MaxPool")]


def test_what_lies_in_branches_is_found_with_what_comes_after(tmp_path: Path) -> None:
    then = helper.make_graph(
        [helper.make_node("Det", ["m"], ["t"], name="inside")], "then", [], [out("t")]
    )
    other = helper.make_graph(
        [helper.make_node("ReduceSum", ["m"], ["e"], name="sum", keepdims=0)], "e", [], [out("e")]
    )
    branches = {"then_branch": then, "else_branch": other}
    nodes = [
        helper.make_node("If", ["c"], ["y"], name="if", **branches),
        helper.make_node("Unique", ["m"], ["u"], name="after"),
        helper.make_node("Own", ["m"], ["z"], name="own", domain="mine"),
    ]
    inputs = [
        helper.make_tensor_value_info("m", T.FLOAT, [3, 3]),
        helper.make_tensor_value_info("c", T.BOOL, []),
    ]
    found = find(tmp_path, nodes, inputs, [out("y"), out("u"), out("z")])
    assert named(found) == [("inside", "Det"), ("after", "Unique"), ("own", "Own")]
    assert "builder.plugins" in found[2]["mend"]


def test_types_that_tensorrt_lacks_are_told_of_the_inputs_that_have_them(tmp_path: Path) -> None:
    short = helper.make_tensor_value_info("s", T.INT16, [4])
    weight = numpy_helper.from_array(np.ones(4, np.uint16), "w")
    nodes = [
        helper.make_node("Add", ["s", "s"], ["a"], name="add"),
        helper.make_node("Cast", ["a"], ["y"], name="cast", to=T.FLOAT),
        helper.make_node("Cast", ["w"], ["v"], name="cast_w", to=T.FLOAT),
        pool("x", "z"),
    ]
    found = find(tmp_path, nodes, [short, X], [out("y"), out("v"), out("z")], initializer=[weight])
    assert ("s", "input") in named(found)
    assert ("w", "initializer") in named(found)
    assert ("pool_z", "MaxPool") in named(found)
    assert "INT16" in next(one["reason"] for one in found if one["name"] == "s")


def test_an_input_that_is_a_shape_is_told(tmp_path: Path) -> None:
    shape = helper.make_tensor_value_info("shape", T.INT64, [2])
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"], name="reshape")]
    found = find(tmp_path, nodes, [X, shape], [out("y")])
    assert named(found) == [("shape", "input")]
    assert "profiles" in found[0]["reason"]


def test_axes_that_a_refused_node_made_are_said_to_follow(tmp_path: Path) -> None:
    k = numpy_helper.from_array(np.array([0, 1], np.int64), "k")
    nodes = [
        helper.make_node("Own", ["k"], ["axes"], name="own", domain="mine"),
        helper.make_node("ReduceSum", ["x", "axes"], ["y"], name="sum"),
    ]
    axes = helper.make_tensor_value_info("axes", T.INT64, [2])
    found = find(tmp_path, nodes, [X], [out("y")], initializer=[k], value_info=[axes])
    assert [(one["name"], one["follows"]) for one in found] == [("own", False), ("sum", True)]


def test_readers_of_a_value_of_unknown_type_are_not_judged(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Own", ["x"], ["a"], name="own", domain="mine"),
        pool("a", "b"),
        pool("x", "y"),
    ]
    found = find(tmp_path, nodes, [X], [out("b"), out("y")])
    assert named(found) == [("own", "Own"), ("pool_y", "MaxPool")]


def test_a_refusal_that_names_no_node_is_traced_to_its_nodes(tmp_path: Path) -> None:
    kinds = {"index": T.INT64, "update": T.FLOAT}
    inputs = [helper.make_tensor_value_info(n, k, [1, 1, 1, 1]) for n, k in kinds.items()]
    scatter = helper.make_node(
        "ScatterElements", ["x", *kinds], ["y"], name="scatter", axis=0, reduction="add"
    )
    found = find(tmp_path, [scatter, pool("y", "z")], [X, *inputs], [out("z")])
    assert named(found) == [("scatter", "ScatterElements"), ("pool_z", "MaxPool")]


def test_large_weights_are_not_written(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((1024, 1024), np.float32), "w")
    x = helper.make_tensor_value_info("m", T.FLOAT, [1, 1024])
    nodes = [helper.make_node("MatMul", ["m", "w"], ["a"]), pool("x", "y")]
    found = find(tmp_path, nodes, [x, X], [out("a"), out("y")], initializer=[weight])
    assert named(found) == [("pool_y", "MaxPool")]
    assert sum(file.stat().st_blocks for file in tmp_path.iterdir()) * 512 < 1 << 16


def test_the_graph_itself_can_be_refused(tmp_path: Path) -> None:
    model = ir.from_proto(
        helper.make_model(
            helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [X], [out("y")]),
            opset_imports=[helper.make_opsetid("", 20)],
        )
    )
    model.graph.opset_imports.clear()
    infer_shapes.run(model, CONTEXT)
    assert all(one["op"] for one in blockers.find(model, tmp_path))


@pytest.mark.parametrize("known", [True, False])
def test_lines_for_people(known: bool) -> None:
    one = {"name": "n", "op": "Det", "reason": "r", "mend": "m", "follows": True, "place": "p:1"}
    lines = list(advice.lines({"known": known, "nodes": [one] if known else [], "why": "crash"}))
    if known:
        assert lines == [
            "TensorRT-RTX refuses 1 part of the graph:",
            "  'n' (Det), p:1: r",
            "    (perhaps only because it depends on a part above)",
            "    to mend it: m",
        ]
    else:
        assert lines == ["what TensorRT-RTX refuses is not known: crash"]
