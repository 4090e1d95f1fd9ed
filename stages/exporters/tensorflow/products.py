# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A dense layer on an image or a sequence is Reshape, MatMul and Reshape, where MatMul would do."""

from __future__ import annotations

from typing import Any

from tf2onnx.optimizer.optimizer_base import GraphOptimizerBase

from stages.exporters.tensorflow import sizes as shapes


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
    tried = shapes.trial(sizes)
    # One unknown size, such as the batch, follows from the others.
    follows = found == wanted and wanted.count(-1) == 1
    if not follows and shapes.asked(node, source, tried) != [*tried[:-1], wanted[-1]]:
        return False
    name, outputs, dtypes = node.name, node.output, node.output_dtypes
    graph.remove_node(name)
    inputs = [source, product.input[1]]
    graph.make_node("MatMul", inputs, name=name, outputs=outputs, shapes=[wanted], dtypes=dtypes)
    return True
