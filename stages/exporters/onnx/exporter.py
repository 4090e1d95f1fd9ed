# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX files as they are: copied with all their external data, which must lie beside them.

What the graph itself must be like is `stages/exporters/structure.py`.
"""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import onnx
from google.protobuf.message import DecodeError

from stages.exporters import structure
from stages.lib import errors, layout

if TYPE_CHECKING:
    from stages.exporters.api import Arrays, Order

_MOST_BYTES = (2 << 30) - 1  # protobuf's own limit of a message
_LONGEST_NAME = 255  # NAME_MAX of Linux; a longer path is no name that an exporter gives


def export(order: Order, example: Arrays, folder: Path) -> None:  # noqa: ARG001 (the interface)
    """Copy the file; see `stages/exporters/api.py`."""
    source = order.source / order.entry
    data = sorted(_external_files(_parse(source), source))
    folder.mkdir(parents=True)
    shutil.copyfile(source, folder / layout.GRAPH_FILE)
    for location in data:
        target = folder / location
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.parent / location, target)


def load(order: Order) -> None:
    """None: the source is ONNX itself; see `stages/exporters/api.py`."""


def _parse(source: Path) -> onnx.ModelProto:
    _check_file(source)
    data = source.read_bytes()
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError:
        bytearray(2 * len(data))  # protobuf does not say so when it is memory that lacks
        msg = f"{source} is not an ONNX file, or is truncated ({source.stat().st_size} bytes)"
        raise errors.SourceModelError(msg, mend="copy or export the file again") from None
    if not model.graph.output:
        # Protobuf takes many random bytes, and an empty file, for a message without fields.
        msg = f"{source} holds no graph with outputs: it is not an ONNX model, or is truncated"
        raise errors.SourceModelError(msg, mend="copy or export the file again")
    structure.check_text(model, str(source))
    return model


def _check_file(source: Path) -> None:
    if not source.exists():
        msg = f"{source} is not there"
        raise errors.SourceModelError(msg, mend="set models.<m>.source.entry to the ONNX file")
    if not source.is_file():
        msg = f"{source} is no ordinary file"
        raise errors.SourceModelError(msg, mend="set models.<m>.source.entry to the ONNX file")
    if (size := source.stat().st_size) > _MOST_BYTES:
        msg = f"{source} has {size} bytes: an ONNX file ends at 2 GiB, and cannot be read beyond"
        raise errors.SourceModelError(msg, mend="save the model with external data beside it")


def _external_files(model: onnx.ModelProto, source: Path) -> set[str]:
    """Locations of external data, each inside the folder, present and long enough."""
    found: set[str] = set()
    for tensor in structure.tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if len(entries) < len(tensor.external_data):
            msg = f"{source}: external data of {tensor.name!r} are told twice, differently: refused"
            raise errors.SourceModelError(msg, mend="export the model again")
        location = entries.get("location", "")
        _check_location(location, tensor.name, source)
        _check_length(entries, tensor, source)
        found.add(location)
    return found


def _check_location(location: str, tensor: str, source: Path) -> None:
    path = PurePosixPath(location)
    where = f"{source}: external data of {tensor!r}, {location[:_LONGEST_NAME]!r},"
    outside = path.is_absolute() or ".." in path.parts or "\\" in location
    # ONNX Runtime takes "*/..." for an address in memory.
    if not location or outside or location.startswith("*"):
        msg = f"{where} lies outside the model's folder: refused"
        raise errors.SourceModelError(msg, mend="save the model again with external data beside it")
    file = source.parent / location
    if len(location) > _LONGEST_NAME or not file.is_file():
        msg = f"{where} is missing"
        raise errors.SourceModelError(msg, mend=f"copy {location} into {source.parent}")
    if file.resolve() != source.parent.resolve() / path:
        # It may leave the folder; and onnx.checker takes no link at all.
        msg = f"{where} is a link, or lies behind one: refused"
        raise errors.SourceModelError(
            msg, mend="replace the link by the file itself (`dvc unprotect` if DVC made it)"
        )
    if path.parts[0] == layout.GRAPH_FILE:
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
