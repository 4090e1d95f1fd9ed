# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Large weights in one file beside their graph, without a copy of them in memory.

The layout is canonical: tensors in the graph's order, without gaps, each region once. A file that
has it already is copied whole, which costs nothing where the file system shares blocks.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from stages.lib import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    Array = np.ndarray[Any, Any]

# Smaller ones are made at once: other code asks for their values, too.
_LATER = 1 << 20

_Key = tuple[object, ...]
_Holder = tuple["ir.TensorProtocol", "Callable[[ir.TensorProtocol], None]"]


def size(model: ir.Model) -> int:
    """Bytes of all tensors of a graph, its branches, loop bodies and constants included."""
    return sum({id(tensor): tensor.nbytes for tensor, _ in _holders(model)}.values())


def load(model: ir.Model) -> None:
    """Take weights that lie in files into memory: what is written next holds them itself."""
    for tensor, put in list(_holders(model)):
        if isinstance(tensor, ir.ExternalTensor):
            put(_in_memory(tensor))


def made_from(
    tensor: ir.TensorProtocol, make: Callable[[Array], Array], dtype: ir.DataType, name: str | None
) -> ir.TensorProtocol:
    """A tensor computed from another; a large one only when it is written, and not kept.

    Args:
        tensor: the source.
        make: from its values to those of the result, of the same shape; it is called again each
            time that the values are asked for.
        dtype: of the result.
        name: of the result.
    """

    def work() -> ir.Tensor[Array]:
        return ir.Tensor(make(tensor.numpy()), dtype=dtype, name=name)

    if tensor.nbytes < _LATER:
        return work()
    return ir.LazyTensor(work, dtype, ir.Shape(tensor.shape.numpy()), name=name)


@contextmanager
def beside(model: ir.Model, folder: Path, location: str, floor: int) -> Iterator[None]:
    """Write tensors of `floor` bytes and more to a file; within the block `model` refers to it.

    Args:
        model: afterwards as it was, so that it still reads the files that it was read from.
        folder: where the graph is to lie.
        location: the file's path in it.
        floor: smaller tensors stay in the graph.
    """
    holders = list(_holders(model))
    large = [tensor for tensor, _ in holders if _is_large(tensor, floor)]
    places, end = _places(large)
    _write(large, places, end, folder / location)
    try:
        for tensor, put in holders:
            if _is_large(tensor, floor):
                put(_moved(tensor, location, places[_key(tensor)], folder))
            elif isinstance(tensor, ir.ExternalTensor):
                put(_in_memory(tensor))
        yield
    finally:
        for tensor, put in holders:
            put(tensor)


def _write(
    tensors: list[ir.TensorProtocol], places: dict[_Key, int], end: int, target: Path
) -> None:
    if (source := _same_layout(tensors, places, end)) is not None:
        files.copy(source, target)
        return
    done: set[_Key] = set()
    with target.open("wb") as stream:
        for tensor in tensors:
            key = _key(tensor)
            if key in done:
                continue
            done.add(key)
            if isinstance(tensor, ir.ExternalTensor):
                files.copy_range(Path(tensor.path), tensor.offset or 0, tensor.nbytes, stream)
            else:
                stream.write(tensor.tobytes())


def _same_layout(
    tensors: list[ir.TensorProtocol], places: dict[_Key, int], end: int
) -> Path | None:
    """The file that holds just these tensors at just these places, if there is one."""
    paths = {
        tensor.path
        if isinstance(tensor, ir.ExternalTensor) and (tensor.offset or 0) == places[_key(tensor)]
        else ""
        for tensor in tensors
    }
    path = Path(paths.pop()) if len(paths) == 1 else Path()
    return path if path.name and path.stat().st_size == end else None


def _places(tensors: list[ir.TensorProtocol]) -> tuple[dict[_Key, int], int]:
    places: dict[_Key, int] = {}
    end = 0
    for tensor in tensors:
        if _key(tensor) not in places:
            places[_key(tensor)] = end
            end += tensor.nbytes
    return places, end


def _key(tensor: ir.TensorProtocol) -> _Key:
    """What tells two regions of bytes apart."""
    if isinstance(tensor, ir.ExternalTensor):
        return (os.fspath(tensor.path), tensor.offset or 0, tensor.nbytes)
    return (id(tensor),)


def _moved(
    tensor: ir.TensorProtocol, location: str, offset: int, folder: Path
) -> ir.ExternalTensor:
    return ir.ExternalTensor(
        location,
        offset,
        tensor.nbytes,
        tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()),
        name=tensor.name or "",
        base_dir=folder,
    )


def _in_memory(tensor: ir.ExternalTensor) -> ir.TensorProtocol:
    data = tensor.numpy().copy()
    tensor.release()
    return ir.Tensor(data, dtype=tensor.dtype, name=tensor.name)


def _is_large(tensor: ir.TensorProtocol, floor: int) -> bool:
    return tensor.dtype != ir.DataType.STRING and tensor.nbytes >= floor


def _holders(model: ir.Model) -> Iterator[_Holder]:
    """Each tensor, and how to put another in its place."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value, partial(setattr, value, "const_value")
    for nodes in (model.graph.all_nodes(), *(one.all_nodes() for one in model.functions.values())):
        for node in nodes:
            for name, attribute in list(node.attributes.items()):
                # What lies in the graph itself may stay: the file that it came from held it too.
                if attribute.type == ir.AttributeType.TENSOR and isinstance(
                    attribute.value, ir.ExternalTensor
                ):
                    yield attribute.value, partial(_put_attribute, node, name)


def _put_attribute(node: ir.Node, name: str, tensor: ir.TensorProtocol) -> None:
    node.attributes[name] = ir.AttrTensor(name, tensor)
