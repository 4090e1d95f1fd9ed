# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The task metric on the validation samples: top-1, or the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.lib import errors, plugins

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Array = np.ndarray[Any, Any]
Metric = Callable[[Array, Array], float]
"""(output of all samples, labels of all samples) to a figure, the higher the better."""


def top1(scores: Array, labels: Array) -> float:
    """Share of samples whose largest score is at the label.

    Args:
        scores: [samples, classes, ...] of any float dtype.
        labels: [samples, ...] of integers.

    Raises:
        MetricError: the shapes do not fit; numpy would compare each sample with all labels.
    """
    wanted = (*scores.shape[:1], *scores.shape[2:])
    if scores.ndim < 2 or labels.shape != wanted:  # noqa: PLR2004 (samples and classes)
        msg = f"metric top1: scores {list(scores.shape)} do not fit labels {list(labels.shape)}"
        raise errors.MetricError(
            msg,
            mend="top1 wants scores [samples, classes, ...] and class numbers [samples, ...] in"
            " models/<m>/samples/validation; write a metric of kind python for anything else",
        )
    return float(np.mean(np.argmax(scores, axis=1) == labels))


def metric(settings: Mapping[str, Any], folder: Path) -> Metric | None:
    """The metric that params.yaml names; None for kind `none`.

    Args:
        settings: `models.<m>.metric`.
        folder: where the user's entry lies.

    Raises:
        MetricError: the user's entry cannot be loaded.
    """
    if settings["kind"] == "none":
        return None
    if settings["kind"] == "top1":
        return top1
    try:
        function: Metric = plugins.entry(folder, settings["entry"])
    except Exception as error:
        msg = f"metric {folder.as_posix()}/{settings['entry']}: {type(error).__name__}: {error}"
        raise errors.MetricError(msg, mend=_MEND) from error
    return function


_MEND = "make the entry a function (output, labels) -> float, where higher is better"


def measure(
    function: Metric, name: str, reference: Array, engine: Array, labels: Array
) -> dict[str, Any]:
    """{"name", "reference", "engine", "drop"}: the exported model's figure and the engine's.

    Raises:
        MetricError: the user's function fails or gives no finite number.
    """
    figures = []
    for output in (reference, engine):
        try:
            figure = float(function(output, labels))
        except errors.MetricError:
            raise
        except Exception as error:
            msg = f"metric {name} failed: {type(error).__name__}: {error}"
            raise errors.MetricError(msg, mend=_MEND) from error
        if not np.isfinite(figure):
            msg = f"metric {name} gave {figure}"
            raise errors.MetricError(msg, mend=_MEND)
        figures.append(round(figure, 6))
    return {
        "name": name,
        "reference": figures[0],
        "engine": figures[1],
        "drop": round(figures[0] - figures[1], 6),
    }
