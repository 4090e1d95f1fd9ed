# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""observations.npz: what the one data pass leaves for every range method.

Arrays, T float32 activations sorted by name, H of them with a histogram:
    graph            [] str, digest of the graph, of `stages/lib/observed.py`
    data             [] str, digest of the samples, whatever their order and files
    samples          [] int64, samples read
    bins             [] int64
    names            [T] str
    maxima           [T] float32, largest |x|; infinity where an activation was infinite
    lowest, highest  [T] float32, smallest and largest x
    channel_axes     [T] int64, axis of the channels; 0 where the whole tensor counts as one
    channel_offsets  [T + 1] int64, where a tensor's channels begin in channel_maxima
    channel_maxima   [sum of channels] float32, largest |x| of each channel
    ranged           [H] int64, place in `names` of each tensor with a histogram, increasing
    needed           [H] bool, whether a quantized operator reads it
    counts           [H, bins] int64, histogram of |x| over [0, 2^exponent)
    negative         [H, bins] int64, the part of it with x < 0
    zeros            [H] int64, values that are exactly zero
    exponents        [H] int64; meaningless where maxima is 0
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.lib import files

if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from pathlib import Path

    from stages.calibration.extremes import Extremes
    from stages.calibration.histogram import Histogram

# The first that the format can express.
_NO_TIME = (1980, 1, 1, 0, 0, 0)

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]


def pack(
    histograms: Mapping[str, Histogram],
    channels: Mapping[str, Extremes],
    axes: Mapping[str, int],
    *,
    needed: Container[str],
    bins: int,
    samples: int,
    graph: str,
    data: str,
) -> Arrays:
    """The arrays of the file, tensors sorted by name."""
    names = sorted(channels)
    ranged = [name for name in names if name in histograms]
    tops = [channels[name].maxima for name in names]
    float32, made = np.float32, [histograms[name] for name in ranged]
    return {
        "graph": np.array(graph, dtype=np.str_),
        "data": np.array(data, dtype=np.str_),
        "samples": np.array(samples, np.int64),
        "bins": np.array(bins, np.int64),
        "names": np.array(names, dtype=np.str_),
        "maxima": np.array([top.max(initial=0.0) for top in tops], float32),
        "lowest": np.array([channels[name].span[0] for name in names], float32),
        "highest": np.array([channels[name].span[1] for name in names], float32),
        "channel_axes": np.array([axes[name] for name in names], np.int64),
        "channel_offsets": np.cumsum([0, *(len(top) for top in tops)], dtype=np.int64),
        "channel_maxima": np.concatenate([np.zeros(0, float32), *tops]),
        "ranged": np.array([names.index(name) for name in ranged], np.int64),
        "needed": np.array([name in needed for name in ranged], np.bool_),
        # Reshaped, because a graph may have no such activation at all.
        "counts": np.array([one.counts for one in made], np.int64).reshape(-1, bins),
        "negative": np.array([one.negative for one in made], np.int64).reshape(-1, bins),
        "zeros": np.array([one.zeros for one in made], np.int64),
        "exponents": np.array([one.exponent or 0 for one in made], np.int64),
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
