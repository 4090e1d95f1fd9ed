# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Framework against ONNX Runtime on the probe samples, right after the export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from stages.exporters.api import Arrays, Framework


def check(
    framework: Framework,
    runtime: Callable[[Arrays], Arrays],
    batches: Iterable[Arrays],
    *,
    atol: float,
    rtol: float,
) -> dict[str, Any]:
    """Run both on each batch and compare all outputs: `|a - b| <= atol + rtol * |b|`.

    Args:
        framework: the source model; its outputs are the reference b.
        runtime: the exported graph; its outputs are a.
        batches: input arrays by name.
        atol, rtol: the tolerance.

    Returns:
        {"outputs": {name: {"max_abs": float}}}

    Raises:
        ParityError: an output differs, in shape or by more than the tolerance, or is not finite.
    """
    worst: dict[str, float] = {}
    for feeds in batches:
        reference, found = framework(feeds), runtime(feeds)
        if lacking := [name for name in found if name not in reference]:
            msg = f"the framework gives no output {', '.join(map(repr, lacking))}"
            raise errors.ParityError(msg, mend="let the exporter's load() give every output")
        for name, expected in reference.items():
            _check_output(name, expected, found[name], atol=atol, rtol=rtol)
            error = np.abs(expected.astype(np.float64) - found[name].astype(np.float64))
            worst[name] = max(worst.get(name, 0.0), float(error.max(initial=0.0)))
    return {"outputs": {name: {"max_abs": e} for name, e in worst.items()}}


def _check_output(
    name: str,
    expected: np.ndarray[Any, Any],
    found: np.ndarray[Any, Any],
    *,
    atol: float,
    rtol: float,
) -> None:
    mend = "compare the two outputs sample by sample; models.<m>.parity holds the tolerance"
    if expected.shape != found.shape:
        msg = (
            f"output {name!r}: the framework gives shape {expected.shape}, the graph {found.shape}"
        )
        raise errors.ParityError(msg, mend=mend)
    if expected.dtype.kind == "f" and not np.isfinite(expected).all():
        msg = f"output {name!r}: the framework itself gives NaN or infinity on the probe samples"
        raise errors.ParityError(msg, mend="look at the model and the probe samples")
    close = np.isclose(found, expected, atol=atol, rtol=rtol)
    if not close.all():
        error = np.abs(expected.astype(np.float64) - found.astype(np.float64))
        msg = (
            f"output {name!r}: {np.count_nonzero(~close)} of {close.size} values differ from the"
            f" framework's by more than {atol} + {rtol} * |value|; the largest difference is"
            f" {np.where(np.isnan(error), np.inf, error).max():.3g}"
        )
        raise errors.ParityError(msg, mend=mend)
