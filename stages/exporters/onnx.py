# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX files as they are: checked, then copied with all their external data."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError, Message

from stages.lib import errors, layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.exporters.api import Arrays, Order

# A damaged name makes even the checker's message unreadable.
_INVALID = (onnx.checker.ValidationError, ir.serde.SerdeError, UnicodeDecodeError)


def export(order: Order, example: Arrays, folder: Path) -> None:  # noqa: ARG001 (the interface)
    """Check the file and copy it; see `stages/exporters/api.py`."""
    source = order.source / order.entry
    model = _parse(source)
    data = sorted(_external_files(model, source))
    try:
        onnx.checker.check_model(str(source))
        ir.from_proto(model)  # as every later stage does
    except _INVALID as error:
        msg = f"{source} is not valid ONNX: {error}"
        raise errors.SourceModelError(
            msg, mend="export it again; `onnx.checker` must accept it"
        ) from None
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
        raise errors.SourceModelError(
            msg, mend="set models.<m>.source.entry to the ONNX file"
        ) from None
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
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        _check_location(location, tensor.name, source)
        _check_length(entries, tensor, source)
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
    if file.resolve() != source.parent.resolve() / path:
        # It may leave the folder; and onnx.checker takes no link at all.
        msg = f"{where} is a link, or lies behind one: refused"
        raise errors.SourceModelError(
            msg, mend="replace the link by the file itself (`dvc unprotect` if DVC made it)"
        )
    if path == PurePosixPath(layout.GRAPH_FILE):
        msg = f"{where} has the name that the graph itself gets"
        raise errors.SourceModelError(msg, mend="save the model again with another data file")


def _check_length(entries: dict[str, str], tensor: onnx.TensorProto, source: Path) -> None:
    location = entries["location"]
    where = f"{source}: {tensor.name!r}"
    try:
        offset, length = (int(entries.get(key, 0)) for key in ("offset", "length"))
    except ValueError:
        msg = f"{where} lies at no readable position of {location}: {entries}"
        raise errors.SourceModelError(msg, mend="export the model again") from None
    size = (source.parent / location).stat().st_size
    if offset < 0 or length < 0 or offset + length > size:
        msg = f"{where} lies at bytes {offset} to {offset + length} of {location}, which has {size}"
        raise errors.SourceModelError(msg, mend=f"copy {location} again: it is truncated")


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model, wherever it lies: subgraphs, functions, sparse tensors."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for item in [value] if isinstance(value, Message) else value:
            if isinstance(item, onnx.TensorProto):
                yield item
            else:
                yield from _tensors(item)
