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
    channel_axes     [T] int64, axis of the channels; 0 where the whole tensor counts as one
    channel_offsets  [T + 1] int64, where a tensor's channels begin in channel_maxima
    channel_maxima   [sum of channels] float32, largest |x| of each channel
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.lib import files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from stages.calibration.histogram import Histogram

# The first that the format can express.
_NO_TIME = (1980, 1, 1, 0, 0, 0)

Arrays = dict[str, "np.ndarray[Any, Any]"]


def channel_maxima(values: np.ndarray[Any, Any], axis: int) -> np.ndarray[Any, Any]:
    """Largest |x| of each channel, float32 of shape [channels]; of all, [1], if `axis` is 0."""
    others = tuple(a for a in range(values.ndim) if a != axis or not axis)
    reduced: np.ndarray[Any, Any] = np.abs(values).max(axis=others, initial=0.0)
    return np.atleast_1d(reduced).astype(np.float32)


def pack(
    histograms: Mapping[str, Histogram],
    channels: Mapping[str, np.ndarray[Any, Any]],
    axes: Mapping[str, int],
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
        # Reshaped, because a graph may have no float32 activation at all.
        "counts": np.array([histograms[name].counts for name in names], np.int64).reshape(-1, bins),
        "exponents": np.array([histograms[name].exponent or 0 for name in names], np.int64),
        "maxima": np.array([histograms[name].maximum for name in names], np.float32),
        "channel_axes": np.array([axes[name] for name in names], np.int64),
        "channel_offsets": np.cumsum([0, *widths], dtype=np.int64),
        "channel_maxima": np.concatenate([np.zeros(0, np.float32), *(channels[n] for n in names)]),
    }


def write(path: Path, arrays: Arrays) -> None:
    """Write the file; equal arrays give equal bytes everywhere.

    Members are stored as they are: what deflate makes of them depends on the zlib that Python was
    built with. `numpy.savez` would reserve room for large sizes, which CPython fills in otherwise
    since 3.11.4; a member whose size is known beforehand has none.
    """
    with files.writing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _NO_TIME), member.getvalue())


def read(path: Path) -> Arrays:
    """Read the whole file."""
    with np.load(files.need(path), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
