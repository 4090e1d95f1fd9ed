# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Range methods: a histogram of |x| in, the largest magnitude to represent out.

All are symmetric and per tensor. They read histograms alone, never the data.

Sums of floats differ in their last bits between processor families, and what is measured on one
shall give the same range on the other: every range is the edge or the centre of a bin, never a
value as it was measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

# TensorRT's INT8 uses -127..127 where ranges come from a calibration cache.
LEVELS = 127

# NVIDIA's sources say at least as many bins as levels must be kept.
_FEWEST_BINS = 128

# Share of the values outside bin 0 that entropy may cut at most.
_MOST_CUT = 0.1

# Divergences, in nats, closer than float64 sums can tell.
_SAME = 1e-9

# Candidates looked at together: temporaries of 64 KiB, which a processor's cache holds.
_BLOCK = 64

# Relative error of a sum of some thousand float64.
_EXACT = 1e-13


def minmax(maximum: float, bins: int) -> float:
    """Largest |x| seen, rounded up to the centre of a bin of its own octave [2^k, 2^(k+1)).

    Nothing that was seen is cut, and the range is less than 2 / bins of itself wider. Centres, not
    edges: an activation that saturates does so at a round number (1, 6), give or take a last bit,
    and round numbers are edges. Those just below and at a power of two get the same range.

    Args:
        maximum: above 0.
        bins: of the histogram, a power of two.
    """
    mantissa, exponent = math.frexp(maximum)
    steps = math.ceil(mantissa * bins - 0.5) + 0.5
    if steps > bins:  # the first centre of the next octave, whose bins are twice as wide
        steps = bins + 1.0
    return math.ldexp(steps / bins, exponent)


def percentile(counts: np.ndarray[Any, Any], width: float, maximum: float, percent: float) -> float:
    """Upper edge of the first bin at which `percent` of all values are in range.

    Args:
        counts: int64 [bins].
        width: width of a bin.
        maximum: largest |x| seen; where that bin holds it, the range is that of `minmax`.
        percent: above 50, at most 100.
    """
    total = int(counts.sum())
    reached = np.cumsum(counts) >= percent / 100.0 * total
    edge = (int(np.argmax(reached)) + 1) * width
    return edge if edge < maximum else minmax(maximum, len(counts))


def entropy(counts: np.ndarray[Any, Any], width: float) -> float:
    """Range of least information loss, TensorRT's entropy calibration.

    S. Migacz, "8-bit Inference with TensorRT" (GTC 2017, S7310): for each candidate bin B, P is
    the histogram up to B with everything beyond counted in B, and Q the histogram up to B, without
    what lies beyond, made coarse and spread again over the bins that are not empty; the range is
    that of the B with the least Kullback-Leibler divergence of P from Q. As in NVIDIA's MLPerf
    submissions (documentation/calibration.md), Q has 127 levels between 0 and the centre of B, and
    the range is that centre. Bin 0 is left out: after a ReLU it holds mostly exact zeros, which
    every range represents. Of equal divergences the widest range wins: clipping must buy something.
    No range cuts more than a tenth: the divergence compares shapes, and of a single bin P is Q
    however much lies beyond: a tensor of few values (squeeze-and-excitation) would lose nearly all.

    With c the counts, N their sum up to the end and M up to B, S and n the sum and the number of
    non-empty bins of a level and T the sum of P in it,
    N * KL = sum P log P - sum T log(S / n) - N log(N / M), so prefix sums give each candidate in
    O(levels).

    Args:
        counts: int64 [bins].
        width: width of a bin.

    Returns:
        The range, > 0; the centre of the last non-empty bin where nothing can be gained.
    """
    kept = counts.astype(np.float64)
    kept[0] = 0.0
    occupied = np.flatnonzero(kept)
    last = int(occupied[-1]) + 1 if occupied.size else 1
    if last <= _FEWEST_BINS:
        return (last - 0.5) * width
    sums = _Sums(
        counts=_prefix(kept),
        filled=_prefix(kept > 0),
        information=_prefix(kept * np.log(np.maximum(kept, 1.0))),
    )
    ends = np.arange(_FEWEST_BINS, last + 1)
    ends = ends[sums.counts[ends] >= (1.0 - _MOST_CUT) * sums.counts[last]]
    blocks = np.split(ends, range(_BLOCK, len(ends), _BLOCK))
    divergence = np.concatenate([_divergence(kept[:last], sums, block) for block in blocks])
    best = int(ends[np.flatnonzero(divergence <= divergence.min() + _SAME)[-1]])
    return (best - 0.5) * width


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """Sums of what lies before each bin: of c, of c > 0 and of c log c; float64 [bins + 1]."""

    counts: np.ndarray[Any, Any]
    filled: np.ndarray[Any, Any]
    information: np.ndarray[Any, Any]


