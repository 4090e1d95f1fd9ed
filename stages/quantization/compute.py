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

from stages.lib import graphs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import onnx_ir as ir

TIME = {"int8": 1.0, "fp8": 1.0, "fp16": 2.0, "bf16": 2.0, "tf32": 4.0, "fp32": 4.0}
"""Time of one multiply-accumulate, by precision; INT8 is 1."""

WIDTH = {"int8": 1, "fp8": 1, "fp16": 2, "bf16": 2, "tf32": 4, "fp32": 4}
"""Bytes of one value, by precision."""

MACS_PER_BYTE = 256
"""INT8 multiply-accumulates in the time in which one byte is moved."""

Shape = tuple[int, ...]
_GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


def macs(model: ir.Model, sizes: Mapping[str, int] | None = None) -> dict[str, int]:
    """Multiply-accumulates by node name.

    Args:
        model: a graph whose values have known shapes.
        sizes: size by symbolic dimension of the inputs, 1 for any other. What is within has the
            size that ONNX's shape inference derives, and 1 where it derives none.

    Returns:
        A count for each node of the main graph: 0 for all ops but Conv, ConvTranspose, Gemm,
        MatMul, GRU, LSTM and RNN, and where a shape is unknown.
    """
    shapes = _shapes(model, sizes or {})
    return {node.name or "": _macs(node, shapes) for node in model.graph}


def elements(model: ir.Model, sizes: Mapping[str, int] | None = None) -> dict[str, int]:
    """Float values that each node reads and writes, by node name; `sizes` as for `macs`."""
    shapes = _shapes(model, sizes or {})
    return {
        node.name or "": sum(
            math.prod(shapes.get(value.name or "") or (0,))
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


def _macs(node: ir.Node, shapes: Mapping[str, Shape]) -> int:
    if node.domain or node.op_type not in _RULES:
        return 0
    values = node.inputs[:2] if node.op_type in _GATES else (*node.inputs[:2], node.outputs[0])
    names = [value.name or "" for value in values if value is not None]
    if not names or not shapes.keys() >= set(names):
        return 0
    return _RULES[node.op_type](node, *(shapes[name] for name in names))


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


def _recurrent(node: ir.Node, left: Shape, weight: Shape) -> int:
    # [steps, batch, inputs] (or the batch first) and [directions, gates * hidden, inputs]
    hidden = weight[1] // _GATES[node.op_type]
    return left[0] * left[1] * weight[0] * weight[1] * (weight[2] + hidden)


_RULES: dict[str, Callable[..., int]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    **dict.fromkeys(_GATES, _recurrent),
}


def _shapes(model: ir.Model, sizes: Mapping[str, int]) -> dict[str, Shape]:
    """Sizes of all axes by value of the main graph, for those with a rank."""

    def of(shape: ir.Shape) -> Shape:
        return tuple(
            axis if isinstance(axis, int) else sizes.get(axis.value or "", 1) for axis in shape
        )

    known = {value.name: value.shape for value in _values(model.graph) if value.shape is not None}
    found = {name or "": of(shape) for name, shape in known.items()}
    symbols = {
        axis.value for shape in known.values() for axis in shape if not isinstance(axis, int)
    }
    if symbols <= sizes.keys():
        return found
    inputs = {
        value.name or "": found[value.name or ""]
        for value in model.graph.inputs
        if value.shape is not None
    }
    derived = graphs.sized(model, inputs)
    return found | {
        value.name or "": of(value.shape)
        for value in _values(derived.graph)
        if value.shape is not None and value.shape.is_static()
    }


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs
