# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Graph folders: model.onnx, and model.onnx.data for the weights of a large one.

The one door through which stages read and write ONNX graphs. It moves bytes and decides nothing
about the graph.
"""

from __future__ import annotations

import contextlib
import copy
import gc
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx_ir.passes.common import ShapeInferencePass

from stages.lib import errors, files, layout, onnx_header, sparse, weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

# A protobuf file ends at 2 GiB; well before, weights move to a file of their own.
_INLINE_LIMIT = 256 << 20
_EXTERNAL_FLOOR = 1 << 10


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Pause Python's cycle collector, which walks all of a growing graph again and again.

    Of a graph of 20,000 nodes half the time goes into that. What is no longer needed is freed by
    the next collection after the block.
    """
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


def load(folder: Path) -> ir.Model:
    """Read a graph folder; weights beside model.onnx are memory-mapped.

    Raises:
        ArtifactError: there is no graph in `folder`.
    """
    return load_file(folder / layout.GRAPH_FILE)


@without_collector()
def load_file(path: Path) -> ir.Model:
    """Read one ONNX file; weights beside it are memory-mapped.

    Two liberties of old exporters end here. An initializer that is listed as an input too, a
    default that nobody feeds, is a constant; and a node without a name gets the one that
    TensorRT's parser gives it, after its first output.

    Raises:
        ArtifactError: there is no such file, or it is not ONNX.
    """
    try:
        proto = onnx.load(files.need(path), load_external_data=False)
        sparse.fill(proto.graph)
        model = ir.from_proto(proto)
    except (DecodeError, ir.serde.SerdeError):
        raise _unreadable(path) from None
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        ir.external_data.set_base_dir(graph, path.parent)
    return _tidy(model)


def load_structure(folder: Path) -> ir.Model:
    """Read a graph folder without the values of its weights, however many bytes these are.

    Raises:
        ArtifactError: there is no graph in `folder`.
    """
    path = folder / layout.GRAPH_FILE
    try:
        proto = onnx.ModelProto.FromString(onnx_header.skeleton(files.need(path)))
        sparse.fill(proto.graph)
        model = ir.from_proto(proto)
    except (DecodeError, ir.serde.SerdeError, EOFError, ValueError):
        raise _unreadable(path) from None
    return _tidy(model)


def _unreadable(path: Path) -> errors.ArtifactError:
    msg = f"{path} is not an ONNX file, or is truncated ({path.stat().st_size} bytes)"
    return errors.ArtifactError(msg, mend="`dvc checkout --force` brings it back")


def _tidy(model: ir.Model) -> ir.Model:
    for value in [value for value in model.graph.inputs if value.is_initializer()]:
        model.graph.inputs.remove(value)
    for node in model.graph.all_nodes():
        if not node.name and node.outputs:
            node.name = f"node_of_{node.outputs[0].name}"
    return model


@without_collector()
def clone(model: ir.Model) -> ir.Model:
    """A copy that can be typed without changing `model`; large weights are shared.

    onnx_ir's own clone shares the type of each value, and setting its dtype changes both.
    """
    made = model.clone()
    for graph in made.graphs():
        inner = (value for node in graph for value in node.outputs)
        for value in (*graph.inputs, *graph.initializers.values(), *inner):
            value.type = copy.copy(value.type)
    return made


def sized(model: ir.Model, shapes: Mapping[str, Sequence[int | str]]) -> ir.Model:
    """A copy in which all shapes follow from those of the inputs, as far as ONNX can infer them.

    Args:
        model: left as it is.
        shapes: by input; one that is not there keeps its own.
    """
    made = clone(model)
    for value in made.graph.inputs:
        if value.name and value.name in shapes:
            value.shape = ir.Shape(shapes[value.name])
    for node in made.graph:
        for value in node.outputs:
            value.shape = None
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(made)
    return made


def save(model: ir.Model, folder: Path) -> None:
    """Write a graph folder; the same model gives the same bytes.

    Weights that lie in files are copied from file to file where they stay in one.
    """
    folder.mkdir(parents=True)
    path = folder / layout.GRAPH_FILE
    if weights.size(model) <= _INLINE_LIMIT:
        # What lay beside the graph it was read from would be missed beside this one.
        weights.load(model)
        ir.save(model, path)
    else:
        with weights.beside(model, folder, layout.GRAPH_DATA, _EXTERNAL_FLOOR):
            ir.save(model, path)


Weights = dict[int, tuple["ir.TensorProtocol", "ir.TensorProtocol"]]
"""By identity of a tensor: the tensor, which keeps the identity its own, and its copy on disk."""


def put_weights(model: ir.Model, folder: Path) -> Weights:
    """Write the large weights of `model` once, for many graphs made from clones of it."""
    tensors = [
        value.const_value
        for value in model.graph.initializers.values()
        if value.const_value is not None and value.const_value.nbytes >= _EXTERNAL_FLOOR
    ]
    copies = ir.external_data.convert_tensors_to_external(tensors, folder, layout.GRAPH_DATA)
    return {id(own): (own, other) for own, other in zip(tensors, copies, strict=True)}


def save_sharing(model: ir.Model, path: Path, shared: Weights) -> None:
    """Write a graph for passing use, beside the weights that `put_weights` wrote.

    Args:
        model: refers to those weights afterwards.
        path: the ONNX file, in that folder; one that is there is replaced.
        shared: those that `model` still has are not written again.
    """
    fresh = 0
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and id(tensor) in shared:
            value.const_value = shared[id(tensor)][1]
        elif tensor is not None:
            fresh += tensor.nbytes
    if fresh <= _INLINE_LIMIT:
        ir.save(model, path)
    else:
        data = f"{path.name}.all"  # not the file that it reads from
        ir.save(model, path, external_data=data, size_threshold_bytes=_EXTERNAL_FLOOR)
