# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Products and convolutions of quantized numbers: integers stay equal.

Products of bytes are summed in float32, which holds all integers up to 2^24, over at most 257
terms of at most 255 * 255; sums beyond that are added in int32. Formulas:
https://onnx.ai/onnx/operators/onnx__QLinearMatMul.html and its neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from stages.passes.rules import make, narrow, quantized

if TYPE_CHECKING:
    from onnx_ir.tape import Tape

    from stages.passes.rules.make import Maker, Result, Rule

_FLOAT: Final = ir.DataType.FLOAT
_INT32: Final = ir.DataType.INT32
_TERMS: Final = 257
_MOST_CHUNKS: Final = 64
_SCALES: Final = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}


def _one(value: ir.Value | None) -> bool:
    """Whether `value` is one number: a scalar, or a vector of one."""
    sizes = make.dims(value)
    return sizes is not None and sizes in ([], [1])


def _scalar(maker: Maker, value: ir.Value | None) -> ir.Value | None:
    if value is None or make.rank(value) == 0:
        return value
    number = maker("Reshape", value, maker.array([], ir.DataType.INT64))
    number.type = value.type
    return number


def _centred(maker: Maker, value: ir.Value, zero: ir.Value | None) -> ir.Value:
    """`value` - `zero` as float32; each is a byte, and `zero` broadcasts."""
    number = maker.cast(narrow.wide(maker, value), _FLOAT)
    if zero is None:
        return number
    return maker("Sub", number, maker.cast(narrow.wide(maker, zero), _FLOAT))


def _zero(maker: Maker, zero: ir.Value | None, shape: list[int]) -> ir.Value | None:
    """A zero point of one number, or of one for each place of `shape` that is -1."""
    if zero is None or make.rank(zero) == 0:
        return zero
    result = maker("Reshape", zero, maker.ints(*([1] if _one(zero) else shape)))
    result.type = zero.type
    return result


def _bytes(*values: ir.Value | None) -> bool:
    return all(v is None or v.dtype in quantized.RANGES for v in values)


def _product(maker: Maker, left: ir.Value, right: ir.Value, terms: int) -> ir.Value:
    """Matrix product of whole numbers up to 255, as int32."""
    total: ir.Value | None = None
    for start in range(0, terms, _TERMS):
        a, b = left, right
        if terms > _TERMS:
            bounds = maker.ints(start), maker.ints(min(start + _TERMS, terms))
            a = maker("Slice", left, *bounds, maker.ints(-1))
            b = maker("Slice", right, *bounds, maker.ints(-2))
        part = maker.cast(maker("MatMul", a, b), _INT32)
        total = part if total is None else maker("Add", total, part)
    if total is None:
        raise AssertionError
    return total


def _terms(left: ir.Value | None, right: ir.Value | None) -> int | None:
    """Length of the sums of a matrix product; None where it is not known, or too great."""
    ranks = make.rank(left), make.rank(right)
    if left is None or right is None or not all(r is not None and r > 1 for r in ranks):
        return None
    sizes = [v.shape[i] for v, i in ((left, -1), (right, -2)) if v.shape is not None]
    known = next((s for s in sizes if isinstance(s, int)), 0)
    return known if 0 < known <= _TERMS * _MOST_CHUNKS else None


def matmul_integer(node: ir.Node, tape: Tape) -> Result:
    """MatMulInteger with zero points of one number, of rows or of columns."""
    left, right = node.inputs[:2]
    zeros = make.given(node, 2), make.given(node, 3)
    terms = _terms(left, right)
    if left is None or right is None or terms is None or not _bytes(left, right, *zeros):
        return None
    if any(zero is not None and (make.rank(zero) or 0) > 1 for zero in zeros):
        return None
    if any(zero is not None and make.dims(zero) is None for zero in zeros):
        return None
    maker = make.Maker(node, tape)
    a = _centred(maker, left, _zero(maker, zeros[0], [-1, 1]))
    b = _centred(maker, right, _zero(maker, zeros[1], [-1]))
    return [_product(maker, a, b, terms)]


