# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What later stages read of observations.npz, and to which graph and samples it belongs.

The file itself is described in stages/calibration/observations.py.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.lib import errors, files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Array = np.ndarray[Any, Any]

_MODULUS = 1 << 256


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What was seen of each float32 activation.

    Attributes:
        graph_digest: of the graph that was observed, as `graph_digest` makes it.
        data_digest: of the samples, as `DataDigest` makes it.
        samples: how many there were.
        maxima: largest |x| by tensor; infinity where one was infinite.
        extremes: smallest and largest x by tensor.
        channels: largest |x| of each channel, float32 [channels], by tensor; [1] without channels.
        channel_axes: axis of the channels by tensor; 0 where the whole tensor counts as one.
    """

    graph_digest: str
    data_digest: str
    samples: int
    maxima: Mapping[str, float]
    extremes: Mapping[str, tuple[float, float]]
    channels: Mapping[str, Array]
    channel_axes: Mapping[str, int]


def read(path: Path) -> Observed:
    """Read observations.npz.

    Raises:
        ArtifactError: the file is not there.
    """
    with np.load(files.need(path), allow_pickle=False) as archive:
        found = {
            name: archive[name] for name in archive.files if name not in ("counts", "negative")
        }
    names = [str(name) for name in found["names"]]
    ends = found["channel_offsets"]
    channels = [found["channel_maxima"][a:b] for a, b in itertools.pairwise(ends)]
    spans = zip(found["lowest"].tolist(), found["highest"].tolist(), strict=True)
    return Observed(
        graph_digest=str(found["graph"]),
        data_digest=str(found["data"]),
        samples=int(found["samples"]),
        maxima=dict(zip(names, found["maxima"].tolist(), strict=True)),
        extremes=dict(zip(names, spans, strict=True)),
        channels=dict(zip(names, channels, strict=True)),
        channel_axes=dict(zip(names, found["channel_axes"].tolist(), strict=True)),
    )


def graph_digest(folder: Path, digests: Mapping[str, str] | None = None) -> str:
    """SHA-256 over the names and contents of a graph folder's files.

    Args:
        folder: the graph.
        digests: what `files.digests` says of it, where that is known already.
    """
    whole = hashlib.sha256()
    for file, digest in (digests or files.digests(folder)).items():
        whole.update(f"{digest}  {file.removeprefix(folder.as_posix() + '/')}\n".encode())
    return whole.hexdigest()


def require_graph(folder: Path, digest: str, where: str) -> None:
    """Refuse ranges that were made for another graph: tensors may share a name and no more.

    Args:
        folder: the graph that shall take the ranges.
        digest: of the graph that they were made for.
        where: what holds them, for the message.

    Raises:
        CalibrationError: the two differ.
    """
    found = graph_digest(folder)
    if found != digest:
        msg = f"{where} was made for the graph {digest[:12]}, and {folder} is {found[:12]}"
        mend = "`make repro` (or `dvc repro`) observes this graph and makes its ranges"
        raise errors.CalibrationError(msg, mend=mend)


class DataDigest:
    """A digest of samples that neither their order nor their files nor their batches change.

    The sum modulo 2^256 of the SHA-256 of each sample. It tells data apart; it is no protection
    against somebody who wants two sets of samples to have the same.
    """

    def __init__(self) -> None:
        self._sum = 0

    def add(self, batch: Mapping[str, Array]) -> None:
        """Take a batch: arrays of the same length, by name."""
        count = len(next(iter(batch.values())))
        for index in range(count):
            one = hashlib.sha256()
            for name in sorted(batch):
                row = np.asarray(batch[name][index])
                one.update(f"{name}\0{row.dtype.str}\0{row.shape}\0".encode())
                one.update(row.tobytes())
            self._sum = (self._sum + int.from_bytes(one.digest(), "big")) % _MODULUS

    def hexdigest(self) -> str:
        """64 hex digits; of no samples, all zero."""
        return f"{self._sum:064x}"
