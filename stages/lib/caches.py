# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration caches in TensorRT's own text format.

First line `TRT-<version>-<algorithm>`; every other line `<tensor>: <8 hex digits>`, a big-endian
IEEE-754 float32 holding the scale, range / 127. A name may hold spaces, colons and parentheses, so
a line is split at its last `": "`. Seen in NVIDIA's MLPerf submissions and in TensorRT's samples.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADER = re.compile(r"TRT-(\d+)-(\w+)")
REWRITE = "`dvc repro calibrate` writes it again"
_VALUE = re.compile(r"[0-9a-fA-F]{1,8}")


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A parsed cache.

    Attributes:
        version: number of the TensorRT version, as the header has it.
        algorithm: such as `EntropyCalibration2`.
        scales: scale by tensor name.
    """

    version: int
    algorithm: str
    scales: Mapping[str, float]


def render(cache: Cache) -> bytes:
    """Write a cache, tensors in the order given.

    Raises:
        CalibrationError: a tensor's name holds a line break, which the format cannot express.
    """
    lines = [f"TRT-{cache.version}-{cache.algorithm}"]
    for name, scale in cache.scales.items():
        if "\n" in name or "\r" in name:
            msg = f"tensor name {name!r} holds a line break: a calibration cache cannot hold it"
            raise errors.CalibrationError(msg, mend="rename the tensor in the source model")
        lines.append(f"{name}: {struct.pack('>f', scale).hex()}")
    return ("\n".join(lines) + "\n").encode()


def parse(data: bytes, where: str, *, mend: str = REWRITE) -> Cache:
    """Read a cache.

    Args:
        data: the file.
        where: what to call it in messages.
        mend: what mends it, where no stage writes it.

    Raises:
        CalibrationError: `data` is not a cache, names a tensor twice, or holds a scale that is
            negative or not finite.
    """
    # Not splitlines(): a name may hold a form feed, or a line separator of Unicode's.
    lines = data.decode(errors="replace").removesuffix("\n").split("\n")
    header = _HEADER.fullmatch(lines[0])
    if header is None:
        msg = f"{where} does not begin with TRT-<version>-<algorithm>: not a calibration cache"
        raise errors.CalibrationError(msg, mend=mend)
    scales: dict[str, float] = {}
    for number, line in enumerate(lines[1:], start=2):
        name, separator, value = line.rpartition(": ")
        if not separator or not _VALUE.fullmatch(value) or name in scales:
            msg = f"{where}:{number}: {line!r} is not '<tensor>: <8 hex digits>', or names it again"
            raise errors.CalibrationError(msg, mend=mend)
        scale = struct.unpack(">f", bytes.fromhex(value.zfill(8)))[0]
        if not (math.isfinite(scale) and math.copysign(1.0, scale) > 0):
            msg = f"{where}:{number}: the scale of {name!r} is {scale}: no range gives that"
            raise errors.CalibrationError(msg, mend=mend)
        scales[name] = scale
    return Cache(version=int(header[1]), algorithm=header[2], scales=scales)
