# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Small moves on a graph that casts and Q/DQ share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterable


class Names:
    """Fresh names that collide with nothing in a graph."""

    def __init__(self, graph: ir.Graph) -> None:
        values = [
            v for node in graph.all_nodes() for v in (*node.outputs, *node.inputs) if v is not None
        ]
        self._taken = {v.name for v in (*values, *graph.inputs, *graph.outputs)}
        self._taken |= set(graph.initializers) | {node.name for node in graph.all_nodes()}

    def fresh(self, wanted: str) -> str:
        """Give `wanted`, or else `wanted_2`, `wanted_3` and so on."""
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """What an initializer, or the result of a Constant node, holds; None for anything else."""
    return None if value is None else ir.convenience.get_const_tensor(value)


def insert_after(graph: ir.Graph, value: ir.Value, nodes: Iterable[ir.Node]) -> None:
    """Insert `nodes` right after the producer of `value`, or first if it has none."""
    producer = value.producer()
    if producer is not None and producer.graph is graph:
        graph.insert_after(producer, list(nodes))
    elif len(graph):
        graph.insert_before(graph[0], list(nodes))
    else:
        graph.extend(nodes)


def add_initializer(graph: ir.Graph, tensor: ir.TensorProtocol) -> ir.Value:
    """Make `tensor` an initializer under its own name."""
    value = ir.Value(
        name=tensor.name,
        type=ir.TensorType(tensor.dtype),
        shape=ir.Shape(tensor.shape.numpy()),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def remove_unused_initializers(graph: ir.Graph) -> None:
    """Drop float weights that a typed copy has replaced."""
    outputs = set(graph.outputs)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and value not in outputs:
            del graph.initializers[name]
