# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""FP16 and BF16 on a CPU: float32 arithmetic, rounded to the low type after each node.

ONNX Runtime's CPU provider computes FP16 as FP32 between nodes and has no BF16 kernels, so it
cannot show what a low-precision engine computes: (60000 + 60000) * 0.5 gives 60000 there, and
infinity in FP16. Here every low-typed value becomes float32, and behind each node that makes one
stands a Cast to the low type and back, which rounds to nearest even and overflows to infinity.
What stays hidden is the order and width of the sums inside one node, which differ by GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from stages.lib import weights

if TYPE_CHECKING:
    from collections.abc import Iterable

LOW = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
_FLOAT = ir.DataType.FLOAT
_WIDENED = "/float"
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")


_SHORT = {
    ir.DataType.FLOAT16: "fp16",
    ir.DataType.BFLOAT16: "bf16",
    ir.DataType.INT8: "int8",
    ir.DataType.FLOAT8E4M3FN: "fp8",
}


def describe(precision: str, model: ir.Model) -> str:
    """How numbers are computed for this typed graph, for the report."""
    made = [(node.op_type, value.dtype) for node in model.graph for value in node.outputs]
    low = sorted({_SHORT[dtype] for _, dtype in made if dtype in LOW})
    quantized = sorted(
        {_SHORT[t] for op, t in made if op == "QuantizeLinear" and t is not None and t in _SHORT}
    )
    if precision == "tf32":
        return "float32 by ONNX Runtime; TF32's shorter mantissa is not emulated"
    if low:
        text = f"emulation: float32 arithmetic, rounded to {' or '.join(low)} after each node"
    else:
        text = "float32 by ONNX Runtime, optimizations off"
    return text + (f"; operands rounded to {' or '.join(quantized)} by Q/DQ" if quantized else "")


def original(name: str) -> str:
    """The name, before `emulate`, of a value that it widened."""
    return name.removesuffix(_WIDENED)


def emulate(model: ir.Model) -> int:
    """Rewrite `model` in place; a graph without low types is left as it is.

    Returns:
        Number of values that are rounded.
    """
    rounded = 0
    for graph in list(model.graphs()):
        for value in graph.initializers.values():
            _widen_constant(value)
        for node in list(graph):
            _widen_attributes(node)
            for value in list(node.outputs):
                if value.dtype in LOW and value.name:  # an output left out has no name
                    _round(graph, value, main=graph is model.graph)
                    rounded += 1
        for value in graph.inputs:
            if value.dtype not in LOW:
                continue
            if graph is model.graph:
                _widen_input(graph, value)
            else:  # of a branch or loop body: rounded where it was made
                value.dtype = _FLOAT
    return rounded


def _widen_constant(value: ir.Value) -> None:
    if value.dtype in LOW and value.const_value is not None:
        value.const_value = weights.made_from(
            value.const_value, lambda array: array.astype("float32"), _FLOAT, value.name
        )
        value.dtype = _FLOAT


def _widen_attributes(node: ir.Node) -> None:
    for name, attribute in list(node.attributes.items()):
        if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype in LOW:
            tensor = ir.Tensor(attribute.as_tensor().numpy().astype("float32"))
            node.attributes[name] = ir.AttrTensor(name, tensor)
        if (
            name in _TYPE_ATTRIBUTES
            and attribute.type == ir.AttributeType.INT
            and node.op_type != "Cast"
            and attribute.as_int() in {t.value for t in LOW}
        ):
            node.attributes[name] = ir.AttrInt64(name, _FLOAT.value)


def _round(graph: ir.Graph, value: ir.Value, *, main: bool) -> None:
    """Put the rounding behind the producer; a Cast to the low type rounds by itself."""
    low, node = value.dtype, value.producer()
    if low is None or node is None:
        return
    uses = list(value.uses())
    if node.op_type == "Cast":
        chain, last = [], value
    else:
        value.dtype = _FLOAT
        down = _cast(value, value, low)
        chain, last = [down], down.outputs[0]
    up = _cast(last, value, _FLOAT)
    if value in graph.outputs:
        _keep_output(graph, value, last if main else up.outputs[0])
    _rewire(uses, up.outputs[0])
    graph.insert_after(node, [*chain, up])


def _keep_output(graph: ir.Graph, value: ir.Value, rounded: ir.Value) -> None:
    """An output of the model stays low, under its name; one of a branch or loop body widens."""
    if rounded is value:
        return
    rounded.name, value.name = value.name, f"{value.name}/unrounded"
    graph.outputs[list(graph.outputs).index(value)] = rounded


def _widen_input(graph: ir.Graph, value: ir.Value) -> None:
    uses = list(value.uses())
    up = _cast(value, value, _FLOAT)
    _rewire(uses, up.outputs[0])
    if len(graph):
        graph.insert_before(graph[0], up)


def _cast(source: ir.Value, value: ir.Value, to: ir.DataType) -> ir.Node:
    """A Cast of `source`, which is `value` or made from it: named so that branches do not clash."""
    node = ir.node("Cast", [source], {"to": to.value}, name=f"{value.name}/cast_{to.name.lower()}")
    made = node.outputs[0]
    made.name, made.dtype, made.shape = f"{value.name}/{to.name.lower()}", to, value.shape
    return node


def _rewire(uses: Iterable[tuple[ir.Node, int]], value: ir.Value) -> None:
    for user, index in uses:
        user.replace_input_with(index, value)
