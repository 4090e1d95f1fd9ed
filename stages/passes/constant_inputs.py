# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs that TensorRT wants constant become so where shapes leave them one value.

- What is computed from constants and static dimensions, though other dimensions be symbolic: axes,
  pads, repeats and sizes out of Shape, Gather, Slice, Concat and integer arithmetic.
- Axes of a reduction, where there are none of them (a tensor of no elements holds no value); the
  one axis of a vector, of Reduce and CumSum; the one axis of Squeeze, where one dimension is one;
  the one dimension that Reshape is to give.

Requires: known shapes (run infer-shapes before).
Ensures: same outputs, bit by bit. No value of a graph input is assumed: whatever it holds, a run
computes this, or was an error that ONNX Runtime refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx_ir as ir

from stages.passes import known_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from stages.passes.api import Context

EXACT: Final = True


def run(model: ir.Model, context: Context) -> None:  # noqa: ARG001 (one signature for all)
    """Change `model` in place."""
    known = known_values.of(model)
    for graph in model.graphs():
        for node in list(graph):
            if node.domain:
                continue
            _computed(node, known)
            forced = _FORCED.get(node.op_type)
            if forced is not None and not _constant(node, forced[0]):
                value = forced[1](node)
                if value is not None:
                    _put(node, forced[0], np.array(value, np.int64))


def _computed(node: ir.Node, known: known_values.Known) -> None:
    for index, value in enumerate(node.inputs):
        if value is None or value not in known or _constant(node, index):
            continue
        array = known[value]
        if all(number is not None for number in array.flat) and value.dtype is not None:
            _put(node, index, array.astype(np.int64))


def _put(node: ir.Node, index: int, array: np.ndarray[Any, Any]) -> None:
    graph, old = node.graph, node.inputs[index]
    if not isinstance(graph, ir.Graph) or old is None or old.dtype is None:
        return
    name = f"{node.outputs[0].name}_input{index}"
    while name in graph.initializers:
        name += "_"
    tensor = ir.tensor(array.astype(old.dtype.numpy()), name=name)
    value = ir.Value(name=name, type=old.type, shape=ir.Shape(array.shape), const_value=tensor)
    graph.register_initializer(value)
    node.replace_input_with(index, value)


def _constant(node: ir.Node, index: int) -> bool:
    """Whether the input is one already, or is not there."""
    value = node.inputs[index] if index < len(node.inputs) else None
    return value is None or ir.convenience.get_const_tensor(value) is not None


def _dims(node: ir.Node, index: int) -> list[int | None] | None:
    value = node.inputs[index]
    if value is None or value.shape is None:
        return None
    return [dim if isinstance(dim, int) else None for dim in value.shape]


def _reduced(node: ir.Node) -> list[int] | None:
    data, axes = _dims(node, 0), _dims(node, 1)
    if axes == [0]:
        return []
    # Of two axes both could be the same one, so more than one are left alone, here and below.
    return [0] if data is not None and len(data) == 1 and axes == [1] else None


def _squeezed(node: ir.Node) -> list[int] | None:
    data, axes = _dims(node, 0), _dims(node, 1)
    if data is None or None in data:
        return None
    ones = [axis for axis, dim in enumerate(data) if dim == 1]
    return ones if axes == [len(ones)] == [1] else None


def _along(node: ir.Node) -> int | None:
    data, axis = _dims(node, 0), _dims(node, 1)
    return 0 if data is not None and len(data) == 1 and axis == [] else None


def _flat(node: ir.Node) -> list[int] | None:
    # -1 is not for a tensor of no elements, of which nobody can tell the dimension.
    data, shape = _dims(node, 0), _dims(node, 1)
    return (
        [-1] if shape == [1] and data is not None and None not in data and 0 not in data else None
    )


# Op: which input, and what it must be.
_FORCED: Final[dict[str, tuple[int, Callable[[ir.Node], int | list[int] | None]]]] = {
    **{
        f"Reduce{kind}": (1, _reduced)
        for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum")
    },
    "ReduceSumSquare": (1, _reduced),
    "CumProd": (1, _along),
    "CumSum": (1, _along),
    "Reshape": (1, _flat),
    "Squeeze": (1, _squeezed),
}
