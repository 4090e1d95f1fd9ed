# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The numbers of SmoothQuant: one factor for each channel, from maxima of activation and weights.

Measured maxima differ in their last bits between processor families, and weights must not: the
factors are powers of sqrt 2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Maxima = np.ndarray[Any, np.dtype[np.float32]]

# A range is rounded up to the centre of one of so many steps per octave, as minmax ranges are.
_STEPS = 1024


def factors(peaks: Maxima, rows: Maxima, strength: float) -> Maxima:
    """max|X_j|^a / max|W_j|^(1-a) for each channel j: float32 [channels].

    Xiao et al., "SmoothQuant" (arXiv 2211.10438), equation 4.

    Args:
        peaks: largest |x| of each channel; one at least is above 0.
        rows: largest |w| that reads each channel; one at least is above 0.
        strength: a, 0 (all outliers stay with the activation) to 1 (all move into the weights).
    """
    # A channel that was silent gets what is usual; a row of zeros has nothing to lose.
    peaks = np.where(peaks > 0, peaks, np.median(peaks[peaks > 0]))
    rows = np.where(rows > 0, rows, rows[rows > 0].min())
    halves = np.rint(2 * (strength * np.log2(peaks) - (1 - strength) * np.log2(rows))).astype(int)
    odd = halves % 2
    return np.ldexp(np.where(odd, math.sqrt(2), 1.0), (halves - odd) // 2).astype(np.float32)


def above(maximum: float) -> float:
    """The next centre of a step above `maximum`, so that no range hangs on a last bit.

    Just below a power of two and at it, it is the same one.
    """
    mantissa, exponent = math.frexp(maximum)
    steps = math.ceil(mantissa * 2 * _STEPS - 0.5) + 0.5
    if steps > 2 * _STEPS:
        steps = 2 * _STEPS + 1.0
    return math.ldexp(steps / (2 * _STEPS), exponent)
