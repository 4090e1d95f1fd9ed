# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Identity nodes go; their consumers read the input instead.

Requires: nothing; a node of another domain that is called Identity is left alone.
Ensures: same outputs, and names of graph inputs and outputs stay. An Identity stays where it is the
only node between the output of a graph, or of a branch or loop body, and a value that this graph
does not compute: ONNX has no other way to say that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.passes.api import Context

EXACT: Final = True


def run(model: ir.Model, context: Context) -> None:  # noqa: ARG001 (one signature for all)
    """Change `model` in place."""
    for node in list(_identities(model)):
        value, result = node.inputs[0], node.outputs[0]
        if value is None or (result.is_graph_output() and not _own(value, node)):
            continue
        value.type, value.shape = value.type or result.type, value.shape or result.shape
        name = result.name if result.is_graph_output() else value.name
        ir.convenience.replace_all_uses_with(result, value, replace_graph_outputs=True)
        if node.graph is not None:
            node.graph.remove(node, safe=True)
        value.name = name


def _identities(model: ir.Model) -> Iterator[ir.Node]:
    for node in model.graph.all_nodes():
        if node.op_type == "Identity" and node.domain == "":
            yield node


def _own(value: ir.Value, node: ir.Node) -> bool:
    """Whether the graph of `node` computes `value`, and has not made it an output already."""
    producer = value.producer()
    own = producer is not None and producer.graph is node.graph
    return own and not value.is_graph_output()
