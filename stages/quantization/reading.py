# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Read back from a typed graph what it computes in: nothing here knows what was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from stages.quantization import compute

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NAMES = {
    ir.DataType.FLOAT: "fp32",
    ir.DataType.FLOAT16: "fp16",
    ir.DataType.BFLOAT16: "bf16",
    ir.DataType.DOUBLE: "fp64",
}
_QUANTIZED = {
    ir.DataType.INT8: "int8",
    ir.DataType.FLOAT8E4M3FN: "fp8",
}
_KEPT = "kept in higher precision: "
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# They convert or stand for a value, and compute nothing.
_CONVERSIONS = frozenset({"Cast", "CastLike", "Constant", "QuantizeLinear", "DequantizeLinear"})


def annotate(graph: ir.Graph, kept: Sequence[Mapping[str, str]]) -> None:
    """Write into the doc strings of nodes why they compute in more than was wanted."""
    reasons = {entry["node"]: entry["reason"] for entry in kept}
    for node in graph:
        if reason := reasons.get(node.name or ""):
            node.doc_string = f"{_KEPT}{reason}"


def kept(graph: ir.Graph) -> list[dict[str, str]]:
    """What `annotate` wrote: [{"node", "op", "reason"}] in order of the graph."""
    return [
        {"node": node.name or "", "op": node.op_type, "reason": node.doc_string[len(_KEPT) :]}
        for node in graph
        if node.doc_string and node.doc_string.startswith(_KEPT)
    ]


def sizes(
    inputs: Mapping[str, Any],
    profile: Sequence[Mapping[str, Mapping[str, Sequence[int]]]],
    bound: str = "opt",
) -> dict[str, int]:
    """Size of each symbolic dimension of a model's inputs at a bound of a profile.

    Args:
        inputs: `models.<m>.inputs`.
        profile: one or more sets of shapes.
        bound: opt, of the first set, or max, the largest of all.
    """
    found: dict[str, int] = {}
    for shapes in profile if bound == "max" else profile[:1]:
        for name, spec in inputs.items():
            for word, size in zip(spec["shape"], shapes[name][bound], strict=True):
                if isinstance(word, str):
                    found[word] = max(size, found.get(word, 0))
    return found


def precisions(graph: ir.Graph) -> dict[str, str]:
    """The precision in which each node computes, by name.

    A convolution or product is int8 or fp8 when both operands come through DequantizeLinear from
    that type; any other node has the type of its first float output.
    """
    found = {}
    for node in graph:
        types = [_NAMES[value.dtype] for value in node.outputs if value.dtype in _NAMES]
        if types and node.op_type not in _CONVERSIONS:
            found[node.name or ""] = _quantized(node) or types[0]
    return found


def _quantized(node: ir.Node) -> str | None:
    if node.op_type not in _PRODUCTS:
        return None
    sources = set()
    for value in node.inputs[:2]:
        producer = None if value is None else value.producer()
        source = producer.inputs[0] if producer is not None and producer.inputs else None
        if producer is None or producer.op_type != "DequantizeLinear" or source is None:
            return None
        sources.add(_QUANTIZED.get(source.dtype) if source.dtype is not None else None)
    return sources.pop() if len(sources) == 1 else None


def shares(model: ir.Model, sizes: Mapping[str, int]) -> dict[str, Any]:
    """How much of a typed graph computes in which precision.

    Args:
        model: a typed graph whose values have known types and shapes.
        sizes: size by symbolic dimension; 1 for any other.

    Returns:
        {"layers": {precision: count}, "compute": {precision: share of the multiply-accumulates that
        `compute.macs` counts}, "ops": {precision: {op: count}}}; a precision without
        any of these has no share.
    """
    found = precisions(model.graph)
    macs = compute.macs(model, sizes)
    ops: dict[str, dict[str, int]] = {}
    work: dict[str, int] = {}
    for node in model.graph:
        precision = found.get(node.name or "")
        if precision is not None:
            counts = ops.setdefault(precision, {})
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
            work[precision] = work.get(precision, 0) + macs[node.name or ""]
    total = sum(work.values())
    return {
        "layers": {name: sum(ops[name].values()) for name in sorted(ops)},
        "compute": {name: round(work[name] / total, 6) for name in sorted(work) if work[name]},
        "ops": {name: dict(sorted(ops[name].items())) for name in sorted(ops)},
    }
