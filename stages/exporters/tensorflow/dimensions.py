# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Shapes of a converted graph: the declared dimensions, carried to the outputs.

tf2onnx gives each unknown size a name of its own, though most are the batch; and ONNX's inference
ends at a Reshape to [-1, ...], a Resize and a Slice.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stages.exporters.api import Arrays, Framework, Order

Shape = list[int | str]

_UNKNOWN = "unk__"  # what ONNX calls a dimension of which it knows nothing
_BATCHES = (3, 7)
_END = (1 << 31) - 1  # tf2onnx cuts there at the earliest where nothing is cut


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with shapes that follow from its inputs; those that it states are forgotten.

    A Reshape that keeps the batch says so, and one that changes nothing becomes an Identity.
    """
    graph = model.graph
    del graph.value_info[:]
    for value in graph.output:
        for size in value.type.tensor_type.shape.dim:
            size.ClearField("dim_param")
    constants = {
        tensor.name: numpy_helper.to_array(tensor).tolist()
        for tensor in graph.initializer
        if len(tensor.dims) == 1 and tensor.dims[0] <= 5 and not tensor.external_data  # noqa: PLR2004 (shapes)
    }
    model = onnx.shape_inference.infer_shapes(model)
    for node in model.graph.node:
        if node.op_type == "Reshape":
            _keep_batch(model.graph, node, _shapes(model.graph), constants)
    _forget(model.graph)
    while True:
        model = onnx.shape_inference.infer_shapes(model)
        shapes = _shapes(model.graph)
        told = (_known(node, shapes, constants) for node in model.graph.node)
        found = next((pair for pair in told if pair is not None), None)
        if found is None:
            _drop_unused(model.graph)
            return model
        _tell(model.graph, *found)


def name_batch(graph: onnx.GraphProto, order: Order, example: Arrays, run: Framework) -> None:
    """Name the first dimension of outputs that the source itself shows to be the batch.

    Inference ends at a Loop, which recurrent layers are, and at computed shapes, as of attention.
    """
    shapes = [spec["shape"] for spec in order.inputs.values()]
    batch = shapes[0][0] if shapes and shapes[0] else None
    tensors = {value.name: value.type.tensor_type.shape.dim for value in graph.output}
    open_ones = [place for place, dims in enumerate(tensors.values()) if dims and _unnamed(dims[0])]
    if not isinstance(batch, str) or not open_ones:
        return
    found = [_first_sizes(order, example, run, batch, size) for size in _BATCHES]
    for place in open_ones:
        if [sizes[place] for sizes in found] == list(_BATCHES):
            [*tensors.values()][place][0].dim_param = batch


def _unnamed(size: onnx.TensorShapeProto.Dimension) -> bool:
    return not size.HasField("dim_value") and size.dim_param[: len(_UNKNOWN)] in ("", _UNKNOWN)


def _first_sizes(order: Order, example: Arrays, run: Framework, batch: str, size: int) -> list[int]:
    feeds = {
        name: np.repeat(example[name][-1:], size, axis=0)
        if spec["shape"][:1] == [batch]
        else example[name]
        for name, spec in order.inputs.items()
    }
    found = run(feeds)
    return [len(found[name]) if np.ndim(found[name]) else 0 for name in order.outputs]


def _shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    return {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in _values(graph)
        if value.type.tensor_type.HasField("shape")
    }


def _values(graph: onnx.GraphProto) -> Iterable[onnx.ValueInfoProto]:
    return (*graph.input, *graph.value_info, *graph.output)


def _keep_batch(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    shapes: dict[str, Shape],
    constants: dict[str, Any],
) -> None:
    """Write 0, as it is, for -1 where nothing but the first dimension can be unknown."""
    found, wanted = shapes.get(node.input[0]), constants.get(node.input[1])
    if not found or not wanted or wanted[0] != -1 or isinstance(found[0], int):
        return
    sizes = [size for size in found[1:] if isinstance(size, int)]
    if len(sizes) < len(found) - 1 or math.prod(sizes) != math.prod(wanted[1:]):
        return
    if sizes == wanted[1:]:
        node.op_type = "Identity"
        del node.input[1:], node.attribute[:]
        return
    name = f"{node.name}/shape"
    graph.initializer.append(
        onnx.helper.make_tensor(name, onnx.TensorProto.INT64, [len(wanted)], [0, *wanted[1:]])
    )
    node.input[1] = name


def _known(
    node: onnx.NodeProto, shapes: dict[str, Shape], constants: dict[str, Any]
) -> tuple[str, str] | None:
    """The output of a node that keeps the batch, and the batch, where inference lost it."""
    if node.op_type not in ("Resize", "Slice"):
        return None
    before, after = shapes.get(node.input[0]), shapes.get(node.output[0])
    if not before or not after or not str(after[0]).startswith(_UNKNOWN):
        return None
    if isinstance(before[0], int) or before[0].startswith(_UNKNOWN):
        return None
    values = [constants.get(name) for name in node.input[1:]]
    keeps = _resize_keeps(values) if node.op_type == "Resize" else _slice_keeps(values)
    return (node.output[0], before[0]) if keeps else None


def _resize_keeps(values: list[Any]) -> bool:
    return len(values) == 2 and bool(values[1]) and values[1][0] == 1  # noqa: PLR2004 (roi, factors)


def _slice_keeps(values: list[Any]) -> bool:
    if len(values) < 3 or not all(values):  # noqa: PLR2004 (starts, ends, axes)
        return False
    cuts = {axis: cut for axis, *cut in zip(values[2], *values[:2], *values[3:], strict=True)}
    begin, end, *steps = cuts.get(0, (0, _END))
    return begin == 0 and end >= _END and steps in ([], [1])


def _tell(graph: onnx.GraphProto, name: str, batch: str) -> None:
    for value in _values(graph):
        if value.name == name:
            value.type.tensor_type.shape.dim[0].dim_param = batch
    _forget(graph)


def _forget(graph: onnx.GraphProto) -> None:
    """Forget what was inferred while something was unknown."""
    for value in _values(graph):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param.startswith(_UNKNOWN):
                size.ClearField("dim_param")


def _drop_unused(graph: onnx.GraphProto) -> None:
    read = {name for node in graph.node for name in node.input} | {one.name for one in graph.output}
    if any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
        return  # a graph within may read them
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in read:
            del graph.initializer[index]
