# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What is in a graph, counted, so that a report can tell what a pass changed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_Nodes = list[tuple[str, ...]]  # op and names of outputs: what is computed, not the node's own name


@dataclass(eq=False)
class Census:
    """Counts of one graph, for `difference`.

    Attributes:
        nodes: op type and outputs of each node.
        initializers: their names.
        typed: names of values of known type and shape.
        notes: number of metadata entries and doc strings.
    """

    nodes: _Nodes = field(default_factory=list)
    initializers: set[str] = field(default_factory=set)
    typed: set[str] = field(default_factory=set)
    notes: int = 0


def take(model: ir.Model) -> Census:
    """Count `model`, its branches and loop bodies included."""
    found = Census(initializers=set(model.graph.initializers), notes=bool(model.producer_name))
    graphs = [model.graph]
    _note(found, (model, *model.functions.values()))
    while graphs:
        graph = graphs.pop()
        _note(found, (graph, *graph.inputs, *graph.initializers.values()))
        for node in graph:
            names = [value.name for value in node.outputs if value.name]
            found.nodes.append((node.op_type, *names))
            _note(found, (node, *node.outputs))
            found.typed.update(
                value.name or ""
                for value in node.outputs
                if value.type is not None and value.shape is not None
            )
            graphs += _inside(node)
    return found


def difference(before: Census, after: Census) -> dict[str, Any]:
    """What changed from one count to another.

    Returns:
        {"removed", "added": nodes by op type, "removed_initializers", "added_initializers",
        "typed": values whose type or shape became known, "stripped": metadata entries and doc
        strings gone}
    """
    return {
        "removed": _counted(before.nodes, after.nodes),
        "added": _counted(after.nodes, before.nodes),
        "removed_initializers": len(before.initializers - after.initializers),
        "added_initializers": len(after.initializers - before.initializers),
        "typed": len(after.typed - before.typed),
        "stripped": before.notes - after.notes,
    }


def _inside(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _note(found: Census, items: Iterable[Any]) -> None:
    for item in items:
        found.notes += len(item.metadata_props) + bool(item.doc_string)


def _counted(here: _Nodes, there: _Nodes) -> dict[str, int]:
    gone = set(here).difference(there)
    if not gone:
        return {}
    # A node that only lost an unused output is still there.
    known = {(op, name) for op, *names in there for name in names}
    ops = Counter(op for op, *names in gone if not any((op, name) in known for name in names))
    return dict(sorted(ops.items()))
