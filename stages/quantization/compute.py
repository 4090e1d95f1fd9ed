# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""How much there is to compute: multiply-accumulates, bytes, and the cost estimated from both.

The estimate orders layers; it predicts no latency. Compute and memory are added, as if nothing
overlapped. Both rates are those of NVIDIA's data sheets for tensor cores without sparsity: FP16
and BF16 take twice INT8's time and FP32 (as TF32) four times; of INT8 multiply-accumulates, 208
(A10) to 403 (L4) are done in the time of one byte.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnx_ir as ir

TIME = {"int8": 1.0, "fp8": 1.0, "fp16": 2.0, "bf16": 2.0, "tf32": 4.0, "fp32": 4.0}
"""Time of one multiply-accumulate, by precision; INT8 is 1."""

WIDTH = {"int8": 1, "fp8": 1, "fp16": 2, "bf16": 2, "tf32": 4, "fp32": 4}
"""Bytes of one value, by precision."""

MACS_PER_BYTE = 256
"""INT8 multiply-accumulates in the time in which one byte is moved."""

Shape = tuple[int, ...]


def macs(model: ir.Model, sizes: Mapping[str, int] | None = None) -> dict[str, int]:
    """Multiply-accumulates by node name.

    Args:
        model: a graph whose values have known shapes.
        sizes: size by symbolic dimension; 1 for any other.

    Returns:
        A count for each node of the main graph: 0 for all ops but Conv, ConvTranspose, Gemm and
        MatMul, and where a shape is unknown.
    """
    bound = sizes or {}
    return {node.name or "": _macs(node, bound) for node in model.graph}


def elements(model: ir.Model, sizes: Mapping[str, int] | None = None) -> dict[str, int]:
    """Float values that each node reads and writes, by node name; `sizes` as for `macs`."""
    bound = sizes or {}
    return {
        node.name or "": sum(
            math.prod(_shape(value, bound) or (0,))
            for value in (*node.inputs, *node.outputs)
            if value is not None and value.dtype is not None and value.dtype.is_floating_point()
        )
        for node in model.graph
    }


def bytes_of(
    model: ir.Model, precision: str, sizes: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Bytes that each node reads and writes in `precision`, by node name; `sizes` as for `macs`."""
    return {name: count * WIDTH[precision] for name, count in elements(model, sizes).items()}


def estimate(
    model: ir.Model, sizes: Mapping[str, int] | None = None
) -> dict[str, dict[str, float]]:
    """Estimated cost by node name and precision, in INT8 multiply-accumulates."""
    work, values = macs(model, sizes), elements(model, sizes)
    return {
        name: {
            precision: work[name] * TIME[precision]
            + values[name] * WIDTH[precision] * MACS_PER_BYTE
            for precision in TIME
        }
        for name in work
    }


def _macs(node: ir.Node, sizes: Mapping[str, int]) -> int:
    rule = None if node.domain else _RULES.get(node.op_type)
    shapes = [_shape(value, sizes) for value in (*node.inputs[:2], node.outputs[0])] if rule else []
    if rule is None or any(shape is None for shape in shapes):
        return 0
    left, right, out = (shape or () for shape in shapes)  # () only where two vectors meet
    return rule(node, left, right, out)


def _conv(_: ir.Node, __: Shape, weight: Shape, out: Shape) -> int:
    # [output channels, input channels / groups, kernel ...]
    return math.prod(out) * math.prod(weight[1:])


def _conv_transpose(_: ir.Node, left: Shape, weight: Shape, __: Shape) -> int:
    # [input channels, output channels / groups, kernel ...]
    return math.prod(left) * math.prod(weight[1:])


def _gemm(node: ir.Node, left: Shape, _: Shape, out: Shape) -> int:
    transposed = "transA" in node.attributes and node.attributes["transA"].as_int()
    return math.prod(out) * left[0 if transposed else -1]


def _matmul(_: ir.Node, left: Shape, __: Shape, out: Shape) -> int:
    return math.prod(out) * left[-1]


_RULES: dict[str, Callable[[ir.Node, Shape, Shape, Shape], int]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
}


def _shape(value: ir.Value | None, sizes: Mapping[str, int]) -> Shape | None:
    """Sizes of all axes; None if the rank is unknown."""
    if value is None or value.shape is None:
        return None
    return tuple(
        axis if isinstance(axis, int) else sizes.get(axis.value or "", 1) for axis in value.shape
    )
