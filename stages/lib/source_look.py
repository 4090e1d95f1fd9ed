# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""In which form a model file or folder is, by its first bytes.

Nothing is loaded: magic numbers, the names of a zip's members, and the first fields of a protobuf
message (protobuf.dev, "Encoding") tell the forms apart. Extensions decide only what bytes cannot.
"""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING

from stages.lib import plan_header, plugins
from stages.lib.source_forms import FORMS, Form

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HEAD = 1 << 16
_MOST_FIELDS = 6
_MOST_NAMES = 4
_VARINT, _BYTES = 0, 2
# ModelProto of onnx/onnx.proto: numbers and wire types of its fields.
_ONNX_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
_MOST_IR_VERSION = 100
_IMPORT = re.compile(
    rb"^\s*(?:import|from(?=\s+[\w.]+\s+import\b))\s+(%s)\b"
    % "|".join(plugins.FRAMEWORKS).encode(),
    re.MULTILINE,
)
_TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # its magic number, pickled


def look(path: Path) -> Form | None:
    """The form of a file or folder; None if it is none of those known here.

    Raises:
        OSError: it cannot be read.
    """
    if path.is_dir():
        return FORMS["saved_model"] if (path / "saved_model.pb").is_file() else None
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    if path.suffix == ".py":
        found = {plugins.FRAMEWORKS[name.decode()] for name in _IMPORT.findall(head)}
        return Form("python", "Python code", found.pop() if len(found) == 1 else None)
    if head.startswith(b"PK\x03\x04"):
        return _zip(path)
    kind = next((kind for kind, holds in _signs(head, path.name) if holds), None)
    return FORMS[kind] if kind else None


def _signs(head: bytes, name: str) -> Iterator[tuple[str, bool]]:
    """Kinds, and whether the first bytes of the file are those of the kind; certain ones first."""
    start = head[:512].lstrip()
    yield "empty", not head
    yield "pointer", head.startswith(b"version https://git-lfs.github.com/spec/")
    yield "html", start[:15].lower().startswith((b"<!doctype html", b"<html"))
    yield (
        "packed",
        head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"\x28\xb5\x2f")),
    )
    yield "plan", head[:4].decode("latin-1") in (*plan_header.MAGIC.values(), "ptrt")
    yield "hdf5", head.startswith(b"\x89HDF\r\n\x1a\n")
    yield "tflite", head[4:8] == b"TFL3"
    yield "torch", head.startswith(_TORCH_LEGACY)
    yield "pdiparams", name.endswith((".pdiparams", ".pdparams"))
    yield "pickle", len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5  # noqa: PLR2004 (protocols)
    yield "safetensors", head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") < 1 << 32
    yield "pir", start.startswith(b"{") and bool(re.search(rb'"magic"\s*:\s*"pir"', head))
    fields = list(_fields(head))
    yield "saved_model.pb", name == "saved_model.pb" or _is_saved_model(fields)
    yield "onnx", _is_onnx(fields)
    if not fields or fields[0][:2] != (1, _BYTES):
        return
    first = fields[0][2]
    yield "mindir", b"MindSpore" in head[:64]
    yield "pdmodel", first.startswith(b"\x08\x00\x10")  # BlockDesc: its own index and its parent's
    inner = list(_fields(first))
    if [(number, wire) for number, wire, _ in inner[:2]] == [(1, _BYTES), (2, _BYTES)]:
        # In GraphDef an op's name, in a checkpoint a tensor, which begins with its dimensions.
        letter = inner[1][2][:1].isalpha() or inner[1][2][:1] == b"_"
        yield "graph_def", letter
        yield "ckpt", not letter


def _is_saved_model(fields: list[tuple[int, int, bytes]]) -> bool:
    """Version 1, and graphs that begin with what they are; ONNX has its producer's name there."""
    kinds = [(number, wire) for number, wire, _ in fields[:2]]
    if kinds != [(1, _VARINT), (2, _BYTES)]:
        return False
    return fields[0][2] == b"\x01" and fields[1][2].startswith(b"\n")


def _is_onnx(fields: list[tuple[int, int, bytes]]) -> bool:
    known = all(_ONNX_FIELDS.get(number) == wire for number, wire, _ in fields)
    if len(fields) < 2 or not known or fields[0][0] != 1:  # noqa: PLR2004 (its version and more)
        return False
    return 0 < fields[0][2][0] < _MOST_IR_VERSION


def _zip(path: Path) -> Form | None:
    try:
        with zipfile.ZipFile(path) as members:
            names = members.namelist()
    except (zipfile.BadZipFile, OSError):
        return Form("zip", "a damaged or truncated zip archive", None, "copy or export it again")
    inner = {name.partition("/")[2] for name in names}  # torch puts all of it into one folder
    if {"config.json", "metadata.json"} <= set(names):
        return FORMS["keras"]
    if "archive_format" in inner or "serialized_exported_program.json" in names:
        return FORMS["pt2"]
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return FORMS["torchscript"]
    if "data.pkl" in inner:
        return FORMS["torch"]
    listed = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
    return Form("zip", f"a zip archive of {listed or 'nothing'}", None, "unpack it")


def _fields(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Number, wire type and value of the first fields of a protobuf message; cut at the end.

    A number is given as one byte, which is enough to know that it is small. Ends where the bytes
    are no such message.
    """
    at = 0
    for _ in range(_MOST_FIELDS):
        tag, at = _varint(data, at)
        if tag is None or tag >> 3 == 0 or tag & 7 not in (_VARINT, _BYTES):
            return
        value, at = _varint(data, at)
        if value is None:
            return
        if tag & 7 == _VARINT:
            yield tag >> 3, _VARINT, bytes([min(value, 255)])
        else:
            yield tag >> 3, _BYTES, data[at : at + value]
            at += value


def _varint(data: bytes, at: int) -> tuple[int | None, int]:
    value = 0
    for index, byte in enumerate(data[at : at + 10]):
        value |= (byte & 127) << 7 * index
        if byte < 128:  # noqa: PLR2004 (the last byte has no high bit)
            return value, at + index + 1
    return None, at
