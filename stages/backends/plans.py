# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Two plans compared, without TensorRT: which sections differ, and whether it is only names.

A TensorRT-RTX plan has a table of sections, found by looking at plans of 1.7.1.116: at byte 64 two
entries of 24 bytes, each a tag and offset and size, 64 bits little-endian: ENGN, the compiled
engine, and WGHT, the weights. A plan without this table is compared as one section. Symbols that
the compiler names itself are `__mye<number>`; the numbers follow memory addresses.
"""

from __future__ import annotations

import mmap
import re
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TABLE = 64
_ENTRY = struct.Struct("<8sQQ")
_ENTRIES = 2
_TAGS = {b"NGNE\0\0\0\0": "ENGN", b"THGW\0\0\0\0": "WGHT"}
_SYMBOL = re.compile(rb"__mye\d+")
_CHUNK = 16 << 20


def difference(one: Path, other: Path) -> dict[str, Any] | None:
    """What differs between two plans; None if nothing does. Memory does not grow with the plans.

    Returns:
        "bytes": sizes of the two; "sections": by section, how many bytes differ, None where the
        two have other sizes; "symbols": how many of the compiler's own names differ, and
        "only_symbols": whether the rest is equal, once these are numbered in order.
    """
    with one.open("rb") as a, other.open("rb") as b:
        sizes = [one.stat().st_size, other.stat().st_size]
        if not all(sizes):  # which cannot be mapped
            empty = {"bytes": sizes, "sections": {}, "symbols": 0, "only_symbols": False}
            return empty if any(sizes) else None
        with (
            mmap.mmap(a.fileno(), 0, access=mmap.ACCESS_READ) as first,
            mmap.mmap(b.fileno(), 0, access=mmap.ACCESS_READ) as second,
        ):
            return _difference(first, second)


def _difference(a: mmap.mmap, b: mmap.mmap) -> dict[str, Any] | None:
    theirs = sections(b)
    found: dict[str, int | None] = {}
    for name, (start, end) in sections(a).items():
        low, high = theirs.get(name, (0, -1))
        same = end - start == high - low
        count = sum(_differing(a, b, start, low, end - start)) if same else None
        if count != 0:
            found[name] = count
    if not found and len(a) == len(b):
        return None
    symbols, renamed = _symbols(a, b)
    return {
        "bytes": [len(a), len(b)],
        "sections": found,
        "symbols": symbols,
        "only_symbols": renamed,
    }


def sections(plan: mmap.mmap | bytes) -> dict[str, tuple[int, int]]:
    """Byte ranges [start, end) by name; what no section holds is `header`."""
    entries = []
    if len(plan) >= _TABLE + _ENTRIES * _ENTRY.size:
        for index in range(_ENTRIES):
            tag, start, size = _ENTRY.unpack_from(plan, _TABLE + index * _ENTRY.size)
            entries.append((_TAGS.get(tag), start, start + size))
    inside = all(name and _TABLE < start <= end <= len(plan) for name, start, end in entries)
    if not entries or not inside or entries[0][2] > entries[1][1]:
        return {"plan": (0, len(plan))}
    return {
        "header": (0, entries[0][1]),
        **{str(name): (start, end) for name, start, end in entries},
    }


def _differing(a: mmap.mmap, b: mmap.mmap, start: int, low: int, size: int) -> Iterator[int]:
    for offset in range(0, size, _CHUNK):
        length = min(_CHUNK, size - offset)
        one = a[start + offset : start + offset + length]
        other = b[low + offset : low + offset + length]
        if one != other:
            import numpy as np  # rarely needed, and a third of the start of `build`

            pair = np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)
            yield int(np.count_nonzero(pair[0] != pair[1]))


def _symbols(a: mmap.mmap, b: mmap.mmap) -> tuple[int, bool]:
    """How many symbols differ; whether numbering them by first occurrence makes the plans equal."""
    if len(a) != len(b):
        return 0, False
    numbers: tuple[dict[bytes, int], dict[bytes, int]] = ({}, {})
    count, last = 0, 0
    for one, other in zip(_SYMBOL.finditer(a), _SYMBOL.finditer(b), strict=False):
        count += one[0] != other[0]
        ours, theirs = (
            known.setdefault(match[0], len(known))
            for known, match in zip(numbers, (one, other), strict=True)
        )
        if one.span() != other.span() or ours != theirs or not _equal(a, b, last, one.start()):
            return count, False
        last = one.end()
    return count, _equal(a, b, last, len(a))


def _equal(a: mmap.mmap, b: mmap.mmap, start: int, end: int) -> bool:
    return all(
        a[begin : min(begin + _CHUNK, end)] == b[begin : min(begin + _CHUNK, end)]
        for begin in range(start, end, _CHUNK)
    )
