# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Serves packages by a real Triton server on 127.0.0.1, and asks them for validated answers.

A command, no stage: `python -m stages.serve` takes every package that is there, `... <engine>` one.
Packages are served as they are; nothing is written. Exit codes: 0 if all that can be served here
answered as validated, 14 if the engine that was asked for needs a GPU, 41 for any other answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.bundle import integrity, manifest
from stages.lib import console, errors, layout, params
from stages.serving import answers, checking, clients, server

if TYPE_CHECKING:
    from stages.lib.params import Params

_WIDTH = 26  # columns
_NO_GPU = "needs an NVIDIA GPU"  # as the packed runtime.py says it
# The server of the wheel has no TensorRT backend, wherever it runs.
_NO_BACKEND = "unable to find backend library for backend 'tensorrt'"


def main(engine: str | None = None) -> None:
    """Serve one engine's package, or all."""
    document = params.load()
    known = list(document.param("engines"))
    if engine:
        document.param(f"engines.{engine}")
    there = [name for name in known if (layout.package(name) / manifest.FILE).exists()]
    engines = [engine] if engine else there
    told = {name: integrity.check(layout.package(name)) for name in engines}
    if not told:
        msg = "there are no packages"
        raise errors.ArtifactError(msg, mend="`make repro` makes them")
    with server.serving([layout.package(name) for name in engines]) as running:
        with clients.Client(running, "grpc") as client:
            console.say(f"tritonserver {client.version()} on {running.http} and {running.grpc}")
            reasons = {name: client.why_not_ready(name) for name in engines}
        for name in engines:
            serving = told[name]["serving"]
            console.say(f"\n{name}: {serving['answers']}; run on a device: {told[name]['device']}")
            if why := reasons[name]:
                _not_served(told[name], why, alone=engine is not None)
                continue
            _check(document, told[name], running)


def _not_served(told: dict[str, Any], why: str, *, alone: bool) -> None:
    """Without a GPU that is to be expected of a plan, and is no verdict on it."""
    first, engine = why.replace("\\n", "\n").splitlines()[0], told["engine"]
    if _NO_GPU in why or _NO_BACKEND in why:
        console.say(f"  not run: {first}")
        if alone:
            msg = f"{engine} cannot be served here: {first}"
            mend = "serve the package on a machine with an NVIDIA GPU; see its config.pbtxt"
            raise errors.NoDeviceError(msg, mend=mend)
        return
    msg = f"Triton does not load {engine}: {why}"
    raise errors.AnswerError(msg, mend="as it says; the package is what was packed")


def _check(document: Params, told: dict[str, Any], running: server.Server) -> None:
    engine, asked = told["engine"], told["params"][f"engines.{told['engine']}.serving"]
    with clients.Client(running, "grpc") as client:
        size = client.largest(engine)
    served = checking.Served(
        engine=engine,
        largest=size,
        whole=max(b["max"][0] for one in told["profiles"] for b in one.values()),
        batching=asked["dynamic_batching"],
        squeezed=frozenset(
            tensor["name"]
            for tensor in (*told["inputs"], *told["outputs"])
            if size and tensor["shape"] == [-1]
        ),
    )
    expected = answers.make(document, engine, asked["runtime"], batched=size > 0)
    for what, result in checking.run(served, expected, running):
        console.say(f"  {what:{_WIDTH}} {result}")


if __name__ == "__main__":
    console.run("serve", main, "[engine]")
