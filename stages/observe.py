# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The one data pass: calibration samples -> histograms and per-channel extremes of activations."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from stages.backends.onnxruntime import run as onnxruntime
from stages.calibration import observations, tap
from stages.calibration.observer import Observer
from stages.lib import console, facts, files, graphs, layout, observed, params, pins, samples

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import onnx_ir as ir


def main(model: str) -> None:
    """Observe the clean graph of `models.<model>` on its calibration samples."""
    document = params.load()
    versions = pins.toolchain(document, "observe")
    settings = document.param(f"models.{model}.observe")
    inputs = document.param(f"models.{model}.inputs")
    threads = document.param(f"models.{model}.threads")
    calibration = samples.Split(folder=layout.samples(model, "calibration"), inputs=inputs)
    clean = layout.clean(model)

    with ThreadPoolExecutor() as aside:  # a large graph is hashed while it is looked at
        digests = aside.submit(files.digests, clean)
        graph = graphs.load_structure(clean)
        lacking = onnxruntime.lacking(clean / layout.GRAPH_FILE, graph, threads=threads)
        observer = (
            Observer({}, (), bins=settings["bins"], memory=0, threads=1, fixed=False)
            if lacking
            else _observe(graph, clean, calibration, settings, threads)
        )
    arrays = observer.arrays(
        observed.graph_digest(clean, digests.result()), () if lacking else tap.needed(graph)
    )
    notes = _nothing(lacking) if lacking else observer.notes(inputs)
    observations.write(layout.observations(model), arrays)

    facts.write(
        "observe",
        model,
        inputs=[digests.result(), calibration.folder],
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


def _nothing(lacking: str) -> dict[str, Any]:
    return {"notes": [f"nothing was observed: {lacking}"], "infinite": {}}


def _observe(
    graph: ir.Model,
    clean: Path,
    calibration: samples.Split,
    settings: Mapping[str, int],
    threads: int,
) -> Observer:
    """What has seen all samples."""
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
            stream.write(tap.opening(graph))
        with (
            onnxruntime.runner(opened, threads=threads, name="observed") as runner,
            Observer(
                tap.observed(graph),
                tap.ranged(graph),
                bins=settings["bins"],
                memory=settings["memory_mib"] << 20,
                threads=threads,
                fixed=calibration.is_fixed(),
            ) as observer,
        ):
            for batch in feeds:
                observer.observe(batch, runner.infer)
    return observer


if __name__ == "__main__":
    console.run("observe", main, "model")
