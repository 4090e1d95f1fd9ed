# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Ranges of every method from observations, and the document that says what the caches cannot."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.calibration import methods

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from stages.calibration.observations import Arrays

METHODS = ("minmax", "entropy", "percentile", "mse")


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One activation with a histogram.

    Attributes:
        name: its name in the graph.
        needed: whether a quantized operator reads it; else it is a shortcut of a residual Add.
        maximum: largest |x|; infinity if one was.
        lowest, highest: smallest and largest x.
        counts: int64 [bins], histogram of |x|.
        zeros: how many values are exactly zero.
        width: of a bin.
    """

    name: str
    needed: bool
    maximum: float
    lowest: float
    highest: float
    counts: np.ndarray[Any, Any]
    zeros: int
    width: float

    def clipped(self, limit: float) -> float:
        """Share of values in bins that begin at `limit` or beyond."""
        first = min(math.ceil(limit / self.width), len(self.counts))
        return int(self.counts[first:].sum()) / max(int(self.counts.sum()), 1)

    def share_of_zeros(self) -> float:
        """Share of values that are exactly zero."""
        return self.zeros / max(int(self.counts.sum()), 1)


def tensors(observed: Arrays) -> list[Tensor]:
    """The activations with a histogram, sorted by name."""
    bins = int(observed["bins"])
    return [
        Tensor(
            name=str(observed["names"][place]),
            needed=bool(observed["needed"][row]),
            maximum=float(observed["maxima"][place]),
            lowest=float(observed["lowest"][place]),
            highest=float(observed["highest"][place]),
            counts=observed["counts"][row],
            zeros=int(observed["zeros"][row]),
            width=math.ldexp(1.0, int(observed["exponents"][row])) / bins,
        )
        for row, place in enumerate(observed["ranged"])
    ]


def compute(found: list[Tensor], percent: float) -> dict[str, dict[str, float]]:
    """Range by method and tensor; 0 where none fits: `precision` leaves it in floating point."""
    # Each tensor for itself, so how many are at work changes nothing.
    with ThreadPoolExecutor() as pool:
        rows = list(pool.map(lambda tensor: _ranges(tensor, percent), found))
    return {
        method: {tensor.name: row[method] for tensor, row in zip(found, rows, strict=True)}
        for method in METHODS
    }


def _ranges(tensor: Tensor, percent: float) -> dict[str, float]:
    counts, width, maximum = tensor.counts, tensor.width, tensor.maximum
    if maximum == 0.0 or math.isinf(maximum):
        return dict.fromkeys(METHODS, 0.0)
    return {
        "minmax": methods.minmax(maximum, len(counts)),
        "entropy": methods.entropy(counts, width),
        "percentile": methods.percentile(counts, width, maximum, percent),
        "mse": methods.mse(counts, width, tensor.zeros),
    }


def document(
    model: str,
    observed: Arrays,
    found: list[Tensor],
    computed: Mapping[str, Mapping[str, float]],
    imported: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """ranges.json: what these ranges were made of, and what each does to its tensor.

    Args:
        model: its name.
        observed: arrays of observations.npz.
        found: the activations with a histogram.
        computed: ranges by method and tensor, those of an imported cache too.
        imported: what there is to say of that cache; None without one.
    """
    return {
        "schema_version": 1,
        "model": model,
        "graph_digest": str(observed["graph"]),
        "data_digest": str(observed["data"]),
        "samples": int(observed["samples"]),
        "bins": int(observed["bins"]),
        "imported": imported,
        "tensors": {
            tensor.name: {
                "needed": tensor.needed,
                "maximum": _finite(tensor.maximum),
                "lowest": _finite(tensor.lowest),
                "highest": _finite(tensor.highest),
                "zeros": tensor.share_of_zeros(),
                "methods": {
                    method: _judged(tensor, limits[tensor.name])
                    for method, limits in computed.items()
                },
            }
            for tensor in found
        },
    }


def _judged(tensor: Tensor, limit: float) -> dict[str, float] | None:
    return {"range": limit, "clipped": tensor.clipped(limit)} if limit else None


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None
