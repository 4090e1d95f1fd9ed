# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""How much noise each layer brings when it alone runs in INT8: a few passes for all of them.

Noise of layers adds up nearly independently, and that of one layer is an average over many output
values, so each layer is tried on a share of the calibration samples: the same rows for all, spread
evenly. The true propagation to the outputs is kept, which the noise at a layer's own output misses.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Arrays = dict[str, "np.ndarray[Any, Any]"]

PASSES = 4
"""What all trials together may cost, in passes over the samples; at least one row each."""


def share(candidates: int) -> float:
    """Share of the samples on which each of so many candidates is tried."""
    return min(1.0, PASSES / max(candidates, 1))


def select(batches: Iterable[Arrays], part: float, *, whole: bool) -> Iterator[Arrays]:
    """Evenly spread rows of all batches, in their order; the first row always.

    Args:
        batches: arrays by name; the first axis counts samples.
        part: share of the rows to take, more than 0 and at most 1.
        whole: take whole batches instead, for a model with a fixed batch.
    """
    seen = 0.0
    for batch in batches:
        size = 1 if whole else len(next(iter(batch.values())))
        # A row is taken where the running sum of shares passes an integer.
        steps = np.ceil((seen + np.arange(size + 1)) * part)
        rows = np.flatnonzero(np.diff(steps) > 0)
        seen += size
        if len(rows):
            yield batch if whole else {name: array[rows] for name, array in batch.items()}


def rounded(noise: float) -> float:
    """Noise power to a tenth of a decibel: processors differ beyond, and the order must not."""
    if noise == 0 or not math.isfinite(noise):
        return noise
    return float(10 ** (round(10 * math.log10(noise), 1) / 10))
