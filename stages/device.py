# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Runs an engine on the GPU: errors against the exported graph, latency, layers.

A command, no stage. Its evidence, evidence/<engine>.device.json, is bound to the plan by SHA-256;
beside it lies a latency table, for `auto`. Without a GPU it says so, exits with a code of its own
and writes nothing.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from stages.backends import gpu, inspector
from stages.lib import (
    console,
    errors,
    files,
    graphs,
    layout,
    mismatch,
    params,
    pins,
    plugins,
    samples,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from stages.backends.run_api import RunBackend
    from stages.lib import machine

    Arrays = Mapping[str, np.ndarray[Any, Any]]
    Profiles = list[Mapping[str, Mapping[str, list[int]]]]

SCHEMA_VERSION = 1
# Recorded beside the pinned backend: what the figures were computed with.
_PACKAGES = ("numpy", "onnxruntime", "polygraphy")


def main(engine: str) -> None:
    """Measure `engines.<engine>` and write the evidence."""
    document = params.load()
    backend = document.param(f"engines.{engine}.backend")
    model = document.param(f"engines.{engine}.model")
    batch = document.param(f"engines.{engine}.validation_batch")
    threads = document.param(f"models.{model}.threads")
    split = samples.Split(
        folder=layout.samples(model, "validation"), inputs=document.param(f"models.{model}.inputs")
    )
    found = gpu.device_info()
    # The plan needs the very version that built it; Python and the rest are recorded, not pinned.
    versions = pins.check(pins.python_minor(), document.param(f"toolchain.{backend}.packages"))
    driver_min = document.param(f"toolchain.{backend}.driver_min")
    mismatch.demand(mismatch.driver(found.driver, driver_min, backend))
    facts, plan = _checked(engine)

    runner = _runner(backend, engine, facts, found)
    profiles: Profiles = facts["details"]["profiles"]
    feeds = list(split.feeds(batch))
    compared, latency, seen = _measure(_reference(model, threads), runner, profiles, feeds)
    about, table = _layers(engine, document, profiles, *seen)

    evidence = {
        "schema_version": SCHEMA_VERSION,
        "engine": engine,
        "backend": backend,
        "plan": plan,
        "measured_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "gpu": vars(found),
        "versions": {**versions, **_installed()},
        "reference": files.digests(layout.exported(model)),
        **compared,
        "latency": {"how": gpu.HOW, "warm_up_s": gpu.WARM_UP_S, "profiles": latency},
        **about,
    }
    files.write_json(layout.device_evidence(engine), evidence)
    median = ", ".join(f"{entry['median_ms']:.3f} ms" for entry in latency)
    where = layout.device_evidence(engine)
    console.say(f"device {engine}: {found.name}, median latency {median} -> {where}")
    inspector.tabulate(engine, document.param("engines"), found.name, table)


def _installed() -> dict[str, str | None]:
    return {"python": pins.python_minor(), **{name: pins.installed(name) for name in _PACKAGES}}


def _runner(backend: str, engine: str, facts: dict[str, Any], found: machine.Gpu) -> Any:
    # Loaded before all else that imports Polygraphy: it tells Polygraphy which TensorRT to use.
    run: RunBackend = plugins.load("stages.backends", f"{backend}.run")
    try:
        return run.runner(layout.plan(engine))
    except errors.DeviceError as error:
        # Asked afterwards: it is the runtime that knows which GPUs a plan runs on.
        builder = facts["params"][f"engines.{engine}.builder"]
        why = mismatch.runs_on(found, builder, layout.plan(engine).as_posix())
        if why is None:
            raise
        raise errors.DeviceError(f"{error.what}\n\n{why.what}", mend=why.mend) from None


def _checked(engine: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The facts of the build, and path and SHA-256 of the plan, if they belong together.

    Raises:
        ArtifactError: one of them is missing, or the facts are of another plan.
    """
    facts: dict[str, Any] = files.read_json(layout.facts("build", engine))
    plan = layout.plan(engine)
    digest = files.sha256(plan)
    if digest != facts["details"]["plan"]["sha256"]:
        msg = f"{plan} is not the plan that the facts beside it describe: its SHA-256 is {digest}"
        mend = f"`dvc checkout --force {plan}`, or `dvc repro --force --single-item build@{engine}`"
        raise errors.ArtifactError(msg, mend=mend)
    return facts, {"path": plan.as_posix(), "sha256": digest}


def fitting(profiles: Profiles, feeds: Arrays) -> int | None:
    """Index of the first profile that allows the shapes of `feeds`, or None."""
    for index, profile in enumerate(profiles):
        if all(
            _within(bounds["min"], feeds[name].shape, bounds["max"])
            for name, bounds in profile.items()
        ):
            return index
    return None


def _within(low: list[int], shape: tuple[int, ...], high: list[int]) -> bool:
    return len(low) == len(shape) and all(
        a <= b <= c for a, b, c in zip(low, shape, high, strict=True)
    )


def _reference(model: str, threads: int) -> Any:
    from stages.backends.onnxruntime import run as onnxruntime

    graph = layout.exported(model) / layout.GRAPH_FILE
    return onnxruntime.runner(graph, threads=threads, name="exported")


def _measure(
    reference: Any, runner: Any, profiles: Profiles, feeds: list[samples.Arrays]
) -> tuple[dict[str, Any], list[dict[str, Any]], tuple[str, dict[str, float]]]:
    from polygraphy.exception import PolygraphyException  # after `_runner`

    try:
        compared = _compare(reference, runner, profiles, feeds)
        with runner:
            latency = list(gpu.latencies(runner, profiles, feeds[0]))
            seen = gpu.layers(runner, gpu.at_opt(profiles[0], feeds[0]))
            return compared, latency, seen
    except PolygraphyException as error:
        msg = f"the plan loaded, and failed when it ran: {error}"
        mend = "look at the messages above, and at the GPU's free memory (`nvidia-smi`)"
        raise errors.DeviceError(msg, mend=mend) from None


def _compare(
    reference: Any, runner: Any, profiles: Profiles, feeds: list[samples.Arrays]
) -> dict[str, Any]:
    """Errors of the outputs over the validation samples, on the profile that allows the batch."""
    from stages.checks import numerics

    index = fitting(profiles, feeds[0])
    if index is None:
        msg = f"no profile of the engine allows its validation batch of {_count(feeds[:1])}"
        raise errors.ParamsError(
            msg, mend="change `validation_batch` or the profile in params.yaml"
        )
    # A last, smaller batch may fit no more; padding it would measure what nobody sent.
    used = [arrays for arrays in feeds if fitting([profiles[index]], arrays) == 0]
    runner.optimization_profile = index
    found = numerics.compare(reference, runner, used, lambda *_: None)
    count = {"used": _count(used), "left_out": _count(feeds) - _count(used)}
    return {
        "samples": {"batch": _count(feeds[:1]), "profile": index, **count},
        "errors": found,
    }


def _count(feeds: Sequence[Arrays]) -> int:
    return sum(len(next(iter(arrays.values()))) for arrays in feeds)


def _layers(
    engine: str, document: params.Params, profiles: Profiles, told: str, times: dict[str, float]
) -> tuple[dict[str, Any], inspector.Table]:
    """Evidence on layers and their times, and the table of times by node, which may be empty."""
    from stages.quantization import compute, reading

    graph = graphs.load(layout.typed(engine))
    inputs = document.param(f"models.{document.param(f'engines.{engine}.model')}.inputs")
    macs = compute.macs(graph, reading.sizes(inputs, profiles))
    precisions = reading.precisions(graph.graph)
    if document.param(f"engines.{engine}.precision") == "tf32":  # which the graph cannot say
        precisions = {name: "tf32" if p == "fp32" else p for name, p in precisions.items()}
    listed = inspector.parse(told)
    table = inspector.table(times, listed, precisions, macs)
    named = sum(sum(row.values()) for row in table.values())
    why = None if table else "no timed layer names nodes" if times else "the profiler reports none"
    evidence = {
        "layers": inspector.summary(listed, macs),
        "layer_times": {
            "how": gpu.HOW_LAYERS,
            "runs": gpu.LAYER_RUNS,
            "total_ms": sum(times.values()),
            "named_ms": named,
            "reason": why,
        },
    }
    return evidence, table


if __name__ == "__main__":
    console.run("device", main, "engine")
