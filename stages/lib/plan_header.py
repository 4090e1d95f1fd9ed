# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The TensorRT version in a plan's header: readable without TensorRT and without a GPU.

Bytes 0-3 are `ftrt` (TensorRT) or `vtrt` (TensorRT-RTX), bytes 24-27 major, minor, patch and
build (NVIDIA/TensorRT, samples/common/sampleEngines.cpp; TensorRT >= 8.6).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Mapping
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


def library(packages: Mapping[str, str], backend: str) -> tuple[str, str]:
    """Name and version of the package, among those of a backend, that makes and runs its plans.

    Args:
        packages: version by package, as in `toolchain.<backend>.packages`.
        backend: such as `tensorrt_rtx`; its package is `tensorrt-rtx`, or `tensorrt-rtx-cu12`.

    Raises:
        ParamsError: there is none.
    """
    name = re.compile(backend.replace("_", "-") + r"(-cu\d+)?")
    for package, version in packages.items():
        if name.fullmatch(package):
            return package, version
    msg = f"toolchain.{backend}.packages in params.yaml pins no package {name.pattern}"
    raise errors.ParamsError(msg, mend=f"pin the package of {backend} there")
