# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs that shapes leave one value for become constants; others are nobody's to guess."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest

from stages.passes import constant_inputs, known_values
from tests import building
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

MORE = np.array([1])


def reading(
    op: str, shape: tuple[int | str, ...], axes: tuple[int, ...], result: tuple[int | str, ...]
) -> onnx.ModelProto:
    """A node whose second input is a graph input of the shape `axes`."""
    return zoo.model(
        [zoo.node(op, ["x", "a"], ["y"], name="only")],
        [zoo.face("x", *shape), zoo.face("a", *axes, dtype=zoo.INT64)],
        [zoo.face("y", *result)],
        opset=20,
    )


def left(proto: onnx.ModelProto) -> list[str | None]:
    """Graph inputs that are still read."""
    model = building.passed(proto, constant_inputs)
    return [value.name for value in model.graph.inputs if value.uses()]


@pytest.mark.parametrize(
    ("proto", "feeds"),
    [
        (reading("ReduceSum", ("n", 3), (0,), (1, 1)), {"a": np.zeros(0, np.int64)}),
        (reading("ReduceL2", ("n", 3), (0,), (1, 1)), {"a": np.zeros(0, np.int64)}),
        (reading("ReduceMax", ("n",), (1,), (1,)), {"a": np.array([-1])}),
    ],
)
def test_axes_of_which_there_is_one_choice(
    proto: onnx.ModelProto, feeds: zoo.Arrays, tmp_path: Path
) -> None:
    shape = (2, 3) if len(proto.graph.input[0].type.tensor_type.shape.dim) == 2 else (4,)
    feeds = {"x": zoo.values(*shape), **feeds}
    building.gained(proto, feeds, tmp_path, constant_inputs, words="build-time constant", rtol=1e-6)


