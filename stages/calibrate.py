# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Histograms -> one calibration cache for each range method, in TensorRT's text format."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from stages.calibration import methods, observations
from stages.lib import caches, console, facts, files, layout, params, pins

if TYPE_CHECKING:
    from collections.abc import Mapping

# Names that TensorRT gives its calibrators in a cache's header.
_ALGORITHMS = {
    "entropy": "EntropyCalibration2",
    "minmax": "MinMaxCalibration",
    "percentile": "LegacyCalibration",
}


def main(model: str) -> None:
    """Compute the ranges of `models.<model>` by every method."""
    document = params.load()
    versions = pins.toolchain(document, "calibrate")
    settings = document.param(f"models.{model}.calibrate")
    observed = observations.read(layout.observations(model))

    written = []
    for method, algorithm in _ALGORITHMS.items():
        path = layout.cache(model, method)
        scales = _scales(observed, method, settings["percentile"])
        cache = caches.Cache(version=settings["cache_version"], algorithm=algorithm, scales=scales)
        files.write_bytes(path, caches.render(cache))
        written.append(path)
    # What an engine without ranges depends on: constant, so that new ranges do not touch it.
    files.write_bytes(layout.cache(model, "none"), b"no ranges\n")

    facts.write(
        "calibrate",
        model,
        inputs=[layout.observations(model)],
        outputs=[*written, layout.cache(model, "none")],
        params={f"models.{model}.calibrate": settings},
        versions=versions,
        details={
            "samples": int(observed["samples"]),
            "tensors": len(observed["names"]),
            "without_range": [
                str(name)
                for name, top in zip(observed["names"], observed["maxima"], strict=True)
                if not top or math.isinf(top)
            ],
        },
    )
    console.say(
        f"calibrate {model}: {', '.join(path.name for path in written)}"
        f" for {len(observed['names'])} tensors"
    )


def _scales(observed: Mapping[str, Any], method: str, percent: float) -> dict[str, float]:
    scales = {}
    for index, name in enumerate(observed["names"]):
        counts, maximum = observed["counts"][index], float(observed["maxima"][index])
        width = math.ldexp(1.0, int(observed["exponents"][index])) / int(observed["bins"])
        scales[str(name)] = _range(counts, width, maximum, method, percent) / methods.LEVELS
    return scales


def _range(counts: Any, width: float, maximum: float, method: str, percent: float) -> float:
    if maximum == 0.0 or math.isinf(maximum):
        return 0.0  # no range fits: `precision` leaves what needs one in floating point
    if method == "minmax":
        return methods.minmax(maximum, len(counts))
    if method == "percentile":
        return methods.percentile(counts, width, maximum, percent)
    return methods.entropy(counts, width)


if __name__ == "__main__":
    console.run("calibrate", main, "model")
