# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Strongly typed graph -> serialized engine, by the backend that the engine names.

The builder's messages go to .logs/build-<engine>.log, which is there after a failure too.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from stages.backends.build_api import Order
from stages.lib import console, errors, facts, files, layout, params, pins, plugins

if TYPE_CHECKING:
    from stages.backends.build_api import BuildBackend, Engine


def main(engine: str) -> None:
    """Build `engines.<engine>`."""
    document = params.load()
    backend = document.param(f"engines.{engine}.backend")
    versions = pins.toolchain(document, backend)
    profile = document.param(f"engines.{engine}.profile")
    order = Order(
        # Relative, so that no plan depends on where the project lies.
        graph=files.need(layout.typed(engine) / layout.GRAPH_FILE),
        precision=document.param(f"engines.{engine}.precision"),
        profiles=document.param(f"profiles.{profile}"),
        builder=document.param(f"engines.{engine}.builder"),
    )
    built = _build(plugins.load("stages.backends", f"{backend}.build"), order, engine)

    plan = layout.plan(engine)
    with files.writing(plan) as temporary:
        temporary.write_bytes(built.plan)
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
            "command": built.command,
            "inputs": built.inputs,
            "layers": built.layers,
            "outputs": built.outputs,
            "plan": {"bytes": len(built.plan), "sha256": files.sha256(plan)},
            "profiles": built.profiles,
        },
    )
    console.say(
        f"build {engine}: {built.layers} layers -> {plan}; {len(built.plan) / 2**20:.2f} MiB"
    )


def _build(backend: BuildBackend, order: Order, engine: str) -> Engine:
    """Parse and build in a thread of its own: its allocations have no history in this process."""
    path = layout.log("build", engine)
    with files.storage_errors(path):
        path.parent.mkdir(exist_ok=True)
        stream = path.open("wb", buffering=0)
    with stream:

        def log(line: str) -> None:
            # Called from C++, which no exception may reach: a full disk costs log lines only.
            with contextlib.suppress(OSError):
                stream.write(f"{line}\n".encode())

        try:
            with console.elapsing(f"build {engine}"), ThreadPoolExecutor(max_workers=1) as pool:
                return pool.submit(backend.build, order, log).result()
        except (errors.BuildError, errors.GraphError, errors.UnsupportedError) as error:
            mend = f"{error.mend}; all messages are in {path}"
            raise type(error)(error.what, mend=mend) from None


if __name__ == "__main__":
    console.run("build", main, "engine")
