# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""All that TensorRT's parser refuses of a graph, at once.

The parser lists unsupported operators together, but stops at the first node that it cannot import,
and at the first branch or loop with a fault. So each node that it names is cut out, graph inputs of
the same type and shape stand in for what it made, and the rest is parsed again, until nothing more
is refused. A value of unknown type or shape has no stand-in: what reads it goes too, unjudged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from stages.backends import refusals
from stages.lib import graphs
from stages.passes import advice
from stages.passes.outline import Outline

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Told = dict[str, Any]


def find(model: ir.Model, folder: Path) -> list[Told]:
    """What blocks `model`, in order of the parser.

    Args:
        model: stays as it is; types and shapes of its values should be known.
        folder: for the parts that are parsed; they take no room to speak of.

    Returns:
        For each {"name"; "op", or "input", "initializer" or "graph"; "reason"; "mend"; "follows":
        whether it reads a shape or index that stands in for a cut node's, and may be refused for
        that alone}; without a name "" for the graph as a whole.
    """
    work = _Work(graphs.clone(model), folder)
    while told := work.parse():
        if not work.cut(told):
            break
    return work.found


class _Work:
    """A copy of the graph that loses what is refused."""

    def __init__(self, model: ir.Model, folder: Path) -> None:
        self.found: list[Told] = []
        self.outline = Outline(model, folder)
        self.model = model
        self.stand_ins: set[ir.Value] = set()
        self.asked = False
        # Names of nodes need not be unique; the parser's answers must be.
        self.nodes = {f"n{number}": node for number, node in enumerate(model.graph.all_nodes())}
        self.names = {node: node.name or "" for node in self.nodes.values()}
        for name, node in self.nodes.items():
            node.name = name

    def parse(self) -> list[Told]:
        """Refusals of what is left."""
        return self.outline.refusals() if self.model.graph.outputs else []

    def cut(self, told: list[Told]) -> bool:
        """Record what was told and take it out; False where there is nothing to take out."""
        before = self._size()
        for one in told:
            if one["code"] == refusals.SHAPE_INPUT:
                self._shape_input(one["name"])
            elif (node := self._node(one)) is not None:
                self._cut_node(node, one["what"])
        if self._size() == before and any(one["node"] < 0 for one in told):
            self._cut_types()
        rest = [one["what"] for one in told if one["code"] != refusals.SHAPE_INPUT]
        if self._size() == before and rest:
            self._cut_alone(set(rest))
        if self._size() == before and rest:
            self._record("", "graph", refusals.reason(rest[0]))
        return self._size() < before

    def _size(self) -> int:
        """Falls with whatever is taken out."""
        values = (v for g in self.model.graphs() for v in (*g.inputs, *g.initializers.values()))
        return len(self.nodes) + len(self.model.graph.outputs) + len(set(values) - self.stand_ins)

    def _node(self, one: Told) -> ir.Node | None:
        """The node that is meant; some refusals have its place in the graph and not its name."""
        if one["name"] in self.nodes or not 0 <= one["node"] < len(self.model.graph):
            return self.nodes.get(one["name"])
        node = self.model.graph[one["node"]]
        return node if node.op_type == one["op"] and node.name in self.nodes else None

    def _cut_node(self, node: ir.Node, what: str) -> None:
        follows = any(map(self._stands_for_a_shape, node.inputs))
        self._record(self.names[node], node.op_type, refusals.reason(what), follows=follows)
        self._replace(node)

    def _cut_alone(self, words: set[str]) -> None:
        """Nodes of which the parser says the same alone, where it says it of the graph."""
        for node in list(self.nodes.values()):
            said = {one["what"] for one in self.outline.of_node(node)}
            if same := sorted(said & words):
                self._cut_node(node, same[0])

    def _shape_input(self, name: str) -> None:
        if name not in {value.name for value in self.stand_ins}:
            self._record(name, "input", refusals.SHAPE_INPUT)

    def _cut_types(self) -> None:
        """Inputs and initializers of types that TensorRT lacks, and what reads them."""
        for kind, values in (
            ("input", list(self.model.graph.inputs)),
            ("initializer", [v for g in self.model.graphs() for v in g.initializers.values()]),
        ):
            for value in values:
                if not self.outline.has_type(value, kind):
                    what = f"TensorRT has no tensors of type {value.type or 'unknown'}"
                    self._record(value.name or "", kind, what)
                    self._forget(value)
                    graph = value.graph
                    if kind == "input" and graph is not None:
                        self.model.graph.inputs.remove(value)
                    elif graph is not None:
                        del graph.initializers[value.name or ""]

    def _record(self, name: str, op: str, reason: str, *, follows: bool = False) -> None:
        reason, mend = advice.of(op, reason)
        one = {"name": name, "op": op, "reason": reason, "mend": mend, "follows": follows}
        if one not in self.found:
            self.found.append(one)

    def _replace(self, node: ir.Node) -> None:
        """Take out `node`; stand-ins take the place of what it made."""
        graph = node.graph
        if self.nodes.pop(node.name or "", None) is None or graph is None:
            return
        for value in node.outputs:
            needed = value.is_graph_output() or value.uses()
            if needed and not self._stand_in(node, value):
                self._forget(value)
        graph.remove(node, safe=False)

    def _stand_in(self, node: ir.Node, value: ir.Value) -> bool:
        if value.type is None or value.shape is None:
            return False
        given = ir.val(f"stand_in_{value.name}", shape=value.shape, type=value.type)
        if not self.outline.has_type(given, "input") or node.graph is None:
            return False
        self.model.graph.inputs.append(given)
        # A branch or loop body cannot give out what it does not compute.
        made = ir.node("Identity", [given], name=f"stand-in {value.name}")
        made.outputs[0].type, made.outputs[0].shape = value.type, value.shape
        node.graph.insert_before(node, made)
        name = value.name
        ir.convenience.replace_all_uses_with(value, made.outputs[0], replace_graph_outputs=True)
        value.name, made.outputs[0].name = None, name
        self.stand_ins |= {given, made.outputs[0]}
        return True

    def _forget(self, value: ir.Value) -> None:
        """Take out all that reads `value`, unjudged."""
        for node in {use.node for use in value.uses()}:
            self._replace(node)
        for graph in [graph for graph in self.model.graphs() if value in graph.outputs]:
            if graph is self.model.graph:
                graph.outputs.remove(value)
            else:
                self._replace(self._owner(graph))

    def _owner(self, graph: ir.Graph) -> ir.Node:
        """The branch or loop whose body `graph` is."""
        return next(
            node
            for node in self.model.graph.all_nodes()
            for attribute in node.attributes.values()
            if attribute.type == ir.AttributeType.GRAPH and attribute.as_graph() is graph
        )

    def _stands_for_a_shape(self, value: ir.Value | None) -> bool:
        """Whether `value` is a small whole-number tensor that comes of a stand-in."""
        return value is not None and any(one in self.stand_ins for one in _origins(value))


def _origins(value: ir.Value) -> Iterator[ir.Value]:
    """`value` and what it comes of, as long as those are shapes or indices."""
    seen, todo = set(), [value]
    while todo:
        one = todo.pop()
        whole = one.dtype in (ir.DataType.INT64, ir.DataType.INT32)
        if one in seen or not whole or one.shape is None or len(one.shape) > 1:
            continue
        seen.add(one)
        yield one
        producer = one.producer()
        todo += [v for v in producer.inputs if v is not None] if producer is not None else []
