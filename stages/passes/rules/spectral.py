# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Fourier transforms, as products with matrices of cosines and sines.

https://onnx.ai/onnx/operators/onnx__DFT.html. A product rounds about as much as numpy's transform
of the lengths that are taken here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from stages.passes.rules import axes, make

if TYPE_CHECKING:
    from onnx_ir.tape import Tape

    from stages.passes.rules.make import Maker, Result, Rule

_LONGEST: Final = 1024
_AXIS_IS_INPUT: Final = 20  # the opset from which it is
_NUMBERS: Final = {ir.DataType.FLOAT, ir.DataType.DOUBLE}


def transform(node: ir.Node, tape: Tape) -> Result:
    """DFT along an axis of known size, of real and complex signals."""
    value, length = node.inputs[0], make.given(node, 1)
    shape = make.shape(value)
    if value is None or not shape or value.dtype not in _NUMBERS or shape[-1] not in {1, 2}:
        return None
    stated = make.constant(length)
    if length is not None and stated is None:
        return None
    size = None if stated is None else int(stated.item())
    axis = make.given(node, 2)
    if make.opset(node) < _AXIS_IS_INPUT:
        index = node.attributes.get_int("axis", 1)
    elif axis is None:
        index = -2
    elif (known := make.constant(axis)) is not None:
        index = int(known.item())
    else:
        return _any_axis(node, tape, axis, size)
    rank = len(shape)
    if not -rank <= index < rank or index % rank == rank - 1:
        return None
    if not _fits(shape[index], size, node):
        return None
    return [_along(node, make.Maker(node, tape), index % rank, size)]


def _any_axis(node: ir.Node, tape: Tape, axis: ir.Value, size: int | None) -> Result:
    """Along the axis that a caller names, where the result has one shape for all of them."""
    value = node.inputs[0]
    onesided = node.attributes.get_int("onesided", 0)
    shape = make.shape(value)
    if shape is None or size is not None or onesided or axis.dtype is None:
        return None
    if len(shape) - 1 > axes.MOST_AXES or not all(_fits(s, None, node) for s in shape[:-1]):
        return None
    maker = make.Maker(node, tape)
    number = maker.array(len(shape), axis.dtype)
    at = maker("Mod", axis if make.rank(axis) == 0 else maker("Squeeze", axis), number)
    result = _along(node, maker, 0, None)
    for index in range(1, len(shape) - 1):
        chosen = maker("Equal", at, maker.array(index, axis.dtype))
        result = maker("Where", chosen, _along(node, maker, index, None), result)
    return [result]


def _fits(size: int | None, length: int | None, node: ir.Node) -> bool:
    if size is None or not 0 < size <= _LONGEST:
        return False
    halved = node.attributes.get_int("inverse", 0) and node.attributes.get_int("onesided", 0)
    return size > 1 if halved and length is None else length is None or 0 < length <= _LONGEST


def _along(node: ir.Node, maker: Maker, axis: int, length: int | None) -> ir.Value:
    value = node.inputs[0]
    shape = make.shape(value)
    if value is None or shape is None or value.dtype is None:
        raise AssertionError
    inverse = bool(node.attributes.get_int("inverse", 0))
    onesided = bool(node.attributes.get_int("onesided", 0))
    size, rank = shape[axis] or 0, len(shape)
    # [..., signal] without the last dimension, the axis last.
    order = [i for i in range(rank - 1) if i != axis] + [axis]
    parts = [
        maker(
            "Transpose",
            maker("Gather", value, maker.array(i, ir.DataType.INT64), axis=-1),
            perm=order,
        )
        for i in range(shape[-1] or 0)
    ]
    back = [int(i) for i in np.argsort(order)]
    if inverse and onesided:
        whole = length or 2 * (size - 1)
        matrices = _halved(whole, min(size, whole // 2 + 1))
        sums = [_applied(maker, parts, matrices, value.dtype)]
    else:
        whole = length or size
        cosine, sine = _matrices(whole, min(size, whole), inverse=inverse, onesided=onesided)
        sums = [
            _applied(maker, parts, (cosine, -sine), value.dtype),
            _applied(maker, parts, (sine, cosine), value.dtype),
        ]
    planes = [maker("Unsqueeze", maker("Transpose", s, perm=back), maker.ints(-1)) for s in sums]
    return planes[0] if len(planes) == 1 else maker("Concat", *planes, axis=-1)


def _matrices(
    whole: int, rows: int, *, inverse: bool, onesided: bool
) -> tuple[make.Array, make.Array]:
    """Real and imaginary part of the factors, [signal, frequency]."""
    columns = whole // 2 + 1 if onesided else whole
    # Reduced before it is multiplied: the angle keeps all its digits.
    turns = np.outer(np.arange(rows), np.arange(columns)) % whole
    angle = 2 * np.pi * turns / whole * (1 if inverse else -1)
    return np.cos(angle) / (whole if inverse else 1), np.sin(angle) / (whole if inverse else 1)


def _halved(whole: int, rows: int) -> tuple[make.Array, make.Array]:
    """Factors from half of the frequencies to a real signal: those between count twice."""
    turns = np.outer(np.arange(rows), np.arange(whole)) % whole
    angle = 2 * np.pi * turns / whole
    twice = np.full((rows, 1), 2.0)
    twice[0] = 1
    if whole % 2 == 0 and rows == whole // 2 + 1:
        twice[-1] = 1
    return twice * np.cos(angle) / whole, -twice * np.sin(angle) / whole


def _applied(
    maker: Maker, parts: list[ir.Value], matrices: tuple[make.Array, make.Array], dtype: ir.DataType
) -> ir.Value:
    """Sum over real and imaginary part of their products with their matrices."""
    total: ir.Value | None = None
    for part, matrix in zip(parts, matrices, strict=False):
        kept = maker("Slice", part, maker.ints(0), maker.ints(len(matrix)), maker.ints(-1))
        product = maker("MatMul", kept, maker.array(matrix, dtype))
        total = product if total is None else maker("Add", total, product)
    if total is None:
        raise AssertionError
    return total


RULES: Final[dict[str, Rule]] = {"DFT": transform}
