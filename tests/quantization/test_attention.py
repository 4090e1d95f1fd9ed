# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Attention: its two products are quantized where TensorRT has a fused kernel, both or neither."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stages.quantization import attention
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    import onnx

FUSED = ""


def model(
    *between: onnx.NodeProto, head: int | str = 32, length: int | str = 6, scores: str = "s"
) -> onnx.ModelProto:
    """softmax(q k) v of one head, with nodes between the scores and the softmax."""
    return zoo.model(
        [
            zoo.node("MatMul", ["q", "k"], ["s"], name="scores"),
            *between,
            zoo.node("Softmax", [scores], ["p"], name="softmax", axis=-1),
            zoo.node("MatMul", ["p", "v"], ["y"], name="values"),
        ],
        [
            zoo.face("q", "batch", length, head),
            zoo.face("k", "batch", head, length),
            zoo.face("v", "batch", length, head),
            zoo.face("mask", length),
        ],
        [zoo.face("y", "batch", length, head)],
        [zoo.const("root", 5.0)],
    )


def names(proto: onnx.ModelProto) -> list[tuple[str | None, str | None]]:
    return [(one.scores.name, one.values.name) for one in attention.find(zoo.typed(proto).graph)]


def reasons(proto: onnx.ModelProto, precision: str = "int8", **chosen: str) -> dict[str, str]:
    graph = zoo.typed(proto).graph
    return attention.unfused(graph, precision, {"seq": 128, "long": 513}, chosen)


def test_scale_mask_and_casts_may_stand_between() -> None:
    between = (
        zoo.node("Div", ["s", "root"], ["scaled"], name="scale"),
        zoo.node("Add", ["mask", "scaled"], ["masked"], name="add"),
        zoo.node("Cast", ["masked"], ["c"], name="cast", to=1),
    )
    assert names(model()) == [("scores", "values")]
    assert names(model(*between, scores="c")) == [("scores", "values")]
    assert names(zoo.block()) == [("scores", "weigh")]
    assert len(names(zoo.attention())) == 1


def test_a_softmax_alone_is_no_attention() -> None:
    between = (zoo.node("Relu", ["s"], ["r"], name="relu"),)
    assert names(model(*between, scores="r")) == []
    proto = model()
    proto.graph.node[-1].input[:] = ["v", "p"]  # the probabilities are not what is on the left
    assert names(proto) == []
    classes = zoo.model(
        [
            zoo.node("MatMul", ["x", "w"], ["s"], name="linear"),
            zoo.node("Softmax", ["s"], ["y"], name="softmax"),
        ],
        [zoo.face("x", "batch", 4)],
        [zoo.face("y", "batch", 3)],
        [zoo.weight("w", 4, 3)],
    )
    assert names(classes) == []


@pytest.mark.parametrize(
    ("precision", "head", "length", "reason"),
    [
        ("int8", 16, 512, FUSED),
        ("int8", 32, "seq", FUSED),
        ("int8", 64, 1, FUSED),
        ("int8", 8, 6, "no fused INT8 attention: its head size is 8"),
        ("int8", 48, 6, "no fused INT8 attention: its head size is 48"),
        ("int8", 128, 6, "no fused INT8 attention: its head size is 128"),
        ("int8", "any", 6, "no fused INT8 attention: its head size is not known"),
        ("int8", 64, 513, "no fused INT8 attention: the number of its positions is 513"),
        ("int8", 64, "long", "no fused INT8 attention: the number of its positions is 513"),
        ("int8", 64, "any", "no fused INT8 attention: the number of its positions is not known"),
        ("fp8", 128, 4096, FUSED),
        ("fp8", 256, "any", FUSED),
        ("fp8", 8, 6, "no fused FP8 attention: its head size is 8"),
        ("fp8", 264, 6, "no fused FP8 attention: its head size is 264"),
    ],
)
def test_the_published_limits(
    precision: str, head: int | str, length: int | str, reason: str
) -> None:
    found = reasons(model(head=head, length=length), precision)
    assert found == (dict.fromkeys(("scores", "values"), reason) if reason else {})


def test_one_product_in_float_leaves_the_other_in_float() -> None:
    reason = "an override keeps the other product of its attention"
    assert reasons(model(), values="fp16") == dict.fromkeys(("scores", "values"), reason)
    assert reasons(model(), values="int8") == {}
