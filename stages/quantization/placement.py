# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Where Q/DQ pairs go, by what TensorRT fuses.

TensorRT runs a convolution or matrix product in INT8 or FP8 when its activation and its weight come
through DequantizeLinear (NVIDIA, "Working with Quantized Types": explicit quantization). Weights
are per output channel, activations per tensor. Where a residual Add takes the result of a
convolution directly, it is fused into it, and its other input must be quantized too, or the fusion
falls back to float.

A residual Sub is not in NVIDIA's list of fusions. It takes from X what a network found in X, such
as noise, and the network sees the rounding of X as noise too: it must be taken from what holds it.
So a Sub reads X quantized where a convolution has read it so (docs/calibration.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from stages.quantization import rewiring

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping


@dataclass(frozen=True, kw_only=True)
class Point:
    """One input of one node that is to be quantized.

    Attributes:
        node: the consumer.
        index: which of its inputs.
        axis: channel axis of a weight; None for an activation (per tensor).
    """

    node: ir.Node
    index: int
    axis: int | None


def _conv(node: ir.Node) -> list[Point]:
    return [_activation(node, 0), Point(node=node, index=1, axis=0)]


def _conv_transpose(node: ir.Node) -> list[Point]:
    groups = node.attributes.get("group")
    # With groups, the output channels are spread over two axes: no one axis holds them.
    if groups is not None and groups.as_int() != 1:
        return []
    return [_activation(node, 0), Point(node=node, index=1, axis=1)]


def _gemm(node: ir.Node) -> list[Point]:
    transposed = {
        name: bool(node.attributes[name].as_int())
        for name in ("transA", "transB")
        if name in node.attributes
    }
    if transposed.get("transA"):
        return []
    return [
        _activation(node, 0),
        Point(node=node, index=1, axis=0 if transposed.get("transB") else 1),
    ]


def _matmul(node: ir.Node) -> list[Point]:
    left, weight = (rewiring.constant(value) for value in node.inputs)
    if weight is None:
        # Two activations, as in attention: both per tensor.
        return [] if left is not None else [_activation(node, 0), _activation(node, 1)]
    rank = len(weight.shape)
    return [_activation(node, 0), Point(node=node, index=1, axis=rank - 1)] if rank >= 2 else []  # noqa: PLR2004


RULES: dict[str, Callable[[ir.Node], list[Point]]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
}


# A product does not: its residual stream holds a transformer's outliers (docs/transformer.md), and
# behind the product of queries and keys the other input of an Add is the mask.
_FUSING_ADD = frozenset({"Conv", "ConvTranspose"})
RESIDUALS = frozenset({"Add", "Sub"})


def points(graph: ir.Graph, kept: Mapping[str, str]) -> tuple[list[Point], list[dict[str, str]]]:
    """All inputs to quantize, in order of the graph, and the candidates left out with reasons.

    Args:
        graph: a float32 graph whose values have known types.
        kept: reason by name of nodes that are not to be quantized.
    """
    found: list[Point] = []
    left: list[dict[str, str]] = []
    quantized: set[ir.Node] = set()
    for node in graph:
        if node.domain:
            continue
        if node.op_type in RESIDUALS:
            found += _residual(node, quantized, kept, found)
        elif node.op_type in RULES:
            reason, wanted = _judge(node, kept)
            if reason:
                left.append({"node": node.name or "", "op": node.op_type, "reason": reason})
            else:
                found += wanted
                if node.op_type in _FUSING_ADD:
                    quantized.add(node)
    return found, left


def _judge(node: ir.Node, kept: Mapping[str, str]) -> tuple[str, list[Point]]:
    if reason := kept.get(node.name or ""):
        return reason, []
    wanted = RULES[node.op_type](node)
    if not wanted:
        return "no per-channel axis for its weight", []
    for point in wanted:
        value = node.inputs[point.index]
        if value is None or value.dtype != ir.DataType.FLOAT:
            return "an input is not float32", []
        if (point.axis is None) != (rewiring.constant(value) is None):
            return "its weight is not constant, or its activation is", []
    return "", wanted


def _residual(
    node: ir.Node,
    quantized: Container[ir.Node],
    kept: Container[str],
    found: Iterable[Point],
) -> list[Point]:
    """The shortcut of a residual whose other input is a quantized node's own result."""
    if node.name in kept:
        return []
    fused = [
        index
        for index, value in enumerate(node.inputs)
        if value is not None
        and value.producer() in quantized
        and len(value.uses()) == 1
        and not value.is_graph_output()
    ]
    if not fused:
        return []
    shortcut = 1 - fused[0]
    value = node.inputs[shortcut]
    if value is None or value.dtype != ir.DataType.FLOAT or rewiring.constant(value) is not None:
        return []
    if node.op_type == "Sub" and all(p.node.inputs[p.index] is not value for p in found):
        return []
    return [_activation(node, shortcut)]


def _activation(node: ir.Node, index: int) -> Point:
    return Point(node=node, index=index, axis=None)
