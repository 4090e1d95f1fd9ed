# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Keras' UpSampling2D repeats rows, then columns, by Unsqueeze, Tile and Reshape: a Resize."""

from __future__ import annotations

from typing import Any

import numpy as np
from tf2onnx import utils
from tf2onnx.optimizer.optimizer_base import GraphOptimizerBase


class Repeats(GraphOptimizerBase):
    """An optimizer of tf2onnx; the factors of the Resize are constants."""

    def _optimize(self, graph: Any) -> Any:
        return self._apply_optimization(graph, self._in)

    def _in(self, graph: Any) -> Any:
        for node in list(graph.get_nodes()):
            if node.type == "Reshape" and _repeat(graph, node):
                self.graph_been_opt = True
        return graph


def _repeat(graph: Any, node: Any) -> bool:
    tile = node.inputs[0]
    if tile.type != "Tile" or not tile.inputs[1].is_const():
        return False
    split = tile.inputs[0]
    if split.type != "Unsqueeze" or not split.inputs[1].is_const():
        return False
    source, axes = split.input[0], split.inputs[1].get_tensor_value()
    times = tile.inputs[1].get_tensor_value()
    sizes, found = graph.get_shape(source), graph.get_shape(node.output[0])
    if (
        len(axes) != 1
        or not sizes
        or not found
        or graph.get_dtype(source) != utils.onnx_pb.TensorProto.FLOAT
    ):
        return False
    axis = axes[0] % len(times)
    factors = [times[axis] if place == axis - 1 else 1 for place in range(len(sizes))]
    ones = [count for place, count in enumerate(times) if place != axis]
    # The one unknown size, the batch, follows from the others.
    same = found == [s if s < 0 else s * f for s, f in zip(sizes, factors, strict=True)]
    if (
        axis == 0
        or any(one != 1 for one in ones)
        or not same
        or sizes.count(-1) > 1
        or sizes[axis - 1] < 0
    ):
        return False
    scales = graph.make_const(utils.make_name(node.name), np.array(factors, np.float32))
    roi = graph.make_const(utils.make_name(node.name), np.array([], np.float32))
    name, outputs, shapes, dtypes = node.name, node.output, node.output_shapes, node.output_dtypes
    graph.remove_node(name)
    how = {
        "mode": "nearest",
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    }
    graph.make_node(
        "Resize",
        [source, roi.output[0], scales.output[0]],
        attr=how,
        name=name,
        outputs=outputs,
        shapes=shapes,
        dtypes=dtypes,
    )
    return True
