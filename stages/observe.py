# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The one data pass: calibration samples -> histograms and per-channel maxima of activations."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.backends.onnxruntime import run as onnxruntime
from stages.calibration import observations, tap
from stages.calibration.histogram import Histogram
from stages.lib import console, errors, facts, graphs, layout, params, pins, samples

if TYPE_CHECKING:
    from collections.abc import Mapping


def main(model: str) -> None:
    """Observe the clean graph of `models.<model>` on its calibration samples."""
    document = params.load()
    versions = pins.toolchain(document, "observe")
    settings = document.param(f"models.{model}.observe")
    inputs = document.param(f"models.{model}.inputs")
    threads = document.param(f"models.{model}.threads")
    calibration = samples.Split(folder=layout.samples(model, "calibration"), inputs=inputs)

    arrays = _observe(layout.clean(model), calibration, settings, threads)
    observations.write(layout.observations(model), arrays)

    facts.write(
        "observe",
        model,
        inputs=[layout.clean(model), calibration.folder],
        outputs=[layout.observations(model)],
        params={
            f"models.{model}.inputs": inputs,
            f"models.{model}.observe": settings,
            f"models.{model}.threads": threads,
        },
        versions=versions,
        details={"samples": int(arrays["samples"]), "tensors": len(arrays["names"])},
    )
    console.say(
        f"observe {model}: {arrays['samples']} samples, {len(arrays['names'])} tensors"
        f" -> {layout.observations(model)}"
    )


def _observe(
    clean: Path, calibration: samples.Split, settings: Mapping[str, int], threads: int
) -> dict[str, Any]:
    graph = graphs.load(clean)
    names = tap.open_up(graph)
    histograms = {name: Histogram(settings["bins"]) for name in names}
    channels: dict[str, Any] = {}
    ranks: dict[str, int] = {}
    total, seen = calibration.count(), 0
    with tempfile.TemporaryDirectory() as folder:
        opened = Path(folder) / "opened"
        graphs.save(graph, opened)
        with onnxruntime.runner(
            opened / layout.GRAPH_FILE, threads=threads, name="observe"
        ) as runner:
            step = calibration.batch(settings["batch"])
            feeds = calibration.feeds(settings["batch"])
            for batch in console.progress(
                feeds, total=-(-total // step), unit="batch", label="observe"
            ):
                results = runner.infer(batch)
                for name in names:
                    values = batch[name] if name in batch else results[name]
                    _refuse_nan(name, values, seen)
                    histograms[name].add(values)
                    maxima = observations.channel_maxima(values)
                    channels[name] = np.maximum(channels.get(name, maxima), maxima)
                    ranks[name] = values.ndim
                seen += len(next(iter(batch.values())))
    return observations.pack(histograms, channels, ranks, bins=settings["bins"], samples=seen)


def _refuse_nan(name: str, values: np.ndarray[Any, Any], seen: int) -> None:
    """Infinity has its uses (a mask before a softmax) and is recorded; NaN has none."""
    if not np.isnan(values).any():
        return
    samples_with = np.isnan(values).reshape(len(values) if values.ndim else 1, -1).any(axis=1)
    msg = (
        f"activation {name!r} is NaN on calibration sample {seen + int(np.argmax(samples_with))}:"
        " no range can hold it"
    )
    raise errors.CalibrationError(
        msg, mend="look at that sample, and at the model's arithmetic on it; then run again"
    )


if __name__ == "__main__":
    console.run("observe", main, "model")
