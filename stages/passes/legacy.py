# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Old operators in words that mean the same at every opset, for the pass convert-opset.

Source: ONNX's Changelog.md, operators at opsets 6 (broadcasting, PRelu) and 11 (Hardmax).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Callable

_NUMPY_SINCE = 7
_ONE_AXIS_SINCE = 13
_SCAN_SINCE = 9
_MODE_SINCE = 14


def run(model: ir.Model, opset: int) -> None:
    """Change `model`, a graph of `opset`, in place.

    Raises:
        ValueError: a rank is not known, or an operator has no newer form.
    """
    for node in list(model.graph.all_nodes()):
        rewrite = _REWRITES.get(node.op_type)
        if rewrite is not None and not node.domain:
            rewrite(node, opset)


def _scan(node: ir.Node, opset: int) -> None:
    if opset < _SCAN_SINCE:
        msg = f"Scan {node.name!r} of opset {opset} runs over batches; no newer one does"
        raise ValueError(msg)


def _training(node: ir.Node, opset: int) -> None:
    """Up to opset 6 `is_test` said so, and was 0 by default; then the number of outputs."""
    trains = opset < _NUMPY_SINCE and not node.attributes.get_int("is_test", 0)
    if trains or (opset < _MODE_SINCE and node.op_type == "BatchNormalization" and _more(node)):
        msg = f"{node.op_type} {node.name!r} of opset {opset} is one for training"
        raise ValueError(msg)


def _more(node: ir.Node) -> bool:
    return any(value.name for value in node.outputs[1:])


def _broadcast(node: ir.Node, opset: int) -> None:
    """`axis`: where the dimensions of the second input begin in those of the first."""
    if opset >= _NUMPY_SINCE or not node.attributes.get_int("broadcast", 0):
        return
    axis = node.attributes.get_int("axis", None)
    if axis is None:
        return
    left, right = _rank(node, 0), _rank(node, 1)
    trailing = left - right - (axis + left if axis < 0 else axis)
    _widen(node, right, trailing)
    node.attributes.pop("axis")


def _slope(node: ir.Node, opset: int) -> None:
    """One slope for each channel, the second dimension, or one for all."""
    if opset < _NUMPY_SINCE and _rank(node, 1) == 1:
        slope = node.inputs[1]
        if slope is not None and slope.shape is not None and slope.shape[0] != 1:
            _widen(node, 1, _rank(node, 0) - 2)


def _widen(node: ir.Node, rank: int, trailing: int) -> None:
    """The second input gets `trailing` dimensions of one at the end."""
    if trailing <= 0:
        return
    axes = list(range(rank, rank + trailing))
    _insert(node, ir.node("Unsqueeze", [node.inputs[1]], {"axes": axes}), 1)


def _hardmax(node: ir.Node, opset: int) -> None:
    """All dimensions from `axis` on were one; a matrix means the same ever since."""
    graph, data, result = node.graph, node.inputs[0], node.outputs[0]
    if opset >= _ONE_AXIS_SINCE or graph is None:
        return
    axis = node.attributes.get_int("axis", 1)
    shape = ir.node("Shape", [data])
    flat = ir.node("Flatten", [data], {"axis": axis})
    best = ir.node("Hardmax", [flat.outputs[0]], {"axis": 1})
    back = ir.node("Reshape", [best.outputs[0], shape.outputs[0]], name=node.name)
    ir.convenience.replace_nodes_and_values(
        graph, node, [node], [shape, flat, best, back], [result], [back.outputs[0]]
    )


_REWRITES: dict[str, Callable[[ir.Node, int], None]] = {
    **dict.fromkeys(
        ("Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor"),
        _broadcast,
    ),
    "BatchNormalization": _training,
    "Dropout": _training,
    "Hardmax": _hardmax,
    "PRelu": _slope,
    "Scan": _scan,
}


def _insert(node: ir.Node, made: ir.Node, index: int) -> None:
    source = node.inputs[index]
    if node.graph is None or source is None:
        return
    made.outputs[0].name = f"{node.outputs[0].name}_widened"
    made.outputs[0].type = source.type
    node.graph.insert_before(node, made)
    node.replace_input_with(index, made.outputs[0])


def _rank(node: ir.Node, index: int) -> int:
    value = node.inputs[index]
    if value is None or value.shape is None:
        msg = f"input {index} of {node.op_type} {node.name!r} has no known rank"
        raise ValueError(msg)
    return len(value.shape)
