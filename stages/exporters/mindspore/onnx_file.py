# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What `mindspore.onnx.export` leaves undone in the file that it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnx import checker, shape_inference

from stages.exporters.mindspore import reasons
from stages.lib import errors

if TYPE_CHECKING:
    from pathlib import Path

    from stages.exporters.api import Order


def finish(path: Path, order: Order) -> None:
    """Correct the file in place; external data stay as they are.

    Raises:
        SourceModelError: the graph is not valid ONNX.
    """
    model = onnx.load(path, load_external_data=False)
    model.graph.name = order.entry.rpartition(":")[2]  # it was numbered
    _shorten_sizes(model.graph)
    _part_outputs(model.graph)
    _open_outputs(model)
    onnx.save(model, path)
    try:
        checker.check_model(path, full_check=True)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        first = str(error).partition("\n")[0]  # the rest follows from it
        msg = f"{reasons.EXPORTER} wrote a graph of {order.entry} that is not valid ONNX: {first}"
        mend = "let construct() compute that by another op, or report it to MindSpore"
        raise errors.SourceModelError(msg, mend=mend) from error


def _shorten_sizes(graph: onnx.GraphProto) -> None:
    """ConvTranspose has `output_shape` without batch and channels; MindSpore writes them too."""
    ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            sizes = node.op_type == "ConvTranspose" and attribute.name == "output_shape"
            if sizes and len(attribute.ints) == ranks.get(node.input[1]):
                del attribute.ints[:2]


def _part_outputs(graph: onnx.GraphProto) -> None:
    """An output that is an input, or another output, too, becomes a value of its own."""
    taken = {value.name for value in graph.input}
    for number, value in enumerate(graph.output):
        if value.name in taken:
            copy = f"output-{number}"
            graph.node.add(op_type="Identity", input=[value.name], output=[copy], name=copy)
            value.name = copy
        taken.add(value.name)


def _open_outputs(model: onnx.ModelProto) -> None:
    """MindSpore writes -1 for a size that varies: it becomes a symbol, or nothing, of ONNX."""
    for value in model.graph.output:
        for size in value.type.tensor_type.shape.dim:
            if size.dim_value < 0:
                size.Clear()
    try:
        inferred = shape_inference.infer_shapes(model, data_prop=True)
    except shape_inference.InferenceError:
        return  # the checker will say so
    for value, known in zip(model.graph.output, inferred.graph.output, strict=True):
        value.CopyFrom(known)
