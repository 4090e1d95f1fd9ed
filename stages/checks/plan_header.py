# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The TensorRT version in a plan's header: readable without TensorRT and without a GPU.

Bytes 0-3 are `ftrt` (TensorRT) or `vtrt` (TensorRT-RTX), bytes 24-27 major, minor, patch and
build (NVIDIA/TensorRT, samples/common/sampleEngines.cpp; TensorRT >= 8.6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = {"tensorrt": "ftrt", "tensorrt_rtx": "vtrt"}
_VERSION = slice(24, 28)


def read(plan: Path) -> tuple[str, str]:
    """Magic and version (`1.7.1.116`) of a plan; both empty if the file is too short."""
    with plan.open("rb") as stream:
        head = stream.read(_VERSION.stop)
    if len(head) < _VERSION.stop:
        return "", ""
    return head[:4].decode("ascii", "replace"), ".".join(str(byte) for byte in head[_VERSION])


def measure(plan: Path, backend: str, pinned: str) -> dict[str, Any]:
    """{"magic", "version", "pinned", "equal"}: the header against the backend and its pin."""
    magic, version = read(plan)
    equal = magic == MAGIC[backend] and version == pinned
    return {"magic": magic, "version": version, "pinned": pinned, "equal": equal}
