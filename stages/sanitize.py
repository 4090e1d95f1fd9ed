# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Exported graph -> clean graph, by passes in the declared order, proven on the probe samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.backends.onnxruntime import run as onnxruntime
from stages.lib import console, facts, files, graphs, layout, params, pins, samples
from stages.passes import proof, sequence

if TYPE_CHECKING:
    from pathlib import Path


def main(model: str) -> None:
    """Clean the graph of `models.<model>`."""
    document = params.load()
    versions = pins.toolchain(document, "sanitize")
    settings = document.param(f"models.{model}.sanitize")
    inputs = document.param(f"models.{model}.inputs")
    threads = document.param(f"models.{model}.threads")
    probe = samples.Split(folder=layout.samples(model, "probe"), inputs=inputs)
    exported, clean = layout.exported(model), layout.clean(model)

    with files.writing(clean) as temporary:
        graph, changes = sequence.run(
            graphs.load(exported),
            settings["passes"],
            fold_limit_bytes=settings["fold_limit_kib"] << 10,
            user=layout.rewrites(model),
        )
        graphs.save(graph, temporary)
        proof.same_interface(graphs.load(exported), graphs.load(temporary))
        proven = _prove(exported, temporary, probe, settings, threads)

    facts.write(
        "sanitize",
        model,
        inputs=[exported, probe.folder, layout.rewrites(model)],
        outputs=[clean],
        params={
            f"models.{model}.inputs": inputs,
            f"models.{model}.sanitize": settings,
            f"models.{model}.threads": threads,
        },
        versions=versions,
        # Figures are shown and not recorded: a processor's own kernels decide their last digits.
        details={"passes": changes, "proof": {"state": "passed", "samples": proven["samples"]}},
    )
    same = "identical" if proven["identical"] else f"within {proven['max_abs']:.2g}"
    console.say(f"sanitize {model}: {len(changes)} passes -> {clean}; outputs {same}")


def _prove(
    exported: Path, clean: Path, probe: samples.Split, settings: dict[str, Any], threads: int
) -> dict[str, Any]:
    with (
        onnxruntime.runner(
            exported / layout.GRAPH_FILE, threads=threads, name="exported"
        ) as before,
        onnxruntime.runner(clean / layout.GRAPH_FILE, threads=threads, name="clean") as after,
    ):
        return proof.same_outputs(
            before.infer,
            after.infer,
            probe.feeds(probe.count()),
            atol=settings["atol"],
            rtol=settings["rtol"],
        )


if __name__ == "__main__":
    console.run("sanitize", main, "model")
