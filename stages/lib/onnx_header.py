# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What an ONNX file says beside its weights, read without these and without the onnx package.

The file is a protobuf message; field 8 of ModelProto holds pairs of domain (field 1 of
OperatorSetIdProto) and version (field 2) (onnx/onnx.proto; protobuf.dev, "Encoding").
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_OPSET_IMPORT, _DOMAIN, _VERSION = 8, 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_OWN_DOMAIN = ("", "ai.onnx")
# Of ModelProto the graph, of that the initializers, of these the raw data.
_RAW_DATA = (7, 5, 9)


def opset(path: Path) -> int:
    """Version of ONNX's own operator set in a model.onnx; weights are skipped, not read.

    Raises:
        GraphError: the file is not ONNX, or names no such version.
    """
    found = 0
    try:
        with path.open("rb") as stream:
            for field, value in _fields(stream, path.stat().st_size):
                if field == _OPSET_IMPORT and isinstance(value, bytes):
                    pairs = dict(_fields(io.BytesIO(value), len(value)))
                    if pairs.get(_DOMAIN, b"") in [name.encode() for name in _OWN_DOMAIN]:
                        found = int(pairs.get(_VERSION, 0))
    except (EOFError, ValueError):
        found = 0
    if not found:
        msg = f"{path} is no ONNX graph: it names no operator set"
        raise errors.GraphError(msg, mend="`make repro` makes the graph again")
    return found


def skeleton(path: Path) -> bytes:
    """The file without the raw data of the main graph's initializers.

    Raises:
        EOFError, ValueError: it is no protobuf message, or is truncated.
    """
    with path.open("rb") as stream:
        return _without(stream, path.stat().st_size, _RAW_DATA)


def _without(stream: BinaryIO, end: int, place: tuple[int, ...]) -> bytes:
    """The rest of a message, up to `end`, without the field to which numbers of fields lead."""
    kept = []
    while (start := stream.tell()) < end:
        key = _varint(stream)
        stop = _stop(stream, key & 7)
        if stop > end:
            raise EOFError
        if key >> 3 != place[0]:
            stream.seek(start)
            kept.append(stream.read(stop - start))
        elif len(place) > 1:
            inner = _without(stream, stop, place[1:])
            kept += [_as_varint(key), _as_varint(len(inner)), inner]
        stream.seek(stop)
    return b"".join(kept)


def _stop(stream: BinaryIO, kind: int) -> int:
    """Where a value ends; the stream is left where one of many bytes begins."""
    if kind == _VARINT:
        _varint(stream)
        return stream.tell()
    if kind == _BYTES:
        size = _varint(stream)
        return stream.tell() + size
    if kind in (_FIXED32, _FIXED64):
        return stream.tell() + (4 if kind == _FIXED32 else 8)
    raise ValueError


def _as_varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:  # noqa: PLR2004 (what seven bits hold)
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _fields(stream: BinaryIO, end: int) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field; of long ones, which are graphs and weights, no value."""
    while stream.tell() < end:
        key = _varint(stream)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            yield field, _varint(stream)
        elif kind == _BYTES:
            size = _varint(stream)
            if stream.tell() + size > end:
                raise EOFError
            if field in (_OPSET_IMPORT, _DOMAIN):
                yield field, stream.read(size)
            else:
                stream.seek(size, io.SEEK_CUR)
        elif kind in (_FIXED32, _FIXED64):
            stream.seek(4 if kind == _FIXED32 else 8, io.SEEK_CUR)
        else:
            raise ValueError


def _varint(stream: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            raise EOFError
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:  # noqa: PLR2004 (the bit that says: more follow)
            return value
    raise ValueError
