# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Sums over windows: AveragePool with dilations, LpPool of any power; and MaxUnpool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from stages.passes.rules import make, pooling

if TYPE_CHECKING:
    from onnx_ir.tape import Tape

    from stages.passes.rules.make import Array, Maker, Result, Rule

_NATIVE_POWERS: Final = (1, 2)


def average_pool(node: ir.Node, tape: Tape) -> Result:
    """Dilated AveragePool, as sum over count."""
    value = node.inputs[0]
    if value is None or value.dtype not in pooling.FLOATS or pooling.plain(node):
        return None
    axes = pooling.windows(node)
    if axes is None:
        return None
    counted = [axis.inside for axis in axes]
    if node.attributes.get_int("count_include_pad", 0):
        counted = [axis.places < axis.padded for axis in axes]
    counts = pooling.outer(axes, counted).sum(axis=tuple(range(1, 2 * len(axes), 2)))
    if not counts.all():
        return None
    maker = make.Maker(node, tape)
    total = _summed(maker, maker.cast(value, _wide(value)), axes)
    mean = maker("Div", total, maker.array(counts[None, None], _wide(value)))
    return [maker.cast(mean, value.dtype)]


def lp_pool(node: ir.Node, tape: Tape) -> Result:
    """LpPool of a power that TensorRT lacks, or dilated: (sum |x|^p)^(1/p)."""
    value, power = node.inputs[0], node.attributes.get_int("p", 2)
    if value is None or value.dtype not in pooling.FLOATS:
        return None
    if pooling.plain(node) and power in _NATIVE_POWERS:
        return None
    axes = pooling.windows(node)
    if axes is None:
        return None
    maker = make.Maker(node, tape)
    wide = _wide(value)
    size = maker("Abs", maker.cast(value, wide))
    raised = maker("Pow", size, maker.array(power, wide))
    root = maker("Pow", _summed(maker, raised, axes), maker.array(1 / power, wide))
    return [maker.cast(root, value.dtype)]


def _summed(maker: Maker, value: ir.Value, axes: list[pooling.Axis]) -> ir.Value:
    """Sum over each window; what is outside counts as zero."""
    windows = pooling.split(maker, pooling.gathered(maker, value, axes), axes)
    inside = pooling.outer(axes, [axis.inside for axis in axes])
    if not inside.all():
        mask = maker.array(inside[None, None], ir.DataType.BOOL)
        zero = maker("CastLike", maker.array(0, ir.DataType.FLOAT), windows)
        windows = maker("Where", mask, windows, zero)
    return maker("ReduceSum", windows, maker.ints(*pooling.kernel_axes(axes)), keepdims=0)


def _wide(value: ir.Value) -> ir.DataType:
    return ir.DataType.DOUBLE if value.dtype == ir.DataType.DOUBLE else ir.DataType.FLOAT


def max_unpool(node: ir.Node, tape: Tape) -> Result:
    """MaxUnpool to a shape that is stated: values scattered over zeros."""
    value, places = node.inputs[0], make.given(node, 1)
    shape = _unpooled(node)
    if value is None or places is None or value.dtype is None or shape is None:
        return None
    maker = make.Maker(node, tape)
    flat = maker.ints(-1)
    empty = maker.array(np.zeros(int(np.prod(shape))), value.dtype)
    filled = maker(
        "ScatterElements", empty, maker("Reshape", places, flat), maker("Reshape", value, flat)
    )
    return [maker("Reshape", filled, maker.ints(*shape))]


def _unpooled(node: ir.Node) -> list[int] | None:
    sizes = make.dims(node.inputs[0])
    if sizes is None or 0 in sizes:
        return None
    if make.given(node, 2) is not None:
        stated: Array | None = make.constant(node.inputs[2])
        return None if stated is None else [int(size) for size in stated]
    kernel = node.attributes.get_ints("kernel_shape") or []
    count = len(kernel)
    strides = node.attributes.get_ints("strides") or [1] * count
    pads = node.attributes.get_ints("pads") or [0] * (2 * count)
    if len(sizes) != count + 2:
        return None
    spatial = [
        (sizes[i + 2] - 1) * strides[i] + kernel[i] - pads[i] - pads[i + count]
        for i in range(count)
    ]
    return sizes[:2] + spatial


RULES: Final[dict[str, Rule]] = {
    "AveragePool": average_pool,
    "LpPool": lp_pool,
    "MaxUnpool": max_unpool,
}