@pytest.mark.parametrize(
    ("proto", "value"),
    [
        (reading("Squeeze", (1, 3, 4), (1,), (3, 4)), [-3]),
        (reading("Reshape", (2, 3), (1,), ("n",)), [6]),
        (reading("CumSum", (5,), (), (5,)), -1),
    ],
)
def test_other_inputs_with_one_choice(proto: onnx.ModelProto, value: Any) -> None:
    assert left(proto) == ["x"]
    dims = [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": zoo.values(*dims), "a": np.array(value)}
    model = building.passed(proto, constant_inputs)
    np.testing.assert_array_equal(zoo.infer(model, feeds)["y"], zoo.infer(proto, feeds)["y"])


@pytest.mark.parametrize(
    "proto",
    [
        reading("ReduceSum", (2, 3), (1,), ("a", "b")),  # one axis of two
        reading("ReduceSum", (2, 3), (2,), ("a", "b")),  # both, or one of them twice
        reading("Squeeze", (1, 1, 4), (1,), ("a", 4)),  # the first or the second
        reading("Squeeze", (1, 1, 4), (2,), ("a",)),
        reading("Squeeze", (1, "n", 4), (1,), ("a", "b")),  # n may be one
        reading("Reshape", ("n", 3), (1,), ("m",)),  # n may be none
        reading("Reshape", (2, 3), (2,), ("a", "b")),
        reading("CumSum", (2, 3), (), (2, 3)),
        reading("Expand", (2, 3), (2,), ("a", "b")),
        reading("Tile", (2, 3), (2,), ("a", "b")),
    ],
)
def test_what_a_graph_input_decides_stays(proto: onnx.ModelProto) -> None:
    assert left(proto) == ["x", "a"]


def padded() -> onnx.ModelProto:
    """The picture is made square: pads = [0, 0, 0, 0, 0, 8 - width], with any batch."""
    nodes = [
        zoo.node("Shape", ["x"], ["s"], name="shape"),
        zoo.node("Slice", ["s", "two", "three"], ["width"], name="slice"),
        zoo.node("Sub", ["eight", "width"], ["missing"], name="sub"),
        zoo.node("Concat", ["zeros", "missing"], ["pads"], name="concat", axis=0),
        zoo.node("Pad", ["x", "pads"], ["y"], name="pad"),
    ]
    constants = [
        zoo.const("two", [2], np.int64),
        zoo.const("three", [3], np.int64),
        zoo.const("eight", [8], np.int64),
        zoo.const("zeros", [0] * 5, np.int64),
    ]
    return zoo.model(
        nodes, [zoo.face("x", "batch", 3, 5)], [zoo.face("y", "batch", 3, 8)], constants
    )


def test_sizes_are_computed_beside_a_symbolic_batch() -> None:
    proto = padded()
    model = building.passed(proto, constant_inputs)
    pads = zoo.named(model, "pad").inputs[1]
    assert pads is not None
    assert pads.const_value is not None
    assert pads.const_value.numpy().tolist() == [0, 0, 0, 0, 0, 3]
    feeds = {"x": zoo.values(2, 3, 5)}
    np.testing.assert_array_equal(zoo.infer(model, feeds)["y"], zoo.infer(proto, feeds)["y"])


def test_axes_are_computed_beside_a_symbolic_batch(tmp_path: Path) -> None:
    """All but the batch: 1 and 2, out of how many dimensions a slice of the shape has."""
    nodes = [
        zoo.node("Shape", ["x"], ["s"], name="shape"),
        zoo.node("Slice", ["s", "one", "two"], ["width"], name="slice"),  # 3
        zoo.node("Sub", ["width", "two"], ["axis"], name="sub"),
        zoo.node("ReduceMean", ["x", "axis"], ["y"], name="mean"),
    ]
    constants = [zoo.const("one", [1], np.int64), zoo.const("two", [2], np.int64)]
    proto = zoo.model(
        nodes, [zoo.face("x", "batch", 3, 5)], [zoo.face("y", "batch", 1, 5)], constants
    )
    feeds = {"x": zoo.values(2, 3, 5)}
    building.gained(proto, feeds, tmp_path, constant_inputs, words="build-time constant", rtol=1e-6)


def test_the_batch_is_never_known() -> None:
    proto = padded()
    proto.graph.initializer[0].CopyFrom(zoo.const("two", [0], np.int64))
    proto.graph.initializer[1].CopyFrom(zoo.const("three", [1], np.int64))
    proto.graph.output[0].CopyFrom(zoo.face("y", "batch", 3, "wide"))
    model = building.passed(proto, constant_inputs)
    pads = zoo.named(model, "pad").inputs[1]
    assert pads is not None
    assert pads.name == "pads"


@pytest.mark.parametrize(
    ("op", "left", "right", "expected"),
    [
        ("Div", -7, 2, [-3]),  # towards zero
        ("Div", 7, 0, [None]),
        ("Mul", 1 << 62, 4, None),  # beyond 64 bits
        ("Add", 3, -5, [-2]),
    ],
)
def test_arithmetic_is_that_of_integers(
    op: str, left: int, right: int, expected: list[int] | None
) -> None:
    proto = zoo.model(
        [zoo.node(op, ["l", "r"], ["y"], name="only")],
        [zoo.face("x", 1)],
        [zoo.face("y", 1, dtype=zoo.INT64)],
        [zoo.const("l", [left], np.int64), zoo.const("r", [right], np.int64)],
    )
    model = zoo.typed(proto)
    found = known_values.of(model).get(model.graph.outputs[0])
    assert (None if found is None else found.tolist()) == expected


def test_a_default_of_a_graph_input_is_not_a_constant() -> None:
    proto = zoo.model(
        [zoo.node("ReduceSum", ["x", "a"], ["y"], name="only")],
        [zoo.face("x", 2, 3), zoo.face("a", 1, dtype=zoo.INT64)],
        [zoo.face("y", "a", "b")],
        [zoo.const("a", [1], np.int64)],
    )
    model = ir.from_proto(proto)
    assert model.graph.inputs[1] not in known_values.of(model)
