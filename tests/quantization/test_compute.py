# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Multiply-accumulates, values moved, and the cost estimated from both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from stages.quantization import compute
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    import onnx


def one(node: onnx.NodeProto, *constants: onnx.TensorProto, **inputs: tuple[int | str, ...]) -> int:
    """Multiply-accumulates of a graph of one node, whose output has as many axes as `x`."""
    faces = [zoo.face(name, *shape) for name, shape in inputs.items()]
    rank = len(inputs["x"])
    result = zoo.face("y", *["n", "a", "b", "c"][: rank if rank > 1 else 0])
    return compute.macs(zoo.typed(zoo.model([node], faces, [result], constants)), {"n": 2})["it"]


def node(op: str, *names: str, **attributes: Any) -> onnx.NodeProto:
    return zoo.node(op, list(names), ["y"], name="it", **attributes)


def test_convolutions_count_each_output_value_times_its_kernel() -> None:
    plain = one(node("Conv", "x", "w", pads=[1] * 4), zoo.weight("w", 8, 4, 3, 3), x=("n", 4, 5, 5))
    assert plain == 2 * 8 * 5 * 5 * 4 * 3 * 3
    grouped = node("Conv", "x", "w", group=4)
    assert one(grouped, zoo.weight("w", 4, 1, 3, 3), x=("n", 4, 5, 5)) == 2 * 4 * 3 * 3 * 3 * 3
    strided = node("ConvTranspose", "x", "w", strides=[2, 2])
    assert one(strided, zoo.weight("w", 4, 8, 2, 2), x=("n", 4, 5, 5)) == 2 * 4 * 5 * 5 * 8 * 2 * 2


def test_products_count_rows_times_inner_times_columns() -> None:
    assert one(node("Gemm", "x", "w"), zoo.weight("w", 6, 3), x=("n", 6)) == 2 * 6 * 3
    assert one(node("Gemm", "x", "w", transB=1), zoo.weight("w", 3, 6), x=("n", 6)) == 2 * 6 * 3
    turned = one(node("Gemm", "x", "w", transA=1), zoo.weight("w", 2, 3), x=(2, 7))
    assert turned == 7 * 2 * 3
    assert one(node("MatMul", "x", "w"), zoo.weight("w", 6, 3), x=("n", 5, 6)) == 2 * 5 * 6 * 3
    assert one(node("MatMul", "x", "z"), x=("n", 4, 5, 6), z=("n", 4, 6, 7)) == 2 * 4 * 5 * 6 * 7
    assert one(node("MatMul", "x", "z"), x=(6,), z=(6,)) == 6


def test_other_ops_and_unknown_shapes_count_nothing() -> None:
    assert one(node("Relu", "x"), x=("n", 4)) == 0
    graph = zoo.typed(zoo.tiny())
    for item in graph.graph:
        for value in item.outputs:
            value.shape = None
    assert set(compute.macs(graph, {"batch": 1}).values()) == {0}


@pytest.mark.parametrize(("op", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_recurrent_layers_count_both_products_of_each_step(op: str, gates: int) -> None:
    weights = [zoo.weight("w", 2, gates * 6, 5), zoo.weight("r", 2, gates * 6, 6)]
    item = zoo.node(
        op, ["x", "w", "r"], ["", "y"], name="it", hidden_size=6, direction="bidirectional"
    )
    made = zoo.model([item], [zoo.face("x", 7, "n", 5)], [zoo.face("y", 2, "n", 6)], weights)
    assert compute.macs(zoo.typed(made), {"n": 3})["it"] == 7 * 3 * 2 * gates * 6 * (5 + 6)


def test_sizes_within_follow_from_those_of_the_inputs() -> None:
    """Exporters name the sizes within a graph as they like, and often not at all."""
    nodes = [
        zoo.node("Conv", ["x", "k"], ["h"], name="conv", strides=[2, 2], pads=[1] * 4),
        zoo.node("Reshape", ["h", "rows"], ["flat"], name="reshape"),
        zoo.node("MatMul", ["flat", "w"], ["y"], name="product"),
    ]
    constants = [
        zoo.weight("k", 4, 3, 3, 3),
        zoo.weight("w", 4, 10),
        zoo.const("rows", [-1, 4], np.int64),
    ]
    face = zoo.face("x", "n", 3, "high", "wide")
    graph = zoo.typed(zoo.model(nodes, [face], [zoo.face("y", "unk__1", 10)], constants))
    found = compute.macs(graph, {"n": 2, "high": 16, "wide": 8})
    assert found == {"conv": 2 * 4 * 8 * 4 * 27, "reshape": 0, "product": 2 * 8 * 4 * 4 * 10}
    assert "unk" in str(graph.graph.outputs[0].shape)


def test_a_dimension_without_a_size_is_one() -> None:
    graph = zoo.typed(zoo.tiny())
    once, thrice = compute.macs(graph), compute.macs(graph, {"batch": 3})
    assert once["conv_1"] == 4 * 8 * 8 * 3 * 3 * 3
    assert {name: 3 * count for name, count in once.items()} == thrice


def test_bytes_are_those_of_all_float_operands() -> None:
    graph = zoo.typed(zoo.tiny())
    head = (4 + 20 + 5) + 5
    assert compute.elements(graph)["head"] == head
    assert compute.bytes_of(graph, "fp16")["head"] == 2 * head
    gather = node("Gather", "w", "i")
    made = zoo.model(
        [gather],
        [zoo.face("i", 2, dtype=zoo.INT64)],
        [zoo.face("y", 2, 3)],
        [zoo.weight("w", 9, 3)],
    )
    assert compute.elements(zoo.typed(made))["it"] == 9 * 3 + 2 * 3


def test_lower_precision_costs_less_and_big_layers_more() -> None:
    cost = compute.estimate(zoo.typed(zoo.tiny()), {"batch": 2})
    for name in ("conv_1", "head", "relu_1"):
        assert cost[name]["int8"] < cost[name]["fp16"] == cost[name]["bf16"] < cost[name]["fp32"]
    assert cost["conv_2"]["int8"] > cost["head"]["int8"]
    work, values = compute.macs(zoo.typed(zoo.tiny())), compute.elements(zoo.typed(zoo.tiny()))
    wanted = 2 * work["head"] + 2 * values["head"] * compute.MACS_PER_BYTE
    assert compute.estimate(zoo.typed(zoo.tiny()))["head"]["fp16"] == pytest.approx(wanted)
    assert np.isfinite(wanted)
