# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Precision auto from params to documents: what the stage calls when an engine asks for it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.lib import errors, files, samples
from stages.quantization import auto, compute, decision, latency, picture
from stages.quantization.trials import Trials

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import onnx_ir as ir

    from stages.quantization.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Task:
    """What params.yaml and the layout say about one search.

    Attributes:
        engine, auto, method, overrides: the engine's name and keys.
        inputs, metric, batch, threads: of its model; `batch` samples are run at once.
        samples, metric_folder, latency: folders of its model.
    """

    engine: str
    auto: Mapping[str, Any]
    method: str
    overrides: list[Mapping[str, str]]
    inputs: Mapping[str, Any]
    metric: Mapping[str, Any]
    batch: int
    threads: int
    samples: Path
    metric_folder: Path
    latency: Path


def search(model: ir.Model, base: Recipe, task: Task) -> tuple[Recipe, dict[str, bytes]]:
    """Find the recipe that meets the budget.

    Args:
        model: the clean graph; never changed.
        base: the engine's recipe; its precision does not matter.
        task: what to search for, and where the samples lie.

    Returns:
        The recipe, and the search's documents by file name.

    Raises:
        BudgetError: no rung of the ladder meets the budget.
        ArtifactError: the latency table is not there, or lacks a candidate.
        SamplesError, MetricError: the calibration samples, or the metric on them.
    """
    asked = task.metric if task.auto["budget"]["max_accuracy_drop"] is not None else None
    split = samples.Split(
        folder=task.samples, inputs=task.inputs, labels=asked["labels"] if asked else None
    )
    with files.scratch() as scratch:
        trials = Trials(
            scratch,
            split,
            batch=task.batch,
            threads=task.threads,
            metric=asked,
            folder=task.metric_folder,
        )
        work = auto.Auto(
            model,
            dataclasses.replace(base, precision="int8"),
            task.auto,
            _costs(model, base, task),
            trials,
        )
        found = work.run()
    point = found.outcome.point
    if point is None or not found.met:
        raise _unreachable(found, task)
    described = {
        "engine": task.engine,
        "method": task.method,
        "overrides": task.overrides,
        "remainder": base.remainder,
        "samples": trials.count,
        "ops": {node.name or "": node.op_type for node in model.graph},
        "work": compute.macs(model, base.sizes),
    }
    return work.recipe(point.setting), _documents(found, task, described)


def _documents(found: auto.Found, task: Task, described: Mapping[str, Any]) -> dict[str, bytes]:
    path = decision.path(found)
    return {
        "decision.json": files.canonical_json(decision.document(found, task.auto, described)),
        "path.json": files.canonical_json(path),
        "path.svg": picture.draw(task.engine, task.auto["budget"], path),
    }


def _costs(model: ir.Model, base: Recipe, task: Task) -> Mapping[str, Mapping[str, float]]:
    if task.auto["objective"] == "estimate":
        return compute.estimate(model, base.sizes)
    return latency.read(task.latency / task.auto["objective"])


def _unreachable(found: auto.Found, task: Task) -> errors.BudgetError:
    asked = ", ".join(f"{n} {v}" for n, v in task.auto["budget"].items() if v is not None)
    told = "\n".join(f"  {row['rung']}: {row['reason']}" for row in found.outcome.reasons)
    msg = (
        f"the budget of engines.{task.engine}.auto ({asked}) cannot be met on the calibration"
        f" samples\nclosest: {decision.closest(found)}\n{told}"
    )
    where = f"engines.{task.engine}.auto"
    mend = f"loosen {where}.budget, or add a rung to {where}.ladder (fp32 changes no output)"
    return errors.BudgetError(msg, mend=mend)
