# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Stack traces, doc strings and the producer's name go: they say where a graph was made.

Requires: nothing.
Ensures: no node, value, attribute or graph changes otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

    from stages.passes.api import Context

EXACT: Final = True


def run(model: ir.Model, context: Context) -> None:  # noqa: ARG001 (one signature for all)
    """Change `model` in place."""
    for item in carriers(model):
        item.metadata_props.clear()
        item.doc_string = None
    model.producer_name = None
    model.producer_version = None


def carriers(model: ir.Model) -> Iterator[Any]:
    """All that has metadata and a doc string of its own: model, graphs, nodes and values."""
    yield model
    yield from model.functions.values()
    for graph in model.graphs():
        yield graph
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield node
            yield from node.outputs
