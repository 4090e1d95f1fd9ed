# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Running sums and products, axes that a caller gives, and products of a vector with matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx_ir as ir

from stages.passes.rules import make

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx_ir.tape import Tape

    from stages.passes.rules.make import Maker, Result, Rule

# One running sum for each axis that a caller may name; ranks above cost more than they are worth.
MOST_AXES: Final = 4
_LONGEST: Final = 4096
_NUMBERS: Final = {
    ir.DataType.FLOAT,
    ir.DataType.DOUBLE,
    ir.DataType.FLOAT16,
    ir.DataType.INT32,
    ir.DataType.INT64,
}


def running_sum(node: ir.Node, tape: Tape) -> Result:
    """CumSum along an axis that is no constant."""
    value, axis = node.inputs
    if value is None or axis is None or make.constant(axis) is not None:
        return None

    def along(maker: Maker, index: int) -> ir.Value:
        return maker.again(node, [value, maker.array(index, ir.DataType.INT64)])[0]

    return _each_axis(node, tape, value, axis, along)


def running_product(node: ir.Node, tape: Tape) -> Result:
    """CumProd along a dimension of known size, in as many steps as its size has bits."""
    value, axis = node.inputs
    sizes = make.shape(value)
    if value is None or axis is None or sizes is None or value.dtype not in _NUMBERS:
        return None

    def along(maker: Maker, index: int) -> ir.Value:
        return _product(node, maker, value, index, sizes[index] or 0)

    stated = make.constant(axis)
    if stated is None:
        if any(_too_long(size) for size in sizes):
            return None
        return _each_axis(node, tape, value, axis, along)
    index = int(stated.item())
    if not -len(sizes) <= index < len(sizes) or _too_long(sizes[index]):
        return None
    return [along(make.Maker(node, tape), index % len(sizes))]


def _too_long(size: int | None) -> bool:
    return size is None or not 0 < size <= _LONGEST


def _each_axis(
    node: ir.Node,
    tape: Tape,
    value: ir.Value,
    axis: ir.Value,
    along: Callable[[Maker, int], ir.Value],
) -> Result:
    """What `along` gives for each axis, of which `axis`, in -rank..rank-1, selects one."""
    rank = make.rank(value)
    if rank is None or axis.dtype is None or not 0 < rank <= MOST_AXES:
        return None
    maker = make.Maker(node, tape)
    result = along(maker, 0)
    if rank > 1:
        at = maker("Mod", _scalar(maker, axis), maker.array(rank, axis.dtype))
        for index in range(1, rank):
            chosen = maker("Equal", at, maker.array(index, axis.dtype))
            result = maker("Where", chosen, along(maker, index), result)
    return [result]


def _scalar(maker: Maker, axis: ir.Value) -> ir.Value:
    return axis if make.rank(axis) == 0 else maker("Squeeze", axis)


def _product(node: ir.Node, maker: Maker, value: ir.Value, axis: int, size: int) -> ir.Value:
    backwards = bool(node.attributes.get_int("reverse", 0))
    if node.attributes.get_int("exclusive", 0):
        value = _moved(maker, value, axis, 1, size, backwards=backwards)
    step = 1
    while step < size:
        value = maker("Mul", value, _moved(maker, value, axis, step, size, backwards=backwards))
        step *= 2
    return value


def _moved(
    maker: Maker, value: ir.Value, axis: int, by: int, size: int, *, backwards: bool
) -> ir.Value:
    """`value` moved by `by` places along `axis`; ones come in."""
    start, end = (by, size) if backwards else (0, size - by)
    kept = maker("Slice", value, maker.ints(start), maker.ints(end), maker.ints(axis))
    pads = (0, by) if backwards else (by, 0)
    one = maker("CastLike", maker.array(1, ir.DataType.FLOAT), value)
    return maker("Pad", kept, maker.ints(*pads), one, maker.ints(axis), mode="constant")


def vector_times_matrices(node: ir.Node, tape: Tape) -> Result:
    """MatMul of a vector with a stack of matrices: the vector as a matrix of one row."""
    left, right = node.inputs
    ranks = make.rank(left), make.rank(right)
    if ranks[0] != 1 or ranks[1] is None or ranks[1] < 3:  # noqa: PLR2004 (a stack)
        return None
    maker = make.Maker(node, tape)
    row = maker("Unsqueeze", left, maker.ints(0))
    product = maker("MatMul", row, right)
    return [maker("Squeeze", product, maker.ints(-2))]


def determinant(node: ir.Node, tape: Tape) -> Result:
    """Det of matrices of size up to 3, by minors."""
    value = node.inputs[0]
    shape = make.shape(value) or []
    if value is None or len(shape) < 2 or shape[-1] not in {1, 2, 3} or shape[-1] != shape[-2]:  # noqa: PLR2004
        return None
    maker = make.Maker(node, tape)
    size = shape[-1] or 0
    rows = [maker("Gather", value, maker.array(i, ir.DataType.INT64), axis=-2) for i in range(size)]
    entries = [
        [maker("Gather", row, maker.array(i, ir.DataType.INT64), axis=-1) for i in range(size)]
        for row in rows
    ]
    return [_minors(maker, entries) if size > 1 else maker("Identity", entries[0][0])]


def _minors(maker: Maker, entries: list[list[ir.Value]]) -> ir.Value:
    """Determinant by minors of the first row; sizes 1 to 3."""
    if len(entries) == 1:
        return entries[0][0]
    total: ir.Value | None = None
    for i, entry in enumerate(entries[0]):
        rest = [[*row[:i], *row[i + 1 :]] for row in entries[1:]]
        part = maker("Mul", entry, _minors(maker, rest))
        total = part if total is None else maker("Sub" if i % 2 else "Add", total, part)
    if total is None:
        raise AssertionError
    return total


RULES: Final[dict[str, Rule]] = {
    "CumSum": running_sum,
    "CumProd": running_product,
    "MatMul": vector_times_matrices,
    "Det": determinant,
}
