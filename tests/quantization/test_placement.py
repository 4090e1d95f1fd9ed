# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Which shortcuts are quantized: not behind a product, neither a residual stream nor a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest

from stages.quantization import placement, recipe
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


def subtracting(kernel: float, *nodes: onnx.NodeProto) -> onnx.ModelProto:
    """Nodes behind the convolution c of x with this 1x1 kernel."""
    shape = ("n", 1, 8, 8)
    return zoo.model(
        [zoo.node("Conv", ["x", "w"], ["c"], name="conv"), *nodes],
        [zoo.face("x", *shape), zoo.face("z", *shape)],
        [zoo.face("y", *shape)],
        [zoo.const("w", np.full((1, 1, 1, 1), kernel))],
    )


@pytest.mark.parametrize(
    ("inputs", "kept", "wanted"),
    [
        (["x", "c"], {}, [("conv", 0), ("conv", 1), ("sub", 0)]),
        (["c", "x"], {}, [("conv", 0), ("conv", 1), ("sub", 1)]),
        # Nothing reads z quantized, and no fusion asks for it.
        (["z", "c"], {}, [("conv", 0), ("conv", 1)]),
        (["x", "c"], {"sub": "asked for"}, [("conv", 0), ("conv", 1)]),
        (["x", "c"], {"conv": "asked for"}, []),
    ],
)
def test_a_residual_sub_reads_what_the_convolution_read(
    inputs: list[str], kept: dict[str, str], wanted: list[tuple[str, int]]
) -> None:
    proto = subtracting(0.9, zoo.node("Sub", inputs, ["y"], name="sub"))
    points, _ = placement.points(zoo.typed(proto).graph, kept)
    assert [(point.node.name, point.index) for point in points] == wanted


def test_the_rounding_of_the_input_is_subtracted_with_it() -> None:
    """What takes nine tenths of x away takes nine tenths of the rounding of x away."""
    proto = subtracting(0.9, zoo.node("Sub", ["x", "c"], ["y"], name="sub"))
    x, step = zoo.values(4, 1, 8, 8), 0.1
    model = zoo.typed(proto)
    recipe.apply(model, zoo.recipe("int8", {"x": step}))
    feeds = {"x": x, "z": x}
    found = zoo.infer(ir.to_proto(model), feeds)["y"]
    rounding = np.round(x / step) * step - x
    assert np.abs(found - 0.1 * x).max() < 0.11 * np.abs(rounding).max()
