# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Outputs nobody reads, branches never taken and optionals go, and TensorRT builds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper

from stages.passes import cancel_optionals, fold_constants, remove_dead
from tests import building
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from pathlib import Path

PICTURE = {"x": zoo.values(1, 2, 6, 6)}
MATRIX = {"x": zoo.values(2, 4)}


@pytest.mark.parametrize(
    ("op", "inputs", "outputs", "feeds", "attributes"),
    [
        ("LayerNormalization", ["x", "s"], ["y", "mean", "deviation"], MATRIX, {}),
        ("MaxPool", ["x"], ["y", "places"], PICTURE, {"kernel_shape": [2, 2]}),
    ],
)
def test_outputs_that_nobody_reads_go(
    op: str,
    inputs: list[str],
    outputs: list[str],
    feeds: zoo.Arrays,
    attributes: dict[str, Any],
    tmp_path: Path,
) -> None:
    proto = zoo.model(
        [zoo.node(op, inputs, outputs, name="only", **attributes)],
        [zoo.face("x", *feeds["x"].shape)],
        [zoo.face("y", *(["d"] * feeds["x"].ndim))],
        [zoo.const("s", [1, 2, 3, 4])],
    )
    model = building.gained(proto, feeds, tmp_path, remove_dead, words=op)
    assert len(zoo.named(model, "only").outputs) == 1


def decided(*, constant: bool) -> onnx.ModelProto:
    """If the width is 4, x + x, else something that TensorRT has no operator for."""
    then = [zoo.node("Add", ["x", "x"], ["a"], name="double")]
    other = [
        zoo.node("Unique", ["x"], ["u"], name="unique"),
        zoo.node("ReduceSum", ["u"], ["total"], name="total"),
        zoo.node("Add", ["x", "total"], ["b"], name="more"),
    ]
    branch = zoo.node(
        "If",
        ["c"],
        ["y"],
        name="if",
        then_branch=helper.make_graph(then, "then", [], [zoo.face("a", 2, 4)]),
        else_branch=helper.make_graph(other, "else", [], [zoo.face("b", 2, 4)]),
    )
    width = [
        zoo.node("Shape", ["x"], ["s"], name="shape"),
        zoo.node("Gather", ["s", "one"], ["w"], name="width"),
        zoo.node("Equal", ["w", "four"], ["c"], name="same"),
    ]
    constants = [zoo.const("one", 1, np.int64), zoo.const("four", 4, np.int64)]
    face = zoo.face("x", 2, 4 if constant else "width")
    return zoo.model([*width, branch], [face], [zoo.face("y", 2, 4)], constants, opset=20)


def test_a_branch_never_taken_goes(tmp_path: Path) -> None:
    words = "does not have this operator"
    model = building.gained(
        decided(constant=True), MATRIX, tmp_path, fold_constants, remove_dead, words=words
    )
    assert zoo.ops(model) == {"Add": 1}


def test_a_branch_that_a_symbolic_width_chooses_stays() -> None:
    model = building.passed(decided(constant=False), fold_constants, remove_dead)
    assert zoo.ops(model)["If"] == 1


def packed(*nodes: onnx.NodeProto, face: onnx.ValueInfoProto | None = None) -> onnx.ModelProto:
    return zoo.model(nodes, [zoo.face("x", 2, 4)], [face or zoo.face("y", "a", "b")], opset=20)


@pytest.mark.parametrize(
    "proto",
    [
        packed(
            zoo.node("Optional", ["x"], ["o"], name="o"),
            zoo.node("OptionalGetElement", ["o"], ["e"], name="e"),
            zoo.node("Relu", ["e"], ["y"], name="r"),
        ),
        packed(
            zoo.node("OptionalGetElement", ["x"], ["e"], name="e"),
            zoo.node("Relu", ["e"], ["y"], name="r"),
        ),
        packed(
            zoo.node("Optional", ["x"], ["o"], name="o"),
            zoo.node("OptionalHasElement", ["o"], ["h"], name="h"),
            zoo.node("Where", ["h", "x", "x"], ["y"], name="w"),
        ),
    ],
    ids=["get", "get of a tensor", "has"],
)
def test_what_an_optional_holds_is_read_where_it_was_made(
    proto: onnx.ModelProto, tmp_path: Path
) -> None:
    words = "does not have this operator"
    building.gained(proto, MATRIX, tmp_path, cancel_optionals, remove_dead, words=words)


def test_an_empty_optional_stays() -> None:
    kind = helper.make_tensor_type_proto(zoo.FLOAT, [2, 4])
    empty = zoo.node("Optional", [], ["o"], name="o", type=kind)
    has = zoo.node("OptionalHasElement", ["o"], ["y"], name="h")
    proto = packed(empty, has, face=zoo.face("y", dtype=zoo.BOOL))
    assert zoo.ops(building.passed(proto, cancel_optionals, remove_dead)) == {
        "Optional": 1,
        "OptionalHasElement": 1,
    }


def test_sequences_keep_their_type() -> None:
    """onnx_ir's shape inference would make tensors of them."""
    nodes = [
        zoo.node("SequenceConstruct", ["x", "x"], ["s"], name="s"),
        zoo.node("ReduceSum", ["x"], ["t"], name="t", keepdims=0),
        zoo.node("Cast", ["t"], ["i"], name="i", to=zoo.INT64),
        zoo.node("SequenceAt", ["s", "i"], ["y"], name="at"),
    ]
    model = building.passed(packed(*nodes), fold_constants)
    assert zoo.ops(model)["SequenceConstruct"] == 1
