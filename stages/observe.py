# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The one data pass: calibration samples -> histograms and per-channel extremes of activations."""

from __future__ import annotations

import gc
import shutil
from typing import TYPE_CHECKING, Any

from stages.backends.onnxruntime import run as onnxruntime
from stages.calibration import observations, tap
from stages.calibration.observer import Observer
from stages.lib import console, facts, files, graphs, layout, observed, params, pins, samples

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

    arrays, notes = _observe(model, calibration, settings, threads)
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
        details={
            "samples": int(arrays["samples"]),
            "tensors": len(arrays["names"]),
            "histograms": len(arrays["ranged"]),
            **notes,
        },
    )
    for note in notes["notes"]:
        console.say(f"observe {model}: note: {note}")
    console.say(
        f"observe {model}: {arrays['samples']} samples, {len(arrays['names'])} tensors,"
        f" {len(arrays['ranged'])} histograms -> {layout.observations(model)}"
    )


def _look_at(clean: Path, threads: int) -> tuple[str, dict[str, int], set[str], set[str], bytes]:
    graph = graphs.load(clean)
    lacking = onnxruntime.lacking(clean / layout.GRAPH_FILE, graph, threads=threads)
    seen = tap.observed(graph), tap.ranged(graph), tap.needed(graph), tap.opening(graph)
    return lacking, *seen


def _observe(
    model: str, calibration: samples.Split, settings: Mapping[str, int], threads: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays of the file, and what there is to say about them."""
    clean = layout.clean(model)
    lacking, axes, ranged, needed, opening = _look_at(clean, threads)
    if lacking:
        with Observer({}, (), bins=settings["bins"], memory=0, threads=1, fixed=False) as nothing:
            arrays = nothing.arrays(observed.graph_digest(clean), ())
        return arrays, {"notes": [f"nothing was observed: {lacking}"], "infinite": {}}
    gc.collect()  # the graph's parts refer to each other, and its weights would stay
    feeds = console.progress(
        calibration.feeds(settings["batch"]),
        total=calibration.estimate(settings["batch"]),
        unit="batch",
        label="observe",
    )
    with files.scratch() as folder:
        for file in clean.iterdir():
            shutil.copyfile(file, folder / file.name)
        opened = folder / layout.GRAPH_FILE
        with opened.open("ab") as stream:
            stream.write(opening)
        with (
            onnxruntime.runner(opened, threads=threads, name="observed") as runner,
            Observer(
                axes,
                ranged,
                bins=settings["bins"],
                memory=settings["memory_mib"] << 20,
                threads=threads,
                fixed=calibration.is_fixed(),
            ) as observer,
        ):
            for batch in feeds:
                observer.observe(batch, runner.infer)
    return observer.arrays(observed.graph_digest(clean), needed), observer.notes(calibration.inputs)


if __name__ == "__main__":
    console.run("observe", main, "model")
