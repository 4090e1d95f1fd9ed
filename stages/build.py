# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Strongly typed graph -> serialized engine, by the backend that the engine names.

The builder's messages go to .logs/build-<engine>.log, which is there after a failure too.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from stages.backends import isolation
from stages.backends.build_api import Order
from stages.lib import console, errors, facts, files, layout, params, pins

if TYPE_CHECKING:
    from pathlib import Path


def main(engine: str) -> None:
    """Build `engines.<engine>`."""
    document = params.load()
    backend = document.param(f"engines.{engine}.backend")
    versions = pins.toolchain(document, backend)
    profile = document.param(f"engines.{engine}.profile")
    order = Order(
        graph=files.need(layout.typed(engine) / layout.GRAPH_FILE),
        precision=document.param(f"engines.{engine}.precision"),
        profiles=document.param(f"profiles.{profile}"),
        builder=document.param(f"engines.{engine}.builder"),
    )
    plan = layout.plan(engine)
    with files.writing(plan) as temporary, console.elapsing(f"build {engine}"):
        built = _build(backend, order, engine, temporary)
    size, made = plan.stat().st_size, built.engine

    facts.write(
        "build",
        engine,
        inputs=[layout.typed(engine)],
        outputs=[plan],
        params={
            f"engines.{engine}.backend": backend,
            f"engines.{engine}.builder": order.builder,
            f"engines.{engine}.precision": order.precision,
            f"engines.{engine}.profile": profile,
            f"profiles.{profile}": order.profiles,
        },
        versions=versions,
        details={
            "backend": backend,
            "address_space_arranged": built.arranged,
            "command": made.command,
            "inputs": made.inputs,
            "layers": made.layers,
            "outputs": made.outputs,
            "plan": {"bytes": size, "sha256": files.sha256(plan)},
            "profiles": made.profiles,
        },
        code_elsewhere=built.code,
    )
    console.say(f"build {engine}: {made.layers} layers -> {plan}; {size / 2**20:.2f} MiB")


def _build(backend: str, order: Order, engine: str, plan: Path) -> isolation.Built:
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
            return isolation.build(backend, order, log, plan)
        except (errors.BuildError, errors.GraphError, errors.UnsupportedError) as error:
            mend = f"{error.mend}; all messages are in {path}"
            raise type(error)(error.what, mend=mend) from None


if __name__ == "__main__":
    console.run("build", main, "engine")