def _divergence(
    kept: np.ndarray[Any, Any], sums: _Sums, ends: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Of P from Q, for candidates that end at these bins, as `entropy` says."""
    last = len(kept)
    tail = sums.counts[last] - sums.counts[ends]
    final = kept[ends - 1] + tail

    truncated = sums.information[ends - 1] + final * np.log(np.maximum(final, 1.0))
    edges = _level_edges(ends)
    level_sums = np.diff(sums.counts[edges], axis=1)
    mean = level_sums / np.maximum(np.diff(sums.filled[edges], axis=1), 1.0)
    level_sums[:, -1] += tail
    coarse = (level_sums * np.log(np.where(mean > 0, mean, 1.0))).sum(axis=1)
    total = sums.counts[last]
    kept_share = np.maximum(sums.counts[ends], 1.0) / total
    divergence: np.ndarray[Any, Any] = (truncated - coarse) / total + np.log(kept_share)
    # Q has nothing where only the tail fills the last bin of P.
    divergence[(kept[ends - 1] == 0) & (tail > 0)] = np.inf
    return divergence


def mse(counts: np.ndarray[Any, Any], width: float, zeros: int) -> float:
    """Range of least expected squared error of INT8, what is clipped included.

    Candidates are upper edges of bins, 64 in each octave: the error is flat around the least, so
    that closer ones would be told apart by noise. For a range T, x >= 0 becomes
    q(x) = s * min(round(x / s), 127) with s = T / 127, and the error is the integral of
    rho(x) * (x - q(x))^2: rho is the histogram read as a density, constant within a bin, but that
    exact zeros lie at zero, where there is no error.
    Level k ends and level k + 1 begins at t_k = (k - 1/2) * s, and the last has no end. Summed by
    parts that is M - 2 s * sum over k = 1..127 of F(t_k), with M the second moment and F(t) the
    integral over x > t of rho(x) * (x - t), quadratic within a bin: each candidate costs O(levels).
    Of equal errors the widest range wins.

    Args:
        counts: int64 [bins].
        width: width of a bin.
        zeros: how many of the values in bin 0 are exactly zero.

    Returns:
        The range, > 0; one bin where all values are zero.
    """
    density = counts.astype(np.float64)
    density[0] -= zeros
    occupied = np.flatnonzero(density)
    last = int(occupied[-1]) + 1 if occupied.size else 1
    density = density[:last]
    edges = np.arange(last, dtype=np.float64)
    moment = float((density * (edges**2 + edges + 1 / 3)).sum())
    # Of each bin's lower edge: what lies beyond, and F.
    beyond = np.cumsum(density[::-1])[::-1]
    excess = np.cumsum((beyond - density / 2)[::-1])[::-1]

    ends = _candidates(last)
    step = ends / LEVELS
    place = (np.arange(1, LEVELS + 1) - 0.5) * step[:, None]
    bins = place.astype(np.int64)
    place -= bins
    inside = excess[bins] - place * (beyond[bins] - place * density[bins] / 2)
    errors = moment - 2.0 * step * inside.sum(axis=1)
    # Sums of the moment's size cancel: what is left is no more exact than these were.
    least = errors.min() * (1 + _SAME) + moment * _EXACT
    return float(ends[np.flatnonzero(errors <= least)[-1]]) * width


def _candidates(last: int) -> np.ndarray[Any, Any]:
    """Bins up to `last` that the mse method considers ending at: 1 to 2 % apart."""
    ends = np.arange(1, last + 1)
    octave = 1 << (np.frexp(ends)[1].astype(np.int64) - 1)
    kept: np.ndarray[Any, Any] = ends[(ends % np.maximum(octave // 64, 1) == 0) | (ends == last)]
    return kept


def _prefix(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])


def _level_edges(ends: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """First bin of each level, and the end, for each candidate: int64 [candidates, levels + 1].

    Bin k, with centre k + 1/2, belongs to level floor((k + 1/2) / ((end - 1/2) / LEVELS)); the
    last bin, whose centre is the range itself, to the last level.
    """
    level = np.arange(1, LEVELS)
    span = 2 * ends[:, None] - 1
    starts = -((LEVELS - level * span) // (2 * LEVELS))
    zeros = np.zeros((len(ends), 1), np.int64)
    return np.concatenate([zeros, np.minimum(starts, ends[:, None] - 1), ends[:, None]], axis=1)
