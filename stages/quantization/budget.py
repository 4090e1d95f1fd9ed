# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What `auto` must reach, and how far a candidate is from it.

Errors are sums in float64 over all calibration samples, as `validate` forms them over its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Arrays = dict[str, "np.ndarray[Any, Any]"]
# Processors differ in the last bits of a sum, and now and then in a rounding to INT8.
_DB_PLACES, _COSINE_PLACES = 2, 6
# Limits of a budget: the figure that each bounds, and 1 where more is better.
_LIMITS = {
    "max_accuracy_drop": ("accuracy_drop", -1),
    "min_sqnr_db": ("sqnr_db", 1),
    "min_cosine": ("cosine", 1),
}


class Errors:
    """Accumulates the error of one graph's outputs against another's, batch by batch."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}

    def add(self, reference: Arrays, found: Arrays) -> None:
        """Take the float outputs of one batch; other outputs have no noise to speak of."""
        for name, expected in reference.items():
            if expected.dtype.kind != "f":
                continue
            a, b = expected.astype(np.float64), found[name].astype(np.float64)
            with np.errstate(invalid="ignore", over="ignore"):
                noise = np.where(a == b, 0.0, a - b)
                new = (noise * noise, a * a, a * b, b * b)
                sums = self._sums.setdefault(name, [0.0] * len(new))
                self._sums[name] = [old + float(x.sum()) for old, x in zip(sums, new, strict=True)]

    def noise(self) -> float:
        """Noise power relative to the signal, the worst output; infinite after an overflow."""
        return max((_relative(*sums[:2]) for sums in self._sums.values()), default=0.0)

    def cosine(self) -> float:
        """Cosine similarity, the worst output; minus infinity after an overflow."""
        return min((_cosine(*sums) for sums in self._sums.values()), default=1.0)


def _relative(noise: float, signal: float) -> float:
    if noise == 0:
        return 0.0
    ratio = noise / signal if signal else math.inf
    return ratio if math.isfinite(ratio) else math.inf


def _cosine(noise: float, signal: float, product: float, power: float) -> float:
    if noise == 0:
        return 1.0
    norms = math.sqrt(signal) * math.sqrt(power)
    cosine = product / norms if norms else math.nan
    return cosine if math.isfinite(cosine) else -math.inf


def figures(errors: Errors, drop: float | None) -> dict[str, float | None]:
    """{"sqnr_db", "cosine", "accuracy_drop"}; None for infinite, or where there is no metric.

    An infinite SQNR, outputs that are identical, is told apart from an overflow by the cosine.
    """
    noise = errors.noise()
    sqnr = -10.0 * math.log10(noise) if noise and math.isfinite(noise) else None
    cosine = errors.cosine()
    return {
        "sqnr_db": None if sqnr is None else round(sqnr, _DB_PLACES),
        "cosine": round(cosine, _COSINE_PLACES) if math.isfinite(cosine) else None,
        "accuracy_drop": drop,
    }


def shortfall(budget: Mapping[str, float | None], found: Mapping[str, float | None]) -> float:
    """By how much the worst limit is missed, as a share of that limit (of 1, where it is 0).

    Args:
        budget: max_accuracy_drop (fraction), min_sqnr_db, min_cosine; None: no limit.
        found: as `figures` gives them.

    Returns:
        0 or less if every limit holds; infinity after an overflow.
    """
    return max((gap for gap, _ in _gaps(budget, found)), default=0.0)


def missed(budget: Mapping[str, float | None], found: Mapping[str, float | None]) -> str:
    """Which limits do not hold, and the figures; empty if all do. Arguments as for `shortfall`."""
    return ", ".join(text for gap, text in _gaps(budget, found) if gap > 0)


def _gaps(
    budget: Mapping[str, float | None], found: Mapping[str, float | None]
) -> Iterator[tuple[float, str]]:
    if found["cosine"] is None:
        yield math.inf, "the outputs overflow"
        return
    for name, (figure, sign) in _LIMITS.items():
        limit, value = budget[name], found[figure]
        if figure == "sqnr_db" and value is None:  # the outputs are identical
            value = math.inf
        if limit is not None and value is not None:
            side = "below" if sign > 0 else "above"
            yield (
                sign * (limit - value) / (abs(limit) or 1.0),
                f"{figure} {value} is {side} {limit}",
            )
