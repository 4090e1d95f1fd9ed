# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""observations.npz: what the one data pass leaves for every range method.

Arrays, T tensors sorted by name:
    names            [T] str
    bins             [] int64
    samples          [] int64, samples read
    counts           [T, bins] int64, histogram of |x| over [0, 2^exponent)
    exponents        [T] int64; meaningless where maxima is 0
    maxima           [T] float32, largest |x|; infinity where an activation was infinite
    channel_axes     [T] int64, axis of the channels; -1 for the last
    channel_offsets  [T + 1] int64, where a tensor's channels begin in channel_maxima
    channel_maxima   [sum of channels] float32, largest |x| of each channel
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stages.lib import files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from stages.calibration.histogram import Histogram

Arrays = dict[str, "np.ndarray[Any, Any]"]

_IMAGE_RANK = 4


def channel_axis(rank: int) -> int:
    """Axis of the channels: 1 for feature maps [N, C, ...], the last for anything flatter."""
    return 1 if rank >= _IMAGE_RANK else -1


def channel_maxima(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Largest |x| of each channel, float32 of shape [channels]."""
    axis = channel_axis(values.ndim) % max(values.ndim, 1)
    others = tuple(a for a in range(values.ndim) if a != axis)
    reduced: np.ndarray[Any, Any] = np.abs(values).max(axis=others, initial=0.0)
    return np.atleast_1d(reduced).astype(np.float32)


def pack(
    histograms: Mapping[str, Histogram],
    channels: Mapping[str, np.ndarray[Any, Any]],
    ranks: Mapping[str, int],
    *,
    bins: int,
    samples: int,
) -> Arrays:
    """The arrays of the file, tensors sorted by name."""
    names = sorted(histograms)
    widths = [len(channels[name]) for name in names]
    return {
        "names": np.array(names, dtype=np.str_),
        "bins": np.array(bins, np.int64),
        "samples": np.array(samples, np.int64),
        "counts": np.stack([histograms[name].counts for name in names]),
        "exponents": np.array([histograms[name].exponent or 0 for name in names], np.int64),
        "maxima": np.array([histograms[name].maximum for name in names], np.float32),
        "channel_axes": np.array([channel_axis(ranks[name]) for name in names], np.int64),
        "channel_offsets": np.concatenate([[0], np.cumsum(widths)]).astype(np.int64),
        "channel_maxima": np.concatenate([channels[name] for name in names]),
    }


def write(path: Path, arrays: Arrays) -> None:
    """Write the file; equal arrays give equal bytes, as numpy fixes the members' times."""
    with files.writing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def read(path: Path) -> Arrays:
    """Read the whole file."""
    with np.load(files.need(path), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
