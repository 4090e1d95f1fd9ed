# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Operators, attributes and types that TensorRT lacks become ones that it has, by rules.

Requires: opset 18 or later, where axes are inputs of all operators that are made here (run
convert-opset before), and known types (run infer-shapes before). What a rule asks of shapes and
constants the graph has to state, or it does not match.
Ensures: the same results for every input up to rounding: sums run in another order, and transforms
are products with matrices. Integer results are equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx_ir as ir
from onnx_ir.tape import Tape

from stages.passes import fold_constants, infer_shapes
from stages.passes.rules import (
    axes,
    bits,
    columns,
    eights,
    features,
    integers,
    narrow,
    pooling,
    products,
    quantized,
    sampling,
    scatter,
    sequences,
    spectral,
    sums,
    training,
)

if TYPE_CHECKING:
    from stages.passes.api import Context
    from stages.passes.rules.make import Rule

    _Rules = dict[tuple[str, str], list[Rule]]

EXACT: Final = False

_LEAST_OPSET: Final = 18
# What a rule makes may match another: a dilated pooling of bytes takes three rounds.
_ROUNDS: Final = 6
_FAMILIES: Final = (
    axes,
    bits,
    columns,
    eights,
    features,
    integers,
    pooling,
    products,
    quantized,
    sampling,
    scatter,
    sequences,
    spectral,
    sums,
    training,
    narrow,  # last: others take types that it would widen
)


def run(model: ir.Model, context: Context) -> None:
    """Change `model` in place."""
    opsets, rules = model.opset_imports, _rules()
    if opsets.get("", _LEAST_OPSET) < _LEAST_OPSET:
        return
    changed = False
    for _ in range(_ROUNDS):
        if not sum(_decompose(graph, rules) for graph in list(model.graphs())):
            break
        changed = True
        opsets.setdefault("", _LEAST_OPSET)  # a graph of other domains' operators states none
        infer_shapes.run(model, context)
    if changed:
        fold_constants.run(model, context)


def _key(node: ir.Node) -> tuple[str, str]:
    return node.domain, node.op_type


def _decompose(graph: ir.Graph, rules: _Rules) -> int:
    """Replace what matches among the nodes of `graph`; how many did."""
    return sum(_replace(graph, node, rules) for node in list(graph))


def _replace(graph: ir.Graph, node: ir.Node, rules: _Rules) -> bool:
    for rule in rules.get(_key(node), ()):
        tape = Tape()
        values = rule(node, tape)
        if values is None:
            continue
        for made in tape.nodes:
            made.metadata_props.update(node.metadata_props)
        old = [value for value in node.outputs if value.name]
        new = [value for value, output in zip(values, node.outputs, strict=False) if output.name]
        ir.convenience.replace_nodes_and_values(graph, node, [node], tape.nodes, old, new)
        return True
    return False


def _rules() -> _Rules:
    """Rules by domain and operator, in the order in which they are tried."""
    result: _Rules = {}
    for family in _FAMILIES:
        for name, rule in family.RULES.items():
            domain, _, op = name.rpartition(":")
            result.setdefault((domain, op), []).append(rule)
    return result
