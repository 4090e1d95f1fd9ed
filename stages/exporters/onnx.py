# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX files as they are: checked, then copied with all their external data."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import onnx
from google.protobuf.message import DecodeError

from stages.lib import errors, layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.exporters.api import Arrays, Order


def export(order: Order, example: Arrays, folder: Path) -> None:  # noqa: ARG001 (the interface)
    """Check the file and copy it; see `stages/exporters/api.py`."""
    source = order.source / order.entry
    model = _parse(source)
    data = sorted(_external_files(model, source))
    try:
        onnx.checker.check_model(str(source))
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        msg = f"{source} is not valid ONNX: {error}"
        raise errors.SourceModelError(msg, mend="export it again; `onnx.checker` must accept it") from None
    folder.mkdir(parents=True)
    shutil.copyfile(source, folder / layout.GRAPH_FILE)
    for location in data:
        target = folder / location
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.parent / location, target)


def _parse(source: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(source, load_external_data=False)
    except FileNotFoundError:
        msg = f"{source} is not there"
        raise errors.SourceModelError(msg, mend="set models.<m>.source.entry to the ONNX file") from None
    except DecodeError:
        msg = f"{source} is not an ONNX file, or is truncated ({source.stat().st_size} bytes)"
        raise errors.SourceModelError(msg, mend="copy or export the file again") from None
    if not model.graph.output:
        # Protobuf takes many random bytes, and an empty file, for a message without fields.
        msg = f"{source} holds no graph with outputs: it is not an ONNX model, or is truncated"
        raise errors.SourceModelError(msg, mend="copy or export the file again")
    return model


def _external_files(model: onnx.ModelProto, source: Path) -> set[str]:
    """Locations of external data, each inside the folder, present and long enough."""
    found: set[str] = set()
    for tensor in _tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        _check_location(location, tensor.name, source)
        end = int(entries.get("offset", 0)) + int(entries.get("length", 0))
        size = (source.parent / location).stat().st_size
        if end > size:
            msg = f"{source}: {tensor.name!r} lies at bytes up to {end} of {location}, which has {size}"
            raise errors.SourceModelError(msg, mend=f"copy {location} again: it is truncated")
        found.add(location)
    return found


def _check_location(location: str, tensor: str, source: Path) -> None:
    path = PurePosixPath(location)
    where = f"{source}: external data of {tensor!r}, {location!r},"
    if not location or path.is_absolute() or ".." in path.parts or "\\" in location:
        msg = f"{where} lies outside the model's folder: refused"
        raise errors.SourceModelError(msg, mend="save the model again with external data beside it")
    file = source.parent / location
    if not file.is_file():
        msg = f"{where} is missing"
        raise errors.SourceModelError(msg, mend=f"copy {location} into {source.parent}")
    if not file.resolve().is_relative_to(source.parent.resolve()):
        msg = f"{where} is a link that leaves the model's folder: refused"
        raise errors.SourceModelError(msg, mend=f"replace the link by the file itself")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from ([attribute.t] if attribute.HasField("t") else [])
            yield from attribute.tensors
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _tensors(inner)
