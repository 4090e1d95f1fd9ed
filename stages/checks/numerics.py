# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Numeric error of one runner against another, through Polygraphy's comparator.

The runners are Polygraphy's, so the same code compares graphs here and plans where there is a GPU.
Sums are kept in float64 over all samples; memory does not depend on their number.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
from polygraphy.comparator import Comparator
from polygraphy.logger import G_LOGGER

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from polygraphy.backend.base import BaseRunner

Arrays = dict[str, "np.ndarray[Any, Any]"]


class Errors:
    """Accumulates the errors of all outputs, batch by batch."""

    def __init__(self) -> None:
        self._sums: dict[str, dict[str, float]] = {}

    def add(self, reference: Arrays, candidate: Arrays) -> None:
        """Take the outputs of one batch.

        Raises:
            GraphError: an output is missing or has another shape.
        """
        for name, expected in reference.items():
            found = candidate.get(name)
            if found is None or found.shape != expected.shape:
                shape = None if found is None else found.shape
                msg = (
                    f"output {name!r} has shape {shape}, the exported graph's has {expected.shape}"
                )
                raise errors.GraphError(
                    msg, mend="`dvc repro precision` makes the typed graph again"
                )
            self._accumulate(name, expected.astype(np.float64), found.astype(np.float64))

    def _accumulate(self, name: str, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> None:
        # An overflow must show as an infinite error, not hide as inf - inf.
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.where(a == b, 0.0, np.abs(a - b))
            error = np.where(np.isnan(error), np.inf, error)
            known = {"max_abs": 0.0, "noise": 0.0, "signal": 0.0, "product": 0.0, "power": 0.0}
            sums = self._sums.setdefault(name, known)
            sums["max_abs"] = max(sums["max_abs"], float(error.max(initial=0.0)))
            sums["noise"] += float(np.square(error).sum())
            sums["signal"] += float(np.square(a).sum())
            sums["product"] += float((a * b).sum())
            sums["power"] += float(np.square(b).sum())

    def result(self) -> dict[str, dict[str, Any]]:
        """By output: max_abs, relative_l2, cosine, sqnr_db, identical.

        relative_l2 is |a-b| / |a| and sqnr_db -20 log10 of it, a the reference. A figure that is
        infinite or undefined is None: sqnr_db of identical outputs, all of an overflow.
        """
        return {name: _figures(sums) for name, sums in self._sums.items()}


def _figures(sums: dict[str, float]) -> dict[str, Any]:
    identical = sums["noise"] == 0.0
    relative = math.sqrt(sums["noise"] / sums["signal"]) if sums["signal"] else math.inf
    norms = math.sqrt(sums["signal"]) * math.sqrt(sums["power"])
    cosine = 1.0 if identical else (sums["product"] / norms if norms else math.nan)
    sqnr = math.inf if identical or not relative else -20.0 * math.log10(relative)
    return {
        "identical": identical,
        "max_abs": _finite(sums["max_abs"]),
        "relative_l2": 0.0 if identical else _finite(relative),
        "cosine": _finite(cosine),
        "sqnr_db": _finite(sqnr),
    }


# Beyond six digits a figure tells about the order of a sum, not about an engine.
_DIGITS = 6


def _finite(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def compare(
    reference: BaseRunner,
    candidate: BaseRunner,
    feeds: Iterable[Arrays],
    collect: Callable[[Arrays, Arrays], None],
) -> dict[str, dict[str, Any]]:
    """Run both on all batches.

    Args:
        reference, candidate: Polygraphy runners, not yet active.
        feeds: input arrays by name.
        collect: takes the outputs of both, batch by batch, for whoever needs more than the errors.

    Returns:
        `Errors.result()`.
    """
    G_LOGGER.module_severity = G_LOGGER.ERROR
    found = Errors()

    def func(a: Any, b: Any) -> OrderedDict[str, bool]:
        expected, got = dict(a.items()), dict(b.items())
        found.add(expected, got)
        collect(expected, got)
        # Of each output named here Polygraphy computes statistics for its log, shown or not: three
        # times the work of the comparison.
        return OrderedDict()

    stream = Comparator.run([reference, candidate], data_loader=feeds, streaming=True)
    Comparator.compare_accuracy(stream, compare_func=func)
    return found.result()
