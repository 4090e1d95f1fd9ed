# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A streaming histogram of x and of |x| whose bin width is a power of two.

The range is always [0, 2^e) with the smallest e that holds all |x| seen, so the largest lies in its
upper half. When a larger value arrives, neighbouring bins are merged until it fits. As bins of
width 2^k nest in bins of width 2^(k+1), and scaling a float by a power of two is exact, the counts
depend on the values alone, never on how they were batched or merged.

Values below zero are counted a second time for themselves: with them the histogram of |x| is one of
x too, over (-2^e, 2^e).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# Values for which the buffers below stay in a processor's cache.
_CHUNK = 1 << 15
_LANES = 2
# Powers of two that float32 holds as normal numbers.
_LOWEST, _HIGHEST = -126, 127


class Histogram:
    """Counts of |x| in `bins` bins over [0, 2^exponent).

    Attributes:
        bins: number of bins, a power of two.
        counts: int64 of shape [bins], of all values.
        negative: int64 of shape [bins], of those below zero.
        zeros: values that are exactly zero; `counts[0]` holds them too.
        exponent: the range's exponent; None while all values were zero.
        maximum: largest |x|, exact; infinity if one was, which no bin counts.
    """

    def __init__(self, bins: int) -> None:
        self.bins = bins
        self.counts: np.ndarray[Any, np.dtype[np.int64]] = np.zeros(bins, np.int64)
        self.negative: np.ndarray[Any, np.dtype[np.int64]] = np.zeros(bins, np.int64)
        self.zeros = 0
        self.exponent: int | None = None
        self.maximum = 0.0

    def add(self, values: np.ndarray[Any, Any], span: tuple[float, float] | None = None) -> None:
        """Count float32 values of any shape; none may be NaN.

        Args:
            values: of any shape.
            span: the smallest and the largest of them, where that is known already.
        """
        flat = np.ascontiguousarray(values, np.float32).ravel()
        lowest, highest = _extremes(flat) if span is None else (min(span[0], 0), max(span[1], 0))
        self.maximum = max(self.maximum, -lowest, highest)
        if math.isinf(lowest) or math.isinf(highest):
            flat = flat[np.isfinite(flat)]
            lowest, highest = _extremes(flat)
        largest = max(-lowest, highest)
        if largest > 0.0:
            self._widen(math.frexp(largest)[1])
        self.zeros += flat.size - int(np.count_nonzero(flat != 0))
        if self.exponent is None:
            self.counts[0] += flat.size
            return
        signed = self._signed(flat)
        self.counts += signed[self.bins :]
        if lowest < 0.0:
            below = np.zeros(self.bins, np.int64)
            below[1:] = signed[self.bins - 1 : 0 : -1]
            self.counts += below
            # Truncation takes values just below zero and just above it to the same bin.
            below[0] = int(np.count_nonzero(flat < 0)) - int(below.sum())
            self.negative += below

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram with the same number of bins."""
        self.maximum = max(self.maximum, other.maximum)
        self.zeros += other.zeros
        if other.exponent is None:
            self.counts[0] += other.counts[0]
            return
        self._widen(other.exponent)
        if self.exponent is None:  # _widen has set it; for the type checker
            raise AssertionError
        self.counts += _coarser(other.counts, self.exponent - other.exponent)
        self.negative += _coarser(other.negative, self.exponent - other.exponent)

    def _signed(self, flat: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Counts of bins + trunc(x / width), int64 [2 * bins]."""
        shift = self.bins.bit_length() - 1 - (self.exponent or 0)
        if not _LOWEST <= shift <= _HIGHEST:
            # float64 holds every float32 scaled by any of these powers of two.
            index = np.ldexp(flat.astype(np.float64), shift).astype(np.int64) + self.bins
            return np.bincount(index, minlength=2 * self.bins)
        # Exact in float32 too: what it cannot hold is subnormal, and belongs to bin 0.
        factor, width = np.float32(math.ldexp(1.0, shift)), 2 * self.bins
        # Every second value has counters of its own: a processor waits for a counter that it has
        # just written, and after a ReLU half of all values meet in one.
        place = (self.bins + width * (np.arange(_CHUNK) % _LANES)).astype(np.int32)
        scaled, whole = np.empty(_CHUNK, np.float32), np.empty(_CHUNK, np.int32)
        index = np.empty(_CHUNK, np.int64)
        counts = np.zeros(_LANES * width, np.int64)
        for start in range(0, flat.size, _CHUNK):
            part = flat[start : start + _CHUNK]
            size = part.size
            np.multiply(part, factor, out=scaled[:size])
            # By way of int32: processors have an instruction for that, not all for int64.
            np.copyto(whole[:size], scaled[:size], casting="unsafe")
            np.add(whole[:size], place[:size], out=whole[:size])
            np.copyto(index[:size], whole[:size])
            counts += np.bincount(index[:size], minlength=_LANES * width)
        summed: np.ndarray[Any, Any] = counts.reshape(_LANES, width).sum(axis=0)
        return summed

    def _widen(self, exponent: int) -> None:
        if self.exponent is None:
            self.exponent = exponent  # zeros counted so far stay in bin 0
        elif exponent > self.exponent:
            self.counts = _coarser(self.counts, exponent - self.exponent)
            self.negative = _coarser(self.negative, exponent - self.exponent)
            self.exponent = exponent


def _extremes(flat: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Lowest value, at most 0, and highest, at least 0."""
    return float(flat.min(initial=0.0)), float(flat.max(initial=0.0))


def _coarser(counts: np.ndarray[Any, Any], doublings: int) -> np.ndarray[Any, Any]:
    """The same counts over a range 2^doublings times as wide."""
    bins = len(counts)
    group = min(1 << min(doublings, 62), bins)
    wide = np.zeros(bins, np.int64)
    wide[: bins // group] = counts.reshape(-1, group).sum(axis=1)
    return wide
