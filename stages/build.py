# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Strongly typed graph -> serialized engine, by the backend that the engine names.

The builder's messages go to .logs/build-<engine>.log, which is there after a failure too.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.backends import isolation, libraries, recordings, reproducibility
from stages.backends.build_api import Order
from stages.lib import console, errors, facts, files, guards, layout, params, pins

if TYPE_CHECKING:
    from stages.backends.build_api import Engine

    Proof = tuple[str, dict[str, Any] | None]

_WARNING = """
A second build of the same graph gave other bytes, so this plan cannot be rebuilt: {differs}
It works all the same; the facts and the manifest say `not reproducible`. "Same bytes" in
ARCHITECTURE.md says what is known to move bytes; please report the graph.
"""

_IN_THE_LOG = (
    errors.ArtifactError,
    errors.BuildError,
    errors.GraphError,
    errors.UnsupportedError,
)


def main(engine: str) -> None:
    """Build `engines.<engine>`."""
    document = params.load()
    used = _params(document, engine)
    own = params.short(used)
    backend, plan = own["backend"], layout.plan(engine)
    versions = pins.toolchain(document, f"{backend}.packages")
    use = recordings.use(engine, own["model"], own["builder"])
    order = Order(
        graph=files.need(layout.typed(engine) / layout.GRAPH_FILE),
        precision=own["precision"],
        profiles=own["shapes"],
        builder=own["builder"],
        timing_cache=use.file(),
        plugins=libraries.named(own["builder"], layout.plugins(own["model"])),
    )
    _guard(document, engine, backend, order)
    with files.writing(plan) as temporary, console.elapsing(f"build {engine}"), use.mending():
        built, proof = _build(backend, order, engine, temporary, prove=own["prove"])
        guards.plan(temporary, backend, versions, plan.as_posix())

    facts.write(
        "build",
        engine,
        inputs=[layout.typed(engine), *use.inputs, *(Path(file) for file, _ in order.plugins)],
        outputs=[plan],
        params=used,
        versions=versions,
        details=_details(backend, built.engine, plan, proof),
        code_elsewhere=built.code,
    )
    _say(engine, built.engine, plan, proof)
    if steps := use.next_steps():
        console.say(steps)


def _params(document: params.Params, engine: str) -> dict[str, Any]:
    """What the plan is made from of params.yaml, by key; the other pins are but compared."""
    profile = document.param(f"engines.{engine}.profile")
    return {
        "build.prove": document.param("build.prove"),
        f"engines.{engine}.backend": document.param(f"engines.{engine}.backend"),
        f"engines.{engine}.builder": document.param(f"engines.{engine}.builder"),
        f"engines.{engine}.model": document.param(f"engines.{engine}.model"),
        f"engines.{engine}.precision": document.param(f"engines.{engine}.precision"),
        f"engines.{engine}.profile": profile,
        f"profiles.{profile}": document.param(f"profiles.{profile}"),
    }


def _guard(document: params.Params, engine: str, backend: str, order: Order) -> None:
    """Stop where the builder would not: at a graph, or a machine, that it is not made for."""
    guards.graph(order.graph, document.param(f"toolchain.{backend}.onnx_opset"), backend)
    guards.target(
        engine,
        backend,
        order.builder,
        cuda_runtime=document.param(f"toolchain.{backend}.cuda_runtime"),
        driver_min=document.param(f"toolchain.{backend}.driver_min"),
    )


def _details(backend: str, made: Engine, plan: Path, proof: Proof) -> dict[str, Any]:
    reproducible, differs = proof
    return {
        "backend": backend,
        "command": made.command,
        "compiled": made.compiled,
        "inputs": made.inputs,
        "layers": made.layers,
        "outputs": made.outputs,
        "precisions": made.precisions,
        "plan": {"bytes": plan.stat().st_size, "sha256": files.sha256(plan)},
        "profiles": made.profiles,
        "timing_cache": made.timing_cache,
        "reproducible": reproducible,
        "differs": differs,
    }


def _say(engine: str, made: Engine, plan: Path, proof: Proof) -> None:
    reproducible, differs = proof
    size = f"{plan.stat().st_size / 2**20:.2f} MiB"
    told = f"{made.layers} layers -> {plan}; {size}; reproducible: {reproducible}"
    console.say(f"build {engine}: {told}")
    if differs:
        console.say(_WARNING.format(differs=json.dumps(differs)))


def _build(
    backend: str, order: Order, engine: str, plan: Path, *, prove: bool
) -> tuple[isolation.Built, Proof]:
    """Build in a child process, with the builder's messages in a log that a failure leaves too."""
    path = layout.log("build", engine)
    with files.storage_errors(path):
        path.parent.mkdir(exist_ok=True)
        stream = path.open("wb", buffering=0)
    with stream:

        def log(line: str) -> None:
            with contextlib.suppress(OSError):  # a full disk costs log lines only
                stream.write(f"{line}\n".encode())

        try:
            built = isolation.build(backend, order, log, plan)
            if not prove or not reproducibility.can_prove(backend):
                return built, (reproducibility.NOT_TRIED, None)
            return built, reproducibility.prove(backend, order, log, plan)
        except _IN_THE_LOG as error:
            mend = f"{error.mend}; all messages are in {path}"
            raise type(error)(error.what, mend=mend) from None


if __name__ == "__main__":
    console.run("build", main, "engine")
