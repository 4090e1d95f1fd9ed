# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A streaming histogram of |x| whose bin width is a power of two.

The range is always [0, 2^e) with the smallest e that holds all values seen, so the largest value
lies in its upper half. When a larger value arrives, neighbouring bins are merged until it fits. As
bins of width 2^k nest in bins of width 2^(k+1), and scaling a float by a power of two is exact,
the counts depend on the values alone, never on how they were batched or merged.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


class Histogram:
    """Counts of |x| in `bins` bins over [0, 2^exponent).

    Attributes:
        bins: number of bins, a power of two.
        counts: int64 of shape [bins].
        exponent: the range's exponent; None while all values were zero.
        maximum: largest |x|, exact; infinity if one was, which no bin counts.
    """

    def __init__(self, bins: int) -> None:
        self.bins = bins
        self.counts: np.ndarray[Any, np.dtype[np.int64]] = np.zeros(bins, np.int64)
        self.exponent: int | None = None
        self.maximum = 0.0

    def add(self, values: np.ndarray[Any, Any]) -> None:
        """Count float values of any shape; none may be NaN."""
        magnitude = np.abs(values).ravel()
        self.maximum = max(self.maximum, float(magnitude.max(initial=0.0)))
        if math.isinf(self.maximum):
            magnitude = magnitude[np.isfinite(magnitude)]
        largest = float(magnitude.max(initial=0.0))
        if largest > 0.0:
            self._widen(math.frexp(largest)[1])
        if self.exponent is None:
            self.counts[0] += magnitude.size
            return
        # float64 holds every float32 scaled by a power of two, subnormals included.
        scaled = np.ldexp(magnitude.astype(np.float64), self._shift())
        self.counts += np.bincount(scaled.astype(np.int64), minlength=self.bins)

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram with the same number of bins."""
        self.maximum = max(self.maximum, other.maximum)
        if other.exponent is None:
            self.counts[0] += other.counts[0]
            return
        self._widen(other.exponent)
        if self.exponent is None:  # _widen has set it; for the type checker
            raise AssertionError
        self.counts += _coarser(other.counts, self.exponent - other.exponent)

    def _shift(self) -> int:
        return self.bins.bit_length() - 1 - (self.exponent or 0)

    def _widen(self, exponent: int) -> None:
        if self.exponent is None:
            self.exponent = exponent  # zeros counted so far stay in bin 0
        elif exponent > self.exponent:
            self.counts = _coarser(self.counts, exponent - self.exponent)
            self.exponent = exponent


def _coarser(counts: np.ndarray[Any, Any], doublings: int) -> np.ndarray[Any, Any]:
    """The same counts over a range 2^doublings times as wide."""
    bins = len(counts)
    group = min(1 << min(doublings, 62), bins)
    wide = np.zeros(bins, np.int64)
    wide[: bins // group] = counts.reshape(-1, group).sum(axis=1)
    return wide
