# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Strongly typed graph -> serialized engine, by the backend that the engine names.

The builder's messages go to .logs/build-<engine>.log, which is there after a failure too.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from stages.backends import isolation, recordings, reproducibility
from stages.backends.build_api import Order
from stages.lib import console, errors, facts, files, guards, layout, params, pins

if TYPE_CHECKING:
    from pathlib import Path

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
    backend = document.param(f"engines.{engine}.backend")
    versions = pins.toolchain(document, f"{backend}.packages")
    profile = document.param(f"engines.{engine}.profile")
    prove = document.param("build.prove")
    builder = document.param(f"engines.{engine}.builder")
    model = document.param(f"engines.{engine}.model")
    use = recordings.use(engine, model, builder)
    order = Order(
        graph=files.need(layout.typed(engine) / layout.GRAPH_FILE),
        precision=document.param(f"engines.{engine}.precision"),
        profiles=document.param(f"profiles.{profile}"),
        builder=builder,
        timing_cache=use.file(),
    )
    guards.graph(order.graph, document.param(f"toolchain.{backend}.onnx_opset"), backend)
    guards.target(
        engine,
        backend,
        order.builder,
        cuda_runtime=document.param(f"toolchain.{backend}.cuda_runtime"),
        driver_min=document.param(f"toolchain.{backend}.driver_min"),
    )
    plan = layout.plan(engine)
    with files.writing(plan) as temporary, console.elapsing(f"build {engine}"), use.mending():
        built, (proof, differs) = _build(backend, order, engine, temporary, prove=prove)
        guards.plan(temporary, backend, versions, plan.as_posix())
    size, made = plan.stat().st_size, built.engine

    facts.write(
        "build",
        engine,
        inputs=[layout.typed(engine), *use.inputs],
        outputs=[plan],
        params={
            "build.prove": prove,
            f"engines.{engine}.backend": backend,
            f"engines.{engine}.builder": builder,
            f"engines.{engine}.model": model,
            f"engines.{engine}.precision": order.precision,
            f"engines.{engine}.profile": profile,
            f"profiles.{profile}": order.profiles,
        },
        versions=versions,
        details={
            "backend": backend,
            "command": made.command,
            "compiled": made.compiled,
            "inputs": made.inputs,
            "layers": made.layers,
            "outputs": made.outputs,
            "precisions": made.precisions,
            "plan": {"bytes": size, "sha256": files.sha256(plan)},
            "profiles": made.profiles,
            "timing_cache": made.timing_cache,
            "reproducible": proof,
            "differs": differs,
        },
        code_elsewhere=built.code,
    )
    what = f"{made.layers} layers -> {plan}; {size / 2**20:.2f} MiB; reproducible: {proof}"
    console.say(f"build {engine}: {what}")
    if steps := use.next_steps():
        console.say(steps)
    if differs:
        console.say(_WARNING.format(differs=json.dumps(differs)))


def _build(
    backend: str, order: Order, engine: str, plan: Path, *, prove: bool
) -> tuple[isolation.Built, tuple[str, dict[str, Any] | None]]:
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
