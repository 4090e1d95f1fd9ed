# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Histograms -> one calibration cache for each range method, in TensorRT's text format.

The data is not read again: observations.npz holds all that the methods need. `imported` is a cache
from elsewhere, and ranges.json says what the text format has no room for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.calibration import foreign, methods, observations, ranges
from stages.lib import caches, console, errors, facts, files, layout, params, pins

if TYPE_CHECKING:
    from collections.abc import Mapping

# Names that TensorRT gives its calibrators in a cache's header; the others' are params.
_ALGORITHMS = {"entropy": "EntropyCalibration2", "minmax": "MinMaxCalibration"}
# What an engine without ranges depends on: constant, so that new ranges do not touch it.
_NO_RANGES = b"no ranges\n"


def main(model: str) -> None:
    """Compute the ranges of `models.<model>` by every method."""
    document = params.load()
    versions = pins.toolchain(document, "calibrate")
    settings = document.param(f"models.{model}.calibrate")
    observed = observations.read(layout.observations(model))
    seen = int(observed["samples"])
    if not seen:
        _refuse_import(model, settings["import"])
    found = ranges.tensors(observed)

    computed = ranges.compute(found, settings["percentile"])
    algorithms = {**_ALGORITHMS, **settings["algorithms"]}
    for method, limits in computed.items():
        scales = {name: limit / methods.LEVELS for name, limit in limits.items()}
        _write(model, method, settings["cache_version"], algorithms[method], scales)
    imported = _import(model, settings, found, observed)
    if imported is None:
        files.write_bytes(layout.cache(model, "imported"), _NO_RANGES)
    else:
        computed["imported"] = foreign.ranges(imported[0])
    files.write_bytes(layout.cache(model, "none"), _NO_RANGES)
    told = imported[1] if imported else None
    files.write_json(layout.ranges(model), ranges.document(model, observed, found, computed, told))

    caches_written = [
        layout.cache(model, method) for method in (*ranges.METHODS, "imported", "none")
    ]
    facts.write(
        "calibrate",
        model,
        inputs=[layout.observations(model), layout.caches(model)],
        outputs=[*caches_written, layout.ranges(model)],
        params={f"models.{model}.calibrate": settings},
        versions=versions,
        details={
            "samples": seen,
            "tensors": len(found),
            "without_range": [one.name for one in found if not computed["minmax"][one.name]],
            "imported": told,
        },
    )
    made = f"{', '.join(computed)} for {len(found)} tensors"
    console.say(f"calibrate {model}: {made if seen else 'no ranges, as nothing was observed'}")


def _refuse_import(model: str, name: str | None) -> None:
    """What a cache from elsewhere must cover is read from the observations."""
    if name is not None:
        msg = (
            f"nothing was observed of {model} ({layout.facts('observe', model)} says why): whether"
            f" {name} fits the graph cannot be known"
        )
        mend = f"write null at models.{model}.calibrate.import in params.yaml"
        raise errors.CalibrationError(msg, mend=mend)


def _write(
    model: str, method: str, version: int, algorithm: str, scales: Mapping[str, float]
) -> None:
    cache = caches.Cache(version=version, algorithm=algorithm, scales=scales)
    files.write_bytes(layout.cache(model, method), caches.render(cache))


def _import(
    model: str, settings: Mapping[str, Any], found: list[ranges.Tensor], observed: Mapping[str, Any]
) -> tuple[dict[str, float], dict[str, Any]] | None:
    """Take the cache that params name, if any, under our version: TensorRT refuses another's."""
    if settings["import"] is None:
        return None
    path = layout.caches(model) / settings["import"]
    cache = foreign.read(path)
    scales, told = foreign.fit(cache, found, observed["names"].tolist(), path)
    _write(model, "imported", settings["cache_version"], cache.algorithm, scales)
    return scales, told


if __name__ == "__main__":
    console.run("calibrate", main, "model")
