# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Which activations are observed, and what is kept of their channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from stages.calibration import tap
from stages.quantization import placement
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from collections.abc import Callable


def opened(model: ir.Model) -> bytes:
    """The graph as `observe` runs it."""
    return bytes(ir.to_proto(model).SerializeToString()) + tap.opening(model)


def test_every_float_activation_becomes_an_output_once() -> None:
    model = zoo.typed(zoo.tiny())
    # `stem` is computed from constants, since nothing is folded here.
    wanted = ["x", "stem", "a", "b", "b_same", "unused", "c", "d", "e", "f", "g", "logits"]
    assert list(tap.observed(model)) == wanted
    assert [value.name for value in model.graph.outputs] == ["logits"]
    proto = onnx.load_from_string(opened(model))
    outputs = [value.name for value in proto.graph.output]
    assert outputs[0] == "logits"
    assert sorted(outputs) == sorted(set(wanted) - {"x"})


def test_constants_integers_and_inner_graphs_are_left_out() -> None:
    model = zoo.typed(zoo.attention())
    assert "wide" not in tap.observed(model)
    found = list(tap.observed(zoo.typed(zoo.loop())))
    assert found == ["x", "r", "l", "z"]
    proto = zoo.model(
        [zoo.node("Constant", [], ["k"], value_float=2.0), zoo.node("Mul", ["x", "k"], ["y"])],
        [zoo.face("x", "batch")],
        [zoo.face("y", "batch")],
    )
    assert list(tap.observed(zoo.typed(proto))) == ["x", "y"]
    assert tap.observed(zoo.typed(zoo.halved(zoo.loop()))) == {}


def test_the_observed_graph_computes_the_same() -> None:
    model, feeds = zoo.typed(zoo.branch()), {"x": zoo.values(3, 4)}
    names = tap.observed(model)
    found = zoo.infer(onnx.load_from_string(opened(model)), feeds)
    assert set(names) == {*found, "x"}
    np.testing.assert_array_equal(found["z"], zoo.infer(zoo.branch(), feeds)["z"])


GRAPHS = (zoo.tiny, zoo.attention, zoo.branch, zoo.loop)


@pytest.mark.parametrize("graph", GRAPHS)
def test_whatever_is_quantized_has_a_histogram(graph: Callable[[], onnx.ModelProto]) -> None:
    model = zoo.typed(graph())
    points, _ = placement.points(model.graph, {})
    values = [point.node.inputs[point.index] for point in points if point.axis is None]
    wanted = {value.name for value in values if value is not None}
    assert wanted <= tap.ranged(model) <= set(tap.observed(model))
    assert tap.needed(model) <= tap.ranged(model)


def test_only_what_precision_can_need_has_a_histogram() -> None:
    """Of a residual network: inputs of Conv and Gemm, and the shortcut of the Add."""
    model = zoo.typed(zoo.tiny())
    assert tap.needed(model) <= tap.ranged(model) < set(tap.observed(model))
    add = next(node for node in model.graph if node.op_type == "Add")
    names = {value.name for value in add.inputs if value is not None}
    assert len(names & tap.ranged(model)) == 1


def test_a_shortcut_is_found_behind_a_bias() -> None:
    nodes = [
        zoo.node("Conv", ["x", "w"], ["m"]),
        zoo.node("Add", ["bias", "m"], ["n"]),
        zoo.node("Relu", ["x"], ["short"]),
        zoo.node("Add", ["n", "short"], ["y"]),
    ]
    constants = [zoo.weight("w", 4, 4, 1, 1), zoo.weight("bias", 1, 4, 1, 1)]
    faces = [zoo.face("x", "batch", 4, 2, 2)], [zoo.face("y", "batch", 4, 2, 2)]
    model = zoo.typed(zoo.model(nodes, *faces, constants))
    assert tap.ranged(model) == {"x", "short"}
    assert tap.needed(model) == {"x"}


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        (("batch", 3, 8, 8), 1),
        (("batch", 3, 8, 8, 8), 1),
        (("batch", "seq", 8), 2),
        (("batch", 8), 1),
        (("batch", 4, "length"), 0),  # its last axis is not of one size
        (("batch", "channels", 8, 8), 0),
        (("batch",), 0),
        ((8,), 0),
        ((), 0),
    ],
)
def test_channels_are_an_axis_of_one_size_that_is_not_the_batch(
    shape: tuple[int | str, ...], axis: int
) -> None:
    proto = zoo.model(
        [zoo.node("Relu", ["x"], ["y"])], [zoo.face("x", *shape)], [zoo.face("y", *shape)]
    )
    model = zoo.typed(proto)
    assert {tap.channel_axis(value) for value in model.graph.inputs} == {axis}


@pytest.mark.parametrize(
    ("node", "axis"),
    [
        (("MatMul", ["x", "w"]), 3),  # windows of tokens: the product sums over the last
        (("MatMul", ["w", "x"]), 1),
        (("MatMul", ["x", "x"]), 1),  # heads of attention
        (("Conv", ["x", "k"]), 1),
    ],
)
def test_what_a_weight_multiplies_has_its_channels_last(
    node: tuple[str, list[str]], axis: int
) -> None:
    faces = [zoo.face("x", "n", 4, 4, 4)], [zoo.face("y", "n", 4, 4, 4)]
    constants = [zoo.weight("w", 4, 4), zoo.weight("k", 4, 4, 1, 1)]
    used = [constant for constant in constants if constant.name in node[1]]
    model = zoo.typed(zoo.model([zoo.node(*node, ["y"])], *faces, used))
    assert tap.observed(model)["x"] == axis


def test_feature_maps_without_a_histogram_count_as_one() -> None:
    model = zoo.typed(zoo.tiny())
    axes, ranged = tap.observed(model), tap.ranged(model)
    assert (axes["x"], axes["b_same"], axes["a"]) == (1, 1, 0)
    assert "a" not in ranged
    assert axes["logits"] == 1  # its last axis


def test_a_value_of_unknown_rank_has_no_channels() -> None:
    model = zoo.typed(zoo.tiny())
    value = zoo.named(model, "conv_2").outputs[0]
    assert tap.channel_axis(value) == 1
    value.shape = None
    assert tap.channel_axis(value) == 0
