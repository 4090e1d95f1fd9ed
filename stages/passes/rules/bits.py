# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Operators on bits, by integer arithmetic: exact.

TensorRT has no bitwise kernels for integers. And, Or and Xor look up four bits of each side at a
time in a table; shifts multiply and divide by powers of two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from stages.passes.rules import make, narrow

if TYPE_CHECKING:
    from onnx_ir.tape import Tape

    from stages.passes.rules.make import Maker, Result, Rule

_WIDTH: Final = {ir.DataType.UINT8: 8, ir.DataType.INT32: 32, ir.DataType.INT64: 64}
_DIGIT: Final = 16  # four bits
_TABLES: Final = {
    "BitwiseAnd": np.bitwise_and,
    "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor,
}


def binary(node: ir.Node, tape: Tape) -> Result:
    """BitwiseAnd, BitwiseOr, BitwiseXor."""
    left, right = node.inputs
    if left is None or right is None or left.dtype not in _WIDTH or left.dtype != right.dtype:
        return None
    maker = make.Maker(node, tape)
    bits, kind = _WIDTH[left.dtype], left.dtype
    wide = _wide_type(kind)
    digits = np.arange(_DIGIT)
    table = maker.array(_TABLES[node.op_type](digits[:, None], digits[None, :]).ravel(), wide)
    sixteen = maker.array(_DIGIT, wide)
    a, b = _widened(maker, left), _widened(maker, right)
    total: ir.Value | None = None
    for place in range(bits // 4):
        (a, low_a), (b, low_b) = (_digit(maker, v, sixteen) for v in (a, b))
        digit = maker("Gather", table, maker("Add", maker("Mul", low_a, sixteen), low_b), axis=0)
        if place == bits // 4 - 1 and kind in {ir.DataType.INT32, ir.DataType.INT64}:
            digit = _signed(maker, digit, wide)
        part = maker("Mul", digit, maker.array(_DIGIT**place, wide))
        total = part if total is None else maker("Add", total, part)
    return None if total is None else [_back(maker, total, kind)]


def _digit(maker: Maker, value: ir.Value, sixteen: ir.Value) -> tuple[ir.Value, ir.Value]:
    """What is left of `value` without its lowest four bits, shifted, and those bits."""
    low = maker("Mod", value, sixteen)  # in 0..15 for negative values too
    return maker("Div", maker("Sub", value, low), sixteen), low


def _signed(maker: Maker, digit: ir.Value, wide: ir.DataType) -> ir.Value:
    """The highest four bits as a digit in -8..7."""
    half, span = maker.array(_DIGIT // 2, wide), maker.array(_DIGIT, wide)
    raised = maker("Mod", maker("Add", digit, half), span)
    return maker("Sub", raised, half)


def invert(node: ir.Node, tape: Tape) -> Result:
    """BitwiseNot: -1 - x, and 255 - x for bytes."""
    value = node.inputs[0]
    if value is None or value.dtype not in _WIDTH:
        return None
    maker = make.Maker(node, tape)
    ones = 255 if value.dtype == ir.DataType.UINT8 else -1
    result = maker("Sub", maker.array(ones, _wide_type(value.dtype)), _widened(maker, value))
    return [_back(maker, result, value.dtype)]


def shift(node: ir.Node, tape: Tape) -> Result:
    """BitShift of bytes; by eight bits or more, nothing is left."""
    value, count = node.inputs
    byte = ir.DataType.UINT8
    if value is None or count is None or value.dtype != byte or count.dtype != byte:
        return None
    maker = make.Maker(node, tape)
    wide = ir.DataType.INT32
    powers = maker.array([1 << i for i in range(9)], wide)
    bits = maker("Min", narrow.wide(maker, count), maker.array(8, wide))
    factor = maker("Gather", powers, bits, axis=0)
    left = node.attributes.get_string("direction") == "LEFT"
    result = maker("Mul" if left else "Div", narrow.wide(maker, value), factor)
    return [narrow.wrapped(maker, result, byte)]


def _wide_type(kind: ir.DataType) -> ir.DataType:
    return ir.DataType.INT32 if kind == ir.DataType.UINT8 else kind


def _widened(maker: Maker, value: ir.Value) -> ir.Value:
    return narrow.wide(maker, value) if value.dtype == ir.DataType.UINT8 else value


def _back(maker: Maker, value: ir.Value, kind: ir.DataType) -> ir.Value:
    return narrow.narrowed(maker, value, kind) if kind == ir.DataType.UINT8 else value


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(_TABLES, binary),
    "BitwiseNot": invert,
    "BitShift": shift,
}
