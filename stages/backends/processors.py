# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A shared library that tells a process how many processors there are, whatever machine it is on.

TensorRT-RTX asks `std::thread::hardware_concurrency` while it is loaded, and makes tables of that
size; on a machine with eight processors other memory is taken, and the plan gets other bytes, than
on one with two. Neither affinity nor an environment variable changes the answer, so the function
itself is replaced: by one of six bytes, in an ELF file (System V ABI, "gABI 4.2"; x86-64 psABI) of
less than a kilobyte, which the loader puts first (`LD_PRELOAD`).
"""

from __future__ import annotations

import struct

SYMBOLS = ("_ZNSt6thread20hardware_concurrencyEv", "get_nprocs", "get_nprocs_conf")

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_IDENT = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")  # 64 bits, little-endian
_SHARED, _X86_64 = 3, 62
_LOAD, _DYNAMIC, _STACK = 1, 2, 0x6474E551
_READ, _WRITE, _EXECUTE = 4, 2, 1
_NULL, _HASH, _STRTAB, _SYMTAB, _STRSZ, _SYMENT = 0, 4, 5, 6, 10, 11
_GLOBAL_FUNCTION = 1 << 4 | 2
_SEGMENTS = 4
_PAGE = 0x1000


def library(count: int) -> bytes:
    """The library, to be written to a file; each of `SYMBOLS` returns `count`."""
    code = b"\xb8" + struct.pack("<I", count) + b"\xc3"  # mov eax, count; ret
    names = b"\0" + b"".join(name.encode() + b"\0" for name in SYMBOLS)
    total = len(SYMBOLS) + 1
    # One bucket: the chain goes through all symbols.
    table = struct.pack(f"<{3 + total}I", 1, total, 1, 0, *range(2, total), 0)

    start = _HEADER.size + _SEGMENTS * _SEGMENT.size
    offsets, place = [], start
    for size in (len(code), len(names), len(table), total * _SYMBOL.size):
        offsets.append(place)
        place += -(-size // 8) * 8
    at_code, at_names, at_table, at_symbols = offsets

    symbols = bytes(_SYMBOL.size)
    for name in SYMBOLS:
        where = names.index(b"\0" + name.encode() + b"\0") + 1
        symbols += _SYMBOL.pack(where, _GLOBAL_FUNCTION, 0, 1, at_code, len(code))
    entries = (
        (_HASH, at_table),
        (_STRTAB, at_names),
        (_SYMTAB, at_symbols),
        (_STRSZ, len(names)),
        (_SYMENT, _SYMBOL.size),
        (_NULL, 0),
    )
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    # The loader writes into the dynamic section: it gets a page of its own.
    moved = _PAGE + place
    segments = (
        (_LOAD, _READ | _EXECUTE, 0, 0, 0, place, place, _PAGE),
        (_LOAD, _READ | _WRITE, place, moved, moved, len(dynamic), len(dynamic), _PAGE),
        (_DYNAMIC, _READ | _WRITE, place, moved, moved, len(dynamic), len(dynamic), 8),
        (_STACK, _READ | _WRITE, 0, 0, 0, 0, 0, 16),  # else the loader makes the stack executable
    )
    header = _HEADER.pack(
        _IDENT, _SHARED, _X86_64, 1, 0, 64, 0, 0, 64, _SEGMENT.size, _SEGMENTS, 64, 0, 0
    )
    parts = b"".join(part.ljust(-(-len(part) // 8) * 8, b"\0") for part in (code, names, table))
    return header + b"".join(_SEGMENT.pack(*s) for s in segments) + parts + symbols + dynamic
