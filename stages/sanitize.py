# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Exported graph -> clean graph, by passes in the declared order, proven on the probe samples.

A pass that fails, or changes what the graph computes, is undone and told; the run goes on. What
TensorRT refuses of the clean graph is told at once, with its place in the source model.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib import (
    confined,
    console,
    custom_ops,
    errors,
    facts,
    files,
    graphs,
    layout,
    params,
    pins,
    samples,
)
from stages.passes import advice, blockers, places, sequence
from stages.passes.api import Context
from stages.passes.proof import Proof

if TYPE_CHECKING:
    import onnx_ir as ir


def main(model: str) -> None:
    """Clean the graph of `models.<model>`."""
    document = params.load()
    versions = pins.toolchain(document, "sanitize", "tensorrt_rtx.packages")
    settings = document.param(f"models.{model}.sanitize")
    inputs = document.param(f"models.{model}.inputs")
    threads = document.param(f"models.{model}.threads")
    limits = document.param(f"models.{model}.limits")
    probe = samples.Split(folder=layout.samples(model, "probe"), inputs=inputs)
    exported, clean = layout.exported(model), layout.clean(model)

    with files.writing(clean) as temporary:

        def work() -> tuple[dict[str, Any], str]:
            proof = _proof(exported, temporary, probe, settings, threads)
            details = _clean(graphs.load(exported), settings, layout.rewrites(model), proof)
            return details, _outcome(proof)

        what, key = exported.as_posix(), f"models.{model}.limits"
        label = f"sanitize {model}"
        details, outcome = confined.run(work, limits, what=what, key=key, label=label)
    details["refused"] = _refused(exported, clean, limits, key)

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
        details=details,
        code_elsewhere=[Path("stages/backends/tensorrt_rtx/parse.py")],
    )
    _tell(label, details, outcome, clean)


def _clean(
    graph: ir.Model, settings: dict[str, Any], rewrites: Path, proof: Proof
) -> dict[str, Any]:
    """Run the passes, write the result where `proof` says, and return what to record."""
    context = Context(fold_limit_bytes=settings["fold_limit_kib"] << 10, opset=settings["opset"])
    proof.begin(graph)
    made, changes = sequence.run(
        graph, settings["passes"], context=context, user=rewrites, prove=proof
    )
    proof.write(made)
    return {
        "passes": changes,
        "custom_ops": custom_ops.find(made),
        "proof": proof.told(),
    }


def _proof(
    exported: Path, clean: Path, probe: samples.Split, settings: dict[str, Any], threads: int
) -> Proof:
    return Proof(
        exported=exported,
        clean=clean,
        batches=lambda: probe.feeds(probe.count()),
        threads=threads,
        atol=settings["atol"],
        rtol=settings["rtol"],
        limit_bytes=settings["memory_mib"] << 20,
    )


def _refused(exported: Path, clean: Path, limits: dict[str, int], key: str) -> dict[str, Any]:
    """What TensorRT-RTX's parser refuses; asked in a process that may crash without harm."""

    def work() -> list[dict[str, Any]]:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the parser prints types that it lacks
        with files.scratch() as folder:
            model = graphs.load(clean)
            found = blockers.find(model, folder)
            origins = places.Places(graphs.load(exported), model)
            return [{**one, "place": origins.of(one["name"])} for one in found]

    try:
        what, label = clean.as_posix(), "parse by TensorRT-RTX"
        return {"known": True, "nodes": confined.run(work, limits, what=what, key=key, label=label)}
    except (errors.LimitError, errors.SourceModelError) as error:
        return {"known": False, "nodes": [], "why": error.what}


def _outcome(proof: Proof) -> str:
    if proof.unproven is not None:
        return f"not proven: {proof.unproven}"
    return "outputs identical" if proof.worst is None else f"outputs within {proof.worst:.2g}"


def _tell(title: str, details: dict[str, Any], outcome: str, clean: Path) -> None:
    undone = [change for change in details["passes"] if "undone" in change]
    for change in undone:
        console.say(f"{title}: pass {change['pass']} undone: {change['undone']}")
    for op, names in details["custom_ops"].items():
        console.say(f"{title}: {op} is no op of ONNX, passed through: {', '.join(names)}")
    for line in advice.lines(details["refused"]):
        console.say(f"{title}: {line}")
    kept = len(details["passes"]) - len(undone)
    console.say(f"{title}: {kept} passes -> {clean}; {outcome}")


if __name__ == "__main__":
    console.run("sanitize", main, "model")
