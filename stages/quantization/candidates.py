# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Which nodes `auto` may keep from INT8, and which of them only together."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from stages.lib import graphs
from stages.quantization import attention, reading, recipe

if TYPE_CHECKING:
    import onnx_ir as ir

_SHARING = frozenset({"Gemm", "MatMul"})


def groups(model: ir.Model, base: recipe.Recipe) -> dict[str, list[str]]:
    """Nodes that would run in INT8 and that no override holds, by the first of their group.

    Products that read one activation, as query, key and value, go together: backends merge them,
    and smoothing divides what they read. So do the two products of an attention, which TensorRT
    runs in one kernel if both are quantized.

    Args:
        model: the clean graph; not changed.
        base: int8, with the user's own overrides in `chosen`.
    """
    graph = graphs.clone(model)
    recipe.apply(graph, dataclasses.replace(base, smoothing=None))
    precisions = reading.precisions(graph.graph)
    scores = {one.values: one.scores for one in attention.find(model.graph)}
    found: dict[object, list[str]] = {}
    for node in model.graph:
        name = node.name or ""
        if precisions.get(name) == "int8" and name not in base.chosen:
            found.setdefault(_key(node, scores), []).append(name)
    return {names[0]: names for names in found.values()}


def _key(node: ir.Node, scores: dict[ir.Node, ir.Node]) -> object:
    """What is the same for nodes that go together; `scores` by the other product."""
    if node in scores:
        return scores[node]
    if node.op_type in _SHARING and node not in scores.values():
        return node.inputs[0]
    return node
