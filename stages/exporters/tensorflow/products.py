# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A dense layer on an image or a sequence is Reshape, MatMul and Reshape, where MatMul would do."""

from __future__ import annotations

from typing import Any

from tf2onnx.optimizer.optimizer_base import GraphOptimizerBase


class Products(GraphOptimizerBase):
    """An optimizer of tf2onnx; the weights are constant."""

    def _optimize(self, graph: Any) -> Any:
        return self._apply_optimization(graph, self._in)

    def _in(self, graph: Any) -> Any:
        for node in list(graph.get_nodes()):
            if node.type == "Reshape" and _product(graph, node):
                self.graph_been_opt = True
        return graph


def _product(graph: Any, node: Any) -> bool:
    product = node.inputs[0]
    if product.type != "MatMul" or not product.inputs[1].is_const():
        return False
    flat = product.inputs[0]
    if flat.type != "Reshape" or graph.get_rank(flat.output[0]) != 2:  # noqa: PLR2004 (a matrix)
        return False
    source, weights = flat.input[0], product.inputs[1].get_tensor_value(as_list=False)
    sizes, found = graph.get_shape(source), graph.get_shape(node.output[0])
    # A matrix as wide as the last axis: only what lies in front of that axis has become one.
    if not sizes or sizes[-1] != weights.shape[0]:
        return False
    wanted = [*sizes[:-1], weights.shape[-1]]
    # One unknown size, such as the batch, follows from the others.
    if not (found == wanted and wanted.count(-1) == 1) and not _asks(node, source, wanted):
        return False
    name, outputs, dtypes = node.name, node.output, node.output_dtypes
    graph.remove_node(name)
    inputs = [source, product.input[1]]
    graph.make_node("MatMul", inputs, name=name, outputs=outputs, shapes=[wanted], dtypes=dtypes)
    return True


def _asks(node: Any, source: str, wanted: list[int]) -> bool:
    """Whether a Reshape is to the sizes of `source`, with the last one of `wanted`."""
    parts = _uncast(node.inputs[1])
    if parts.type != "Concat" or len(parts.input) != 2 or not parts.inputs[1].is_const():  # noqa: PLR2004
        return False
    front, last = _uncast(parts.inputs[0]), parts.inputs[1].get_tensor_value()
    if front.type != "Gather" or not front.inputs[1].is_const() or last != wanted[-1:]:
        return False
    sizes = _uncast(front.inputs[0])
    same = sizes.type == "Shape" and sizes.input[0] == source
    return same and front.inputs[1].get_tensor_value() == list(range(len(wanted) - 1))


def _uncast(node: Any) -> Any:
    return _uncast(node.inputs[0]) if node.type == "Cast" else node
