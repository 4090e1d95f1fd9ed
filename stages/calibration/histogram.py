# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A streaming histogram of x and of |x| whose bin width is a power of two.

The range is always [0, 2^e) with the smallest e that holds all |x| seen, so the largest lies in its
upper half. When a larger value arrives, neighbouring bins are merged until it fits. As bins of
width 2^k nest in bins of width 2^(k+1), and scaling a float by a power of two is exact, the counts
depend on the values alone, never on how they were batched or merged.

Counted is trunc(x / width), so that one table holds the bins of both signs: that of |x| is their
sum. Only values just below zero have to be told from those just above it by a count of their own.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

# Values for which the buffers below stay in a processor's cache.
CHUNK = 1 << 16
# Powers of two that float32 holds as normal numbers.
_LOWEST, _HIGHEST = -126, 127

Array = np.ndarray[Any, Any]


class Histogram:
    """Counts in `bins` bins over [0, 2^exponent), of |x| and of those below zero.

    Attributes:
        bins: number of bins, a power of two.
        zeros: values that are exactly zero; `counts[0]` holds them too.
        exponent: the range's exponent; None while all values were zero.
        maximum: largest |x|, exact; infinity if one was, which no bin counts.
    """

    def __init__(self, bins: int) -> None:
        self.bins = bins
        self.zeros = 0
        self.exponent: int | None = None
        self.maximum = 0.0
        self._below = 0
        # At bins + trunc(x / width): numpy's own negative places cost a processor its guesses.
        self._table: Array = np.zeros(2 * bins, np.int64)

    @property
    def counts(self) -> Array:
        """int64 [bins], of |x|."""
        above, below = self._halves()
        return above + below

    @property
    def negative(self) -> Array:
        """int64 [bins], of |x| where x is below zero."""
        below = self._halves()[1]
        below[0] = self._below - int(below.sum())
        return below

    def add(self, values: Array, span: tuple[float, float] | None = None) -> None:
        """Count float32 values of any shape; none may be NaN.

        Args:
            values: of any shape.
            span: the smallest and the largest of them, where that is known already.
        """
        flat = np.ascontiguousarray(values, np.float32).reshape(-1)
        lowest, highest = _extremes(flat) if span is None else (min(span[0], 0), max(span[1], 0))
        self.maximum = max(self.maximum, -lowest, highest)
        if math.isinf(lowest) or math.isinf(highest):
            flat = flat[np.isfinite(flat)]
            lowest, highest = _extremes(flat)
        largest = max(-lowest, highest)
        if largest == 0.0:
            self.zeros += flat.size
            self._table[self.bins] += flat.size
            return
        shift = self.bins.bit_length() - 1 - self._widen(math.frexp(largest)[1])
        for start in range(0, flat.size, CHUNK):
            self._add(flat[start : start + CHUNK], shift, below=lowest < 0.0)

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram with the same number of bins."""
        self.maximum = max(self.maximum, other.maximum)
        self.zeros += other.zeros
        self._below += other._below
        doublings = 0
        if other.exponent is not None:
            doublings = self._widen(other.exponent) - other.exponent
        self._put(other._halves(), doublings)

    def _add(self, part: Array, shift: int, *, below: bool) -> None:
        """Count values times 2^shift, at most `CHUNK`; `below`: some may be below zero."""
        told = _buffers.told[: part.size]
        self.zeros += part.size - int(np.count_nonzero(np.not_equal(part, 0, out=told)))
        if below:
            self._below += int(np.count_nonzero(np.less(part, 0, out=told)))
            np.add.at(self._table, _places(part, shift, self.bins), 1)
        else:
            np.add.at(self._table[self.bins :], _places(part, shift, 0), 1)

    def _widen(self, exponent: int) -> int:
        """Make the range hold 2^exponent, and return its own exponent."""
        if self.exponent is None:
            self.exponent = exponent  # zeros counted so far stay in bin 0
        elif exponent > self.exponent:
            halves = self._halves()
            self._table = np.zeros_like(self._table)
            self._put(halves, exponent - self.exponent)
            self.exponent = exponent
        return self.exponent

    def _halves(self) -> tuple[Array, Array]:
        """Counts by |trunc(x / width)|: of what is not below zero there, and of what is."""
        return self._table[self.bins :], np.append(0, self._table[self.bins - 1 : 0 : -1])

    def _put(self, halves: tuple[Array, Array], doublings: int) -> None:
        """Add such counts, over a range narrower by so many doublings."""
        above, below = (_coarser(half, doublings) for half in halves)
        self._table[self.bins :] += above
        self._table[self.bins : 0 : -1] += below


class _Buffers(threading.local):
    """What a thread works in; made for each tensor anew, it would cost as much as the counting."""

    def __init__(self) -> None:
        self.scaled = np.empty(CHUNK, np.float32)
        self.whole = np.empty(CHUNK, np.int32)
        self.place = np.empty(CHUNK, np.int64)
        self.told = np.empty(CHUNK, np.bool_)


_buffers = _Buffers()


def _places(part: Array, shift: int, first: int) -> Array:
    """The places `first` + trunc(x * 2^shift), int64."""
    if not _LOWEST <= shift <= _HIGHEST:
        # float64 holds every float32 scaled by any of these powers of two.
        return np.ldexp(part.astype(np.float64), shift).astype(np.int64) + first
    # Exact in float32 too: what it cannot hold is subnormal, and belongs to bin 0.
    size, factor = part.size, np.float32(math.ldexp(1.0, shift))
    scaled, whole, place = (
        buffer[:size] for buffer in (_buffers.scaled, _buffers.whole, _buffers.place)
    )
    np.multiply(part, factor, out=scaled)
    # By way of int32: processors have an instruction for that, not all for int64.
    np.copyto(whole, scaled, casting="unsafe")
    if first:
        np.add(whole, first, out=whole)
    np.copyto(place, whole)
    return place


def _extremes(flat: Array) -> tuple[float, float]:
    """Lowest value, at most 0, and highest, at least 0."""
    return float(flat.min(initial=0.0)), float(flat.max(initial=0.0))


def _coarser(counts: Array, doublings: int) -> Array:
    """The same counts over a range 2^doublings times as wide."""
    bins = len(counts)
    group = min(1 << min(doublings, 62), bins)
    wide = np.zeros(bins, np.int64)
    wide[: bins // group] = counts.reshape(-1, group).sum(axis=1)
    return wide
