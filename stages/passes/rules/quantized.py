# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Quantization that TensorRT lacks: zero points that are not 0 or no constants, integer products.

Formulas: https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html and its neighbours. Integers stay
equal: products are summed in float32 no further than it holds all integers, then in int32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from stages.passes.rules import make, narrow

if TYPE_CHECKING:
    from onnx_ir.tape import Tape

    from stages.passes.rules.make import Maker, Result, Rule

_FLOAT: Final = ir.DataType.FLOAT
_INT32: Final = ir.DataType.INT32
RANGES: Final = {ir.DataType.UINT8: (0, 255), ir.DataType.INT8: (-128, 127)}


def quantize(node: ir.Node, tape: Tape) -> Result:
    """QuantizeLinear of float32: saturate(round(x / scale) + zero point)."""
    value, scale, zero = node.inputs[0], node.inputs[1], make.given(node, 2)
    if value is None or scale is None or zero is None or _symmetric(zero):
        return None
    kind = zero.dtype
    if value.dtype != _FLOAT or scale.dtype != _FLOAT or kind not in RANGES:
        return None
    maker = make.Maker(node, tape)
    spread = _spread(node, maker, scale, value)
    offset = _spread(node, maker, zero, value)
    if spread is None or offset is None:
        return None
    return [saturated(maker, maker("Div", value, spread), _number(maker, offset, kind), kind)]


def dequantize(node: ir.Node, tape: Tape) -> Result:
    """DequantizeLinear to float32: (x - zero point) * scale."""
    value, scale, zero = node.inputs[0], node.inputs[1], make.given(node, 2)
    if value is None or scale is None or zero is None or _symmetric(zero):
        return None
    if value.dtype not in RANGES or scale.dtype != _FLOAT or zero.dtype != value.dtype:
        return None
    maker = make.Maker(node, tape)
    spread = _spread(node, maker, scale, value)
    offset = _spread(node, maker, zero, value)
    if spread is None or offset is None:
        return None
    number = _number(maker, value, value.dtype)
    return [maker("Mul", maker("Sub", number, _number(maker, offset, value.dtype)), spread)]


def saturated(maker: Maker, value: ir.Value, zero: ir.Value, kind: ir.DataType) -> ir.Value:
    """`value` rounded, half to even, plus `zero`, held in the range of `kind`."""
    moved = maker("Add", maker("Round", value), zero)
    least, most = (maker.array(bound, _FLOAT) for bound in RANGES[kind])
    held = maker("Min", maker("Max", moved, least), most)
    held.dtype = _FLOAT
    return narrow.narrowed(maker, held, kind)


def _symmetric(zero: ir.Value) -> bool:
    stated = make.constant(zero)
    return stated is not None and not stated.any()


def _number(maker: Maker, value: ir.Value, kind: ir.DataType | None) -> ir.Value:
    """Integers of a narrow type as float32."""
    if kind is not None:
        value.dtype = kind
    return maker.cast(narrow.wide(maker, value), _FLOAT)


def _spread(node: ir.Node, maker: Maker, value: ir.Value, over: ir.Value) -> ir.Value | None:
    """Scale or zero point in a shape that broadcasts over `over`; None where that is not known."""
    sizes, rank = make.dims(value), make.rank(over)
    axis = make.axis_of(node, over, 1 if rank != 1 else 0)
    if sizes is None or rank is None:
        return None
    if int(np.prod(sizes)) == 1 and len(sizes) <= 1:
        return value if not sizes else maker("Reshape", value, maker.array([], ir.DataType.INT64))
    if axis is None:
        return None
    block = node.attributes.get_int("block_size", 0) or 0
    if block:
        whole = make.dims(over)
        if whole is None or len(sizes) != rank:
            return None
        places = np.arange(whole[axis]) // block
        result = maker("Gather", value, maker.ints(*places), axis=axis)
    elif len(sizes) == 1:
        shape = [1] * rank
        shape[axis] = sizes[0]
        result = maker("Reshape", value, maker.ints(*shape))
    else:
        return None
    result.type = value.type
    return result


def dynamic(node: ir.Node, tape: Tape) -> Result:
    """DynamicQuantizeLinear, to uint8; of zeros alone the scale is 1, as in ONNX Runtime."""
    value = node.inputs[0]
    if value is None or value.dtype != _FLOAT:
        return None
    maker = make.Maker(node, tape)
    kind = ir.DataType.UINT8
    nought, most = maker.array(0, _FLOAT), maker.array(255, _FLOAT)
    low = maker("Min", nought, maker("ReduceMin", value, keepdims=0))
    high = maker("Max", nought, maker("ReduceMax", value, keepdims=0))
    span = maker("Sub", high, low)
    flat = maker("Equal", span, nought)
    scale = maker("Where", flat, maker.array(1, _FLOAT), maker("Div", span, most))
    begin = maker("Div", maker("Sub", nought, low), scale)
    zero = maker("Round", maker("Min", maker("Max", begin, nought), most))
    zero.dtype = _FLOAT
    return [
        saturated(maker, maker("Div", value, scale), zero, kind),
        scale,
        narrow.narrowed(maker, zero, kind),
    ]


RULES: Final[dict[str, Rule]] = {
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
    "DynamicQuantizeLinear": dynamic,
}
