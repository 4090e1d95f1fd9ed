# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Smallest and largest value of a tensor, and largest magnitude of each of its channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Array = np.ndarray[Any, Any]
Span = tuple[float, float]

# Values that stay in a processor's cache while they are looked at, and then counted.
_PIECE = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Extremes:
    """What is kept of a tensor's values beside their histogram.

    Attributes:
        lowest, highest: smallest and largest x; infinity and -infinity where nothing was seen. A
            NaN that was seen is in both.
        maxima: largest |x| of each channel, float32 [channels]; 0 where nothing was seen.
    """

    lowest: float
    highest: float
    maxima: Array

    @property
    def span(self) -> Span:
        """Smallest and largest x; zeros where nothing was seen."""
        # Adding zero makes -0.0 the other zero: which of the two comes first is left to chance.
        some = self.lowest <= self.highest
        return (self.lowest + 0.0, self.highest + 0.0) if some else (0.0, 0.0)

    def merge(self, other: Extremes) -> Extremes:
        """Those of both, of which none has seen NaN."""
        return Extremes(
            lowest=min(self.lowest, other.lowest),
            highest=max(self.highest, other.highest),
            maxima=np.maximum(self.maxima, other.maxima),
        )


def scan(values: Array, axis: int, seen: Callable[[Array, Span], None] | None = None) -> Extremes:
    """Extremes of float32 values.

    Args:
        values: of any shape.
        axis: that of the channels; 0 for the whole tensor as one.
        seen: is given one piece of the values after the other, which it finds in a processor's
            cache, with the smallest and the largest value in it; none that holds NaN.
    """
    size, inner = (values.shape[axis], math.prod(values.shape[axis + 1 :])) if axis else (1, 1)
    lows, highs, tops = [math.inf], [-math.inf], [np.zeros(size, np.float32)]
    if not values.size:
        return Extremes(lowest=lows[0], highest=highs[0], maxima=tops[0])
    for piece in _pieces(values, inner if inner > 1 else size):
        low, top = float(piece.min()), _by_channel(np.maximum, piece, by_row=inner > 1)
        lows.append(low)
        highs.append(float(top.max()))
        if low < 0.0:
            top = np.maximum(top, -_by_channel(np.minimum, piece, by_row=inner > 1))
        tops.append(top)
        if seen and not math.isnan(low):
            seen(piece, (low, highs[-1]))
    return Extremes(
        lowest=float(np.min(lows)),
        highest=float(np.max(highs)),
        # Adding zero makes -0.0 the other zero: which of the two comes first is left to chance.
        maxima=np.max(np.concatenate(tops).reshape(-1, size), axis=0) + np.float32(0),
    )


def _pieces(values: Array, width: int) -> Iterator[Array]:
    """Some rows of `width` values after the other."""
    rows, step = values.reshape(-1, width), max(1, _PIECE // width)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _by_channel(reduce: np.ufunc, piece: Array, *, by_row: bool) -> Array:
    """A row is all of one channel; or it has a value of each, where they are the last axis."""
    if not by_row:
        found: Array = reduce.reduce(piece, axis=0)
        return found
    # As quick for long rows as `reduce`, and twice as quick for the short ones of small images.
    starts = np.arange(0, piece.size, piece.shape[1])
    return reduce.reduceat(piece.reshape(-1), starts)
