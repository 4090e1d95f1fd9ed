# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Decides where the kernel puts what this process maps from now on.

TensorRT-RTX numbers internal symbols by the order of memory addresses, so the bytes of a plan
follow the layout of the process that built it. The kernel gives out addresses from the top of the
address space downwards; once all that is free above a fixed address is reserved, libraries and
memory land right below it, whatever was there before and however the kernel randomizes. Reserving
takes no memory and no privilege, unlike `personality(2)`, which containers forbid by default.
"""

from __future__ import annotations

import ctypes
import mmap

# The user's half of a 47-bit address space, less the guard page (x86-64).
_TOP = 0x7FFF_FFFF_F000
_MAP_NORESERVE = 0x4000
_MAP_FIXED_NOREPLACE = 0x10_0000
_FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE | _MAP_FIXED_NOREPLACE
_PROT_NONE = 0


# pymalloc serves up to 512 bytes from arenas of 1 MiB, malloc up to 128 KiB from its heap.
_SMALL = 512
_LARGE = 100 << 10
_ROOM = 32 << 20
_M_TRIM_THRESHOLD = -1


def make_room() -> list[bytes]:
    """Make both allocators hold free memory, so that they map none at a moment that chance chooses.

    How much of an arena of pymalloc's can be used depends on where it lies, and so does the moment
    at which the next one is mapped, in the midst of what the builder maps.

    Returns:
        What must be kept: an arena whose last object dies is unmapped.
    """
    kept = [bytes(_SMALL - 64) for _ in range(_ROOM // _SMALL)][:: (1 << 20) // _SMALL // 2]
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    for pointer in [libc.malloc(_LARGE) for _ in range(_ROOM // _LARGE)]:
        libc.free(pointer)
    return kept


def reserve_above(floor: int) -> None:
    """Reserve every free page from `floor` to the top.

    Raises:
        OSError: the kernel refuses, as under a limit of the address space (`ulimit -v`).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    ]
    for start, end in _gaps(floor):
        got = libc.mmap(start, end - start, _PROT_NONE, _FLAGS, -1, 0)
        if got != start:
            raise OSError(ctypes.get_errno(), f"cannot reserve {start:x}-{end:x}")


def _gaps(floor: int) -> list[tuple[int, int]]:
    """What is free between `floor` and the top, as [start, end)."""
    with open("/proc/self/maps", encoding="ascii") as stream:  # noqa: PTH123 (pathlib maps more)
        lines = stream.readlines()
    gaps, start = [], floor
    for line in lines:
        low, high = (int(part, 16) for part in line.split(" ", 1)[0].split("-"))
        if low >= _TOP:
            break
        if low > start:
            gaps.append((start, low))
        start = max(start, high)
    if start < _TOP:
        gaps.append((start, _TOP))
    return gaps
