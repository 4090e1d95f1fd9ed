# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The one data pass: calibration samples -> histograms and per-channel maxima of activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stages.backends.onnxruntime import run as onnxruntime
from stages.calibration import observations, tap
from stages.calibration.histogram import Histogram
from stages.lib import console, errors, facts, files, graphs, layout, params, pins, samples

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


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
    axes = tap.open_up(graph)
    histograms = {name: Histogram(settings["bins"]) for name in axes}
    channels: dict[str, Any] = {}
    step, seen = calibration.batch(settings["batch"]), 0
    batches = -(-calibration.count() // step)
    with files.scratch() as folder:
        opened = folder / "opened"
        graphs.save(graph, opened)
        feeds = console.progress(
            calibration.feeds(step), total=batches, unit="batch", label="observe"
        )
        with onnxruntime.runner(
            opened / layout.GRAPH_FILE, threads=threads, name="observed"
        ) as runner:
            for batch in feeds:
                size = len(next(iter(batch.values())))
                results = {**runner.infer(batch), **batch}
                for name, axis in axes.items():
                    values = results[name]
                    _refuse_nan(name, values, seen, size)
                    histograms[name].add(values)
                    maxima = observations.channel_maxima(values, axis)
                    channels[name] = np.maximum(channels.get(name, maxima), maxima)
                seen += size
    return observations.pack(histograms, channels, axes, bins=settings["bins"], samples=seen)


def _refuse_nan(name: str, values: np.ndarray[Any, Any], seen: int, size: int) -> None:
    """Infinity has its uses (a mask before a softmax) and is recorded; NaN has none."""
    if not np.isnan(values).any():
        return
    where = f"samples {seen} to {seen + size - 1}"
    if values.shape[:1] == (size,):  # else the batch is not its first axis
        samples_with = np.isnan(values).reshape(size, -1).any(axis=1)
        where = f"sample {seen + int(np.argmax(samples_with))}"
    msg = f"activation {name!r} is NaN on calibration {where}: no range can hold it"
    raise errors.CalibrationError(
        msg, mend="look at the data there, and at the model's arithmetic on it; then run again"
    )


if __name__ == "__main__":
    console.run("observe", main, "model")
