# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Keras' UpSampling2D repeats rows, then columns, by Unsqueeze, Tile and Reshape: a Resize."""

from __future__ import annotations

from typing import Any

import numpy as np
from tf2onnx import utils
from tf2onnx.optimizer.optimizer_base import GraphOptimizerBase

from stages.exporters.tensorflow import sizes as shapes


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
    factors = _factors(graph, node)
    if factors is None:
        return False
    source = node.inputs[0].inputs[0].input[0]
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


def _factors(graph: Any, node: Any) -> list[int] | None:
    """By how much a Reshape of a Tile of an Unsqueeze makes each axis longer."""
    tile = node.inputs[0]
    if tile.type != "Tile" or tile.inputs[0].type != "Unsqueeze":
        return None
    split = tile.inputs[0]
    source = split.input[0]
    sizes, found = graph.get_shape(source), graph.get_shape(node.output[0])
    axes, times = shapes.numbers(split.inputs[1]), shapes.numbers(tile.inputs[1])
    if axes is None or times is None or len(axes) != 1 or not sizes or not found:
        return None
    axis, dtype = axes[0] % len(times), graph.get_dtype(source)
    if dtype != utils.onnx_pb.TensorProto.FLOAT or axis == 0 or np.any(np.delete(times, axis) != 1):
        return None
    factors = [int(times[axis]) if place == axis - 1 else 1 for place in range(len(sizes))]
    wanted = [size if size < 0 else size * by for size, by in zip(sizes, factors, strict=True)]
    # One unknown size, such as the batch, follows from the others.
    follows = found == wanted and wanted.count(-1) <= 1
    tried = shapes.trial(sizes)
    asked = [size * by for size, by in zip(tried, factors, strict=True)]
    return factors if follows or shapes.asked(node, source, tried) == asked else None