def qlinear_matmul(node: ir.Node, tape: Tape) -> Result:
    """QLinearMatMul with one scale and zero point for each side."""
    left, a_scale, a_zero, right, b_scale, b_zero, y_scale, y_zero = node.inputs
    terms = _terms(left, right)
    scales, zeros = (a_scale, b_scale, y_scale), (a_zero, b_zero, y_zero)
    if left is None or right is None or terms is None or y_zero is None or y_zero.dtype is None:
        return None
    if not _bytes(left, right, *zeros) or not all(_one(value) for value in (*scales, *zeros)):
        return None
    if any(s is None or s.dtype not in _SCALES for s in scales):
        return None
    maker = make.Maker(node, tape)
    a = _centred(maker, left, _scalar(maker, a_zero))
    b = _centred(maker, right, _scalar(maker, b_zero))
    total = _product(maker, a, b, terms)
    return [_requantized(node, maker, total, scales, y_zero)]


def _requantized(
    node: ir.Node,
    maker: Maker,
    total: ir.Value,
    scales: tuple[ir.Value | None, ir.Value | None, ir.Value | None],
    zero: ir.Value,
) -> ir.Value:
    """Sums of products of the sides' integers -> integers of the result."""
    factor = maker("Div", maker("Mul", *scales[:2]), scales[2])
    number = maker("Mul", maker.cast(total, _FLOAT), maker.cast(factor, _FLOAT))
    offset = maker.cast(narrow.wide(maker, zero), _FLOAT)
    kind = zero.dtype or node.outputs[0].dtype or ir.DataType.UINT8
    return quantized.saturated(maker, number, offset, kind)


def conv_integer(node: ir.Node, tape: Tape) -> Result:
    """ConvInteger; padding stands for zero, whatever the zero point."""
    value, weight = node.inputs[:2]
    zeros = make.given(node, 2), make.given(node, 3)
    if value is None or weight is None or not _convolves(value, weight, *zeros):
        return None
    maker = make.Maker(node, tape)
    return [_convolved(node, maker, value, weight, zeros)]


def qlinear_conv(node: ir.Node, tape: Tape) -> Result:
    """QLinearConv; scales of weights may differ by output channel."""
    value, x_scale, x_zero, weight, w_scale, w_zero, y_scale, y_zero = node.inputs[:8]
    bias, rank = make.given(node, 8), make.rank(value)
    if value is None or weight is None or not _convolves(value, weight, x_zero, w_zero):
        return None
    if y_zero is None or y_zero.dtype is None or rank is None or not _bytes(y_zero):
        return None
    if w_scale is None or make.rank(w_scale) not in {0, 1} or make.dims(w_scale) is None:
        return None
    if not all(_one(single) for single in (x_scale, y_scale, y_zero)):
        return None
    maker = make.Maker(node, tape)
    total = _convolved(node, maker, value, weight, (x_zero, w_zero))
    channels = [1, -1, *[1] * (rank - 2)]
    if bias is not None:
        total = maker("Add", total, maker("Reshape", bias, maker.ints(*channels)))
    if not _one(w_scale):
        w_scale = maker("Reshape", w_scale, maker.ints(*channels))
    scales = _scalar(maker, x_scale), w_scale, _scalar(maker, y_scale)
    return [_requantized(node, maker, total, scales, y_zero)]


def _convolves(
    value: ir.Value, weight: ir.Value, x_zero: ir.Value | None, w_zero: ir.Value | None
) -> bool:
    """Whether sums stay exact in float32, and zero points are as they have to be."""
    sizes = make.dims(weight)
    if sizes is None or int(np.prod(sizes[1:])) > _TERMS:
        return False
    if x_zero is not None and not _one(x_zero):
        return False
    if w_zero is not None and (make.dims(w_zero) is None or make.rank(w_zero) not in {0, 1}):
        return False
    return _bytes(value, weight, x_zero, w_zero) and make.rank(value) is not None


def _convolved(
    node: ir.Node,
    maker: Maker,
    value: ir.Value,
    weight: ir.Value,
    zeros: tuple[ir.Value | None, ir.Value | None],
) -> ir.Value:
    """Sums of products, int32."""
    channels = [-1, *[1] * ((make.rank(weight) or 1) - 1)]
    x = _centred(maker, value, _scalar(maker, zeros[0]))
    w = _centred(maker, weight, _zero(maker, zeros[1], channels))
    return maker.cast(maker("Conv", x, w, **dict(node.attributes.items())), _INT32)


RULES: Final[dict[str, Rule]] = {
    "MatMulInteger": matmul_integer,
    "QLinearMatMul": qlinear_matmul,
    "ConvInteger": conv_integer,
    "QLinearConv": qlinear_conv,
}
