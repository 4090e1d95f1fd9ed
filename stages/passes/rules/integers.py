# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Integers in operators that TensorRT has for real numbers alone: exact, overflow included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx_ir as ir

from stages.passes.rules import make

if TYPE_CHECKING:
    from onnx_ir.tape import Tape

    from stages.passes.rules.make import Result, Rule

_INTEGERS: Final = {ir.DataType.INT32, ir.DataType.INT64}
# Products of one matrix product that are held at once.
_MOST_PRODUCTS: Final = 1 << 20


def relu(node: ir.Node, tape: Tape) -> Result:
    """Relu: the greater of x and 0."""
    value = node.inputs[0]
    if value is None or value.dtype not in _INTEGERS:
        return None
    maker = make.Maker(node, tape)
    return [maker("Max", value, maker.array(0, value.dtype))]


def matmul(node: ir.Node, tape: Tape) -> Result:
    """MatMul of small integer matrices: all products, then sums."""
    left, right = node.inputs
    sizes = make.shape(left), make.shape(right)
    if left is None or right is None or left.dtype not in _INTEGERS or left.dtype != right.dtype:
        return None
    if sizes[0] is None or sizes[1] is None or min(len(sizes[0]), len(sizes[1])) < 2:  # noqa: PLR2004
        return None
    rows, terms, columns = sizes[0][-2], sizes[0][-1], sizes[1][-1]
    if rows is None or terms is None or columns is None:
        return None
    if rows * terms * columns > _MOST_PRODUCTS:
        return None
    maker = make.Maker(node, tape)
    a = maker("Unsqueeze", left, maker.ints(-1))  # [..., rows, terms, 1]
    b = maker("Unsqueeze", right, maker.ints(-3))  # [..., 1, terms, columns]
    return [maker("ReduceSum", maker("Mul", a, b), maker.ints(-2), keepdims=0)]


RULES: Final[dict[str, Rule]] = {"Relu": relu, "MatMul": matmul}
