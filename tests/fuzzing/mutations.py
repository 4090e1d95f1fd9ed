# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Damage done to ONNX files: to their bytes, and to the messages that they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np


_NUMBERS = (
    *(0, 1, -1, 2, 3, 7, 8, 16, 17, 127, 255, 65535),
    *(1 << 31, (1 << 31) - 1, -(1 << 31), 1 << 32, 1 << 40, 1 << 62, (1 << 63) - 1, -(1 << 63)),
)
_REALS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, float("inf"), float("nan"))
_TEXTS = (
    *(
        "",
        "x",
        "y",
        "a b",
        "\n",
        "../../secret",
        "/etc/passwd",
        "weights.bin",
        "*/_ORT_MEM_ADDR_/*",
    ),
    *("é\u202e", "then_branch", "Relu", "Loop", "If", "Scan", "Identity", "Constant", "ai.onnx"),
    *("1", "-1", "999999999999999999999", "n" * 70_000),
)
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}
_OF_THE_FILE = 0.6  # share of new names that the file knows
_ONCE = 0.75  # share of files with one change: more of them come far
_BLOBS = (b"", b"\0", b"\xff" * 9, b"\0" * 4096)


def of_bytes(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Change some bytes: flipped, cut, repeated, made up or taken from another file."""
    made = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(0, len(made) + 1))
        size = int(rng.integers(1, 1 << int(rng.integers(1, 9))))
        kind = int(rng.integers(0, 6))
        if kind == 0 and made:
            made[place % len(made)] = int(rng.integers(0, 256))
        elif kind == 1:
            del made[place : place + size]
        elif kind == 2:
            made[place:place] = made[place : place + size]
        elif kind == 3:
            made[place:place] = rng.bytes(size)
        elif kind == 4:
            start = int(rng.integers(0, len(other)))
            made[place:place] = other[start : start + size]
        elif kind == 5 and rng.random() < 0.2:
            del made[place:]
    return bytes(made)


def of_structure(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Change some fields of some messages; the file stays readable by protobuf."""
    model = onnx.ModelProto.FromString(data)
    names = sorted(_names(model)) or ["x"]
    spare = list(_messages(onnx.ModelProto.FromString(other)))
    for _ in range(1 if rng.random() < _ONCE else 3):
        found = list(_messages(model))
        kinds = sorted({item.DESCRIPTOR.name for item in found})  # else names are most of it
        kind = kinds[int(rng.integers(0, len(kinds)))]
        found = [item for item in found if item.DESCRIPTOR.name == kind]
        message = found[int(rng.integers(0, len(found)))]
        fields = list(message.DESCRIPTOR.fields)
        used = [field for field, _ in message.ListFields()]
        pool = used if used and rng.random() < 0.8 else fields
        field = pool[int(rng.integers(0, len(pool)))]
        _change(message, field, spare, names, rng)
    return model.SerializeToString()


def _change(
    message: Any, field: Any, spare: list[Message], names: list[str], rng: np.random.Generator
) -> None:
    if field.is_repeated:
        _change_list(message, field, spare, names, rng)
    elif field.message_type is not None:
        if rng.random() < 0.3:
            message.ClearField(field.name)
        else:
            _adopt(getattr(message, field.name).CopyFrom, field, spare, rng)
    else:
        setattr(message, field.name, _scalar(field, names, rng))


def _change_list(
    message: Any, field: Any, spare: list[Message], names: list[str], rng: np.random.Generator
) -> None:
    items = getattr(message, field.name)
    place = int(rng.integers(0, len(items))) if items else 0
    kind = int(rng.integers(0, 5))
    if kind == 0 and items:
        del items[place]
    elif kind == 1 and items:
        other = int(rng.integers(0, len(items)))
        order = list(range(len(items)))
        order[place], order[other] = order[other], order[place]
        copies = [_copied(items[index]) for index in order]
        del items[:]
        items.extend(copies)
    elif kind == 2 and items:
        items.extend([_copied(items[place])])
    elif field.message_type is not None:
        _adopt(items.append, field, spare, rng)
    elif items and kind == 3:
        items[place] = _scalar(field, names, rng)
    else:
        items.append(_scalar(field, names, rng))


def _adopt(
    take: Callable[[Any], Any], field: Any, spare: list[Message], rng: np.random.Generator
) -> None:
    """Give a field a message of its type from another file."""
    fitting = [item for item in spare if item.DESCRIPTOR is field.message_type]
    if fitting:
        take(fitting[int(rng.integers(0, len(fitting)))])


def _copied(item: Any) -> Any:
    if not isinstance(item, Message):
        return item
    made = type(item)()
    made.CopyFrom(item)
    return made


def _scalar(field: Any, names: list[str], rng: np.random.Generator) -> Any:
    pool: Sequence[Any]
    if field.enum_type is not None:
        pool = [value.number for value in field.enum_type.values]
    elif field.type == field.TYPE_BYTES:
        pool = _BLOBS
    elif field.type == field.TYPE_STRING:
        pool = names if rng.random() < _OF_THE_FILE else _TEXTS
    elif field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        pool = _REALS
    else:
        low, high = _RANGES[field.cpp_type]
        pool = [number for number in _NUMBERS if low <= number <= high]
    return pool[int(rng.integers(0, len(pool)))]


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in [value] if isinstance(value, Message) else value:
                yield from _messages(item)


def _names(model: onnx.ModelProto) -> set[str]:
    """Names of values and ops in the file: a wrong one among them is harder to see."""
    found: set[str] = set()
    for item in _messages(model):
        if isinstance(item, onnx.NodeProto):
            found |= {item.op_type, *item.input, *item.output}
    return found
