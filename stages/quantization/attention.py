# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Finds attention: softmax(Q K^T) V, whose two products TensorRT runs in one kernel, or not at all.

A product of two activations gains from Q/DQ where that kernel exists in the quantized type
(`backends/fusion.py`); elsewhere the float kernel of the whole attention is faster than two
quantized products with a softmax between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.backends import fusion
from stages.quantization import rewiring

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

# What stands between the products and the softmax: scale, mask, casts, rows that are all masked.
_BEFORE = frozenset({"Add", "Cast", "Div", "Identity", "Mul", "Sub", "Where"})
_AFTER = frozenset({"Cast", "Dropout", "Identity", "Where"})


@dataclass(frozen=True, kw_only=True)
class Attention:
    """One attention.

    Attributes:
        scores: the product of queries and keys.
        values: the product of the probabilities and the values.
    """

    scores: ir.Node
    values: ir.Node

    def shape(self, sizes: Mapping[str, int]) -> tuple[int | None, int | None]:
        """The larger head size and the larger number of positions; None where it is unknown.

        Args:
            sizes: size by symbolic dimension.
        """
        heads = [_size(v, -1, sizes) for v in (self.scores.inputs[0], self.values.outputs[0])]
        positions = [_size(self.scores.outputs[0], axis, sizes) for axis in (-2, -1)]
        return _largest(heads), _largest(positions)


def find(graph: ir.Graph) -> list[Attention]:
    """All attentions of a graph, in its order."""
    found = []
    for node in graph:
        if node.op_type == "Softmax" and not node.domain:
            scores, values = _above(node.inputs[0]), _below(node.outputs[0])
            if scores is not None and values is not None:
                found.append(Attention(scores=scores, values=values))
    return found


def unfused(
    graph: ir.Graph, precision: str, sizes: Mapping[str, int], chosen: Mapping[str, str]
) -> dict[str, str]:
    """Why Q/DQ would be of no use to products of an attention, by node name.

    Args:
        graph: a graph whose values have known shapes.
        precision: int8 or fp8.
        sizes: largest size by symbolic dimension.
        chosen: what overrides say, by node name; one product in float leaves the other in float.
    """
    found: dict[str, str] = {}
    for one in find(graph):
        names = [one.scores.name or "", one.values.name or ""]
        reason = fusion.attention(precision, *one.shape(sizes))
        if any(chosen.get(name, precision) != precision for name in names):
            reason = "an override keeps the other product of its attention"
        found |= dict.fromkeys(names, reason) if reason else {}
    return found


def _above(value: ir.Value | None) -> ir.Node | None:
    """The product of two activations that `value` comes from; the first one found."""
    node = None if value is None else value.producer()
    if node is None or node.domain:
        return None
    if node.op_type == "MatMul":
        return node if _of_activations(node) else None
    inputs = node.inputs if node.op_type in _BEFORE else ()
    return next((found for each in inputs if (found := _above(each)) is not None), None)


def _below(value: ir.Value) -> ir.Node | None:
    """The product of two activations that reads `value` on its left; the first one found."""
    for node, index in value.uses():
        if node.op_type == "MatMul" and index == 0 and not node.domain and _of_activations(node):
            return node
        for output in node.outputs if node.op_type in _AFTER else ():
            if (found := _below(output)) is not None:
                return found
    return None


def _of_activations(node: ir.Node) -> bool:
    return all(rewiring.constant(value) is None for value in node.inputs)


def _size(value: ir.Value | None, axis: int, sizes: Mapping[str, int]) -> int | None:
    shape = None if value is None else value.shape
    if shape is None or len(shape) < 2:  # noqa: PLR2004
        return None
    size = shape[axis]
    return size if isinstance(size, int) else sizes.get(size.value or "")


def _largest(found: Sequence[int | None]) -> int | None:
    known = [size for size in found if size is not None]
    return max(known) if len(known) == len(found) else None
