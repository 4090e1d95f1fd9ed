# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Behind a product, an Add is not quantized: neither a residual stream nor a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.quantization import placement
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    import onnx


def quantized(*nodes: onnx.NodeProto) -> list[tuple[str, int]]:
    proto = zoo.model(
        list(nodes),
        [zoo.face("x", "n", 8, 8), zoo.face("mask", "n", 8, 8)],
        [zoo.face("y", "n", 8, 8)],
        [zoo.weight("w", 8, 8)],
    )
    points, _ = placement.points(zoo.typed(proto).graph, {})
    return [(point.node.name or "", point.index) for point in points]


def test_a_residual_stream_behind_a_product_stays_float() -> None:
    product = zoo.node("MatMul", ["x", "w"], ["p"], name="product")
    add = zoo.node("Add", ["p", "x"], ["y"], name="add")
    assert quantized(product, add) == [("product", 0), ("product", 1)]


def test_the_mask_behind_a_product_of_queries_and_keys_stays_float() -> None:
    scores = zoo.node("MatMul", ["x", "x"], ["s"], name="scores")
    masked = zoo.node("Add", ["s", "mask"], ["y"], name="masked")
    assert quantized(scores, masked) == [("scores", 0), ("scores", 1)]
