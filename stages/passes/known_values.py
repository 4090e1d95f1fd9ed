# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Integers of a graph that follow from its constants and static dimensions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Callable

Array = np.ndarray[Any, Any]
"""Python integers, None for one that is not known."""

Known = dict[ir.Value, Array]

_INTEGERS = {ir.DataType.INT32, ir.DataType.INT64}
# Shapes, axes and pads are short; what is longer is data.
_MOST = 64
_STEPS = 4  # the input of Slice that holds them


def of(model: ir.Model) -> Known:
    """Values of int32 or int64 of which something is known, subgraphs included.

    Arithmetic is that of 64 bits where it stays within them, and unknown elsewhere.
    """
    known: Known = {}
    for graph in model.graphs():
        for value in graph.initializers.values():
            _constant(value, known)
    # An outer graph comes before the graphs of its nodes, and may compute what they read.
    for node in model.graph.all_nodes():
        if node.op_type == "Constant":
            _constant(node.outputs[0], known)
        rule = _RULES.get(node.op_type) if node.domain == "" else None
        if rule is None or len(node.outputs) != 1:
            continue
        found = rule(node, known)
        if found is not None and found.size <= _MOST and _fits(found, node.outputs[0]):
            known[node.outputs[0]] = found
    return known


def _constant(value: ir.Value, known: Known) -> None:
    if value.is_graph_input() or value.dtype not in _INTEGERS:
        return
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is not None and tensor.size <= _MOST:
        known[value] = _array(tensor.numpy().tolist())


def _array(numbers: Any) -> Array:
    return np.array(numbers, dtype=object)


def _fits(array: Array, value: ir.Value) -> bool:
    if value.dtype is None or value.dtype not in _INTEGERS:
        return False
    most = 1 << (value.dtype.bitwidth - 1)
    return all(number is None or -most <= number < most for number in array.flat)


def _get(node: ir.Node, index: int, known: Known) -> Array | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    return None if value is None else known.get(value)


def _whole(node: ir.Node, index: int, known: Known) -> list[int] | None:
    """All numbers of an input, if all are known."""
    array = _get(node, index, known)
    if array is None or any(number is None for number in array.flat):
        return None
    return [int(number) for number in array.flat]


def _shape(node: ir.Node, known: Known) -> Array | None:  # noqa: ARG001 (one signature for all)
    value = node.inputs[0]
    if value is None or value.shape is None:
        return None
    dims = [dim if isinstance(dim, int) else None for dim in value.shape]
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(dims))
    return _array(dims[start:end])


def _size(node: ir.Node, known: Known) -> Array | None:  # noqa: ARG001 (one signature for all)
    value = node.inputs[0]
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return _array(math.prod(value.shape.numpy()))


def _gather(node: ir.Node, known: Known) -> Array | None:
    data, indices = _get(node, 0, known), _get(node, 1, known)
    whole = _whole(node, 1, known)
    if data is None or indices is None or whole is None or data.ndim != 1:
        return None
    if any(not -len(data) <= index < len(data) for index in whole):
        return None
    return _array(data[indices.astype(np.int64)])


def _slice(node: ir.Node, known: Known) -> Array | None:
    data = _get(node, 0, known)
    given = [
        _whole(node, index, known) for index in range(1, len(node.inputs)) if node.inputs[index]
    ]
    if data is None or data.ndim != 1 or not given or any(g is None or len(g) != 1 for g in given):
        return None
    step = _whole(node, _STEPS, known) if len(node.inputs) > _STEPS and node.inputs[_STEPS] else [1]
    start, end = _whole(node, 1, known), _whole(node, 2, known)
    if start is None or end is None or step is None or step[0] <= 0:
        return None
    return data[start[0] : end[0] : step[0]]


def _concat(node: ir.Node, known: Known) -> Array | None:
    parts = [_get(node, index, known) for index in range(len(node.inputs))]
    if any(part is None or part.ndim != 1 for part in parts):
        return None
    return np.concatenate(cast("list[Array]", parts))


def _reshaped(node: ir.Node, known: Known) -> Array | None:
    """Squeeze, Unsqueeze and Reshape of a vector or a number: the output's shape says how."""
    data, shape = _get(node, 0, known), node.outputs[0].shape
    if data is None or shape is None or not shape.is_static() or len(shape) > 1:
        return None
    dims = shape.numpy()
    return data.reshape(dims) if math.prod(dims) == data.size else None


def _same(node: ir.Node, known: Known) -> Array | None:
    return _get(node, 0, known)


def _arithmetic(compute: Callable[[int, int], int | None]) -> Callable[..., Array | None]:
    def rule(node: ir.Node, known: Known) -> Array | None:
        left, right = _get(node, 0, known), _get(node, 1, known)
        if left is None or right is None:
            return None
        try:
            pairs = np.broadcast(left, right)
        except ValueError:
            return None
        numbers = [None if a is None or b is None else compute(a, b) for a, b in pairs]
        result = np.empty(len(numbers), dtype=object)
        result[:] = numbers
        return cast("Array", result.reshape(pairs.shape))

    return rule


def _quotient(left: int, right: int) -> int | None:
    """ONNX's Div of integers rounds towards zero."""
    if right == 0:
        return None
    return abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)


_RULES: dict[str, Callable[[ir.Node, Known], Array | None]] = {
    "Add": _arithmetic(lambda a, b: a + b),
    "Cast": _same,
    "Concat": _concat,
    "Div": _arithmetic(_quotient),
    "Gather": _gather,
    "Identity": _same,
    "Mul": _arithmetic(lambda a, b: a * b),
    "Reshape": _reshaped,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Squeeze": _reshaped,
    "Sub": _arithmetic(lambda a, b: a - b),
    "Unsqueeze": _reshaped,
}
