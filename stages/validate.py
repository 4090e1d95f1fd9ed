# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Measures an engine's graph and plan against the exported model; judges nothing.

The measurements, numbered as in the report:

1. interface: inputs and outputs of the typed graph are those of the exported one.
2. plan-header: magic and version of the plan are those of the pin.
3. numerics: error of the typed graph against the exported one on the validation samples.
4. task-metric: the task metric of both on the validation samples.
5. coverage: share of validation activations outside the calibrated ranges.
6. device: the plan on a GPU; never run by a stage, whose result must not depend on the machine.
7. precision: what the typed graph computes in, as the parser takes it; not as compiled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stages.backends import emulation, fusion, task
from stages.backends.onnxruntime import run as onnxruntime
from stages.checks import card, coverage, interface, numerics, plan_header
from stages.lib import console, facts, files, graphs, layout, params, pins, samples
from stages.quantization import reading

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NO_METRIC = "models.<m>.metric.kind is none"


def main(engine: str) -> None:
    """Measure `engines.<engine>`."""
    document = params.load()
    versions = pins.toolchain(document, "validate")
    used = _params(document, engine)
    own = params.short(used)
    model, backend = own["model"], own["backend"]
    packages = document.param(f"toolchain.{backend}.packages")
    plan, folder = files.need(layout.plan(engine)), layout.samples(model, "validation")
    split = samples.Split(folder=folder, inputs=own["inputs"], labels=own["metric"]["labels"])

    report = {
        "schema_version": 1,
        "engine": engine,
        "model": model,
        "precision": own["precision"],
        "backend": backend,
        "measurements": _measurements(engine, own, split, packages),
        "plan": {"sha256": files.sha256(plan), "bytes": plan.stat().st_size},
    }
    files.write_json(layout.report(engine), report)
    figures = _headline(report)
    files.write_json(layout.metrics(engine), figures)
    files.write_bytes(layout.card(engine), card.draw(engine, own["precision"], figures))

    facts.write(
        "validate",
        engine,
        inputs=[plan, layout.exported(model), layout.typed(engine), folder, layout.metric(model)],
        outputs=[layout.report(engine), layout.metrics(engine), layout.card(engine)],
        params=used,
        versions=versions,
        details={},
    )
    console.say(f"validate {engine}: {split.count()} samples -> {layout.report(engine)}")


def _params(document: params.Params, engine: str) -> dict[str, Any]:
    """What the report is made from of params.yaml, by key; the backend's pin is but compared."""
    model = document.param(f"engines.{engine}.model")
    profile = document.param(f"engines.{engine}.profile")
    return {
        f"engines.{engine}.backend": document.param(f"engines.{engine}.backend"),
        f"engines.{engine}.model": model,
        f"engines.{engine}.precision": document.param(f"engines.{engine}.precision"),
        f"engines.{engine}.profile": profile,
        f"engines.{engine}.validation_batch": document.param(f"engines.{engine}.validation_batch"),
        f"models.{model}.inputs": document.param(f"models.{model}.inputs"),
        f"models.{model}.metric": document.param(f"models.{model}.metric"),
        f"models.{model}.threads": document.param(f"models.{model}.threads"),
        f"profiles.{profile}": document.param(f"profiles.{profile}"),
    }


def _measurements(
    engine: str, own: Mapping[str, Any], split: samples.Split, packages: Mapping[str, str]
) -> list[dict[str, Any]]:
    """All of them, in order; `own` as `params.short` gives it."""
    typed, exported = layout.typed(engine), layout.exported(own["model"])
    precision, size, threads = own["precision"], own["validation_batch"], own["threads"]
    source, graph = graphs.load(exported), graphs.load(typed)
    faces, arithmetic = interface.measure(source, graph), emulation.describe(precision, graph)
    with files.scratch() as temporary:
        emulated = temporary / "emulated"
        emulation.emulate(graph)
        graphs.save(graph, emulated)
        unseen = onnxruntime.lacking(emulated / layout.GRAPH_FILE, graph, threads=threads)
        lacking = unseen or onnxruntime.lacking(
            exported / layout.GRAPH_FILE, source, threads=threads
        )
        numbers = (
            _uncompared(own["metric"], lacking)
            if lacking
            else _compare(exported, emulated, arithmetic, split, own)
        )
    header = plan_header.measure(layout.plan(engine), own["backend"], packages)
    sizes = reading.sizes(own["inputs"], own["shapes"])
    return [
        _entry(1, "interface", faces),
        _entry(2, "plan-header", header),
        *numbers,
        _cover(typed, split, size, threads, unseen),
        _not_run(6, "device", f"no stage uses a GPU: `python -m stages.device {engine}`"),
        _entry(7, "precision", _read_back(typed, precision, own["backend"], sizes, unseen)),
    ]


def _entry(number: int, name: str, value: Any, otherwise: str | None = None) -> dict[str, Any]:
    state = "not applicable" if value is None else "measured"
    reason = otherwise if value is None else None
    return {"number": number, "name": name, "state": state, "reason": reason, "value": value}


def _not_run(number: int, name: str, reason: str) -> dict[str, Any]:
    return {"number": number, "name": name, "state": "not run", "reason": reason, "value": None}


def _uncompared(metric: Mapping[str, Any], lacking: str) -> list[dict[str, Any]]:
    """Measurements 3 and 4 of a model that only TensorRT can run."""
    judged = _entry(4, "task-metric", None, _NO_METRIC)
    if metric["kind"] != "none":
        judged = _not_run(4, "task-metric", lacking)
    return [_not_run(3, "numerics", lacking), judged]


def _compare(
    exported: Path, emulated: Path, arithmetic: str, split: samples.Split, own: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Errors by output, and the task metric of both graphs if there is one; one pass for both."""
    metric, size, threads = own["metric"], own["validation_batch"], own["threads"]
    function = task.metric(metric, layout.metric(own["model"]))
    judged: tuple[list[Any], list[Any]] = ([], [])

    def collect(reference: numerics.Arrays, candidate: numerics.Arrays) -> None:
        if function is not None:
            judged[0].append(reference[metric["output"]])
            judged[1].append(candidate[metric["output"]])

    total = -(-split.count() // split.batch(size))
    found = numerics.compare(
        onnxruntime.runner(exported / layout.GRAPH_FILE, threads=threads, name="exported"),
        onnxruntime.runner(emulated / layout.GRAPH_FILE, threads=threads, name="typed"),
        console.progress(split.feeds(size), total=total, unit="batch", label="validate"),
        collect,
    )
    numeric = {"arithmetic": arithmetic, "samples": split.count(), "outputs": found}
    measured = None
    if function is not None:
        labels = np.concatenate([batch[metric["labels"]] for batch in split.batches(size)])
        reference, candidate = (np.concatenate(arrays) for arrays in judged)
        name = metric["entry"] or metric["kind"]
        measured = task.measure(function, name, reference, candidate, labels)
    return [_entry(3, "numerics", numeric), _entry(4, "task-metric", measured, _NO_METRIC)]


def _cover(
    typed: Path, split: samples.Split, size: int, threads: int, unseen: str
) -> dict[str, Any]:
    graph = graphs.load(typed)
    emulation.emulate(graph)
    limits = coverage.open_up(graph)
    if not limits:
        return _entry(5, "coverage", None, "no activation is quantized")
    if unseen:
        return _not_run(5, "coverage", unseen)
    found = coverage.Coverage(limits)
    with files.scratch() as temporary:
        opened = temporary / "opened"
        graphs.save(graph, opened)
        with onnxruntime.runner(
            opened / layout.GRAPH_FILE, threads=threads, name="coverage"
        ) as runner:
            for feeds in split.feeds(size):
                found.add({**feeds, **runner.infer(feeds)})
    return _entry(5, "coverage", found.result())


def _read_back(
    typed: Path, asked: str, backend: str, sizes: dict[str, int], unseen: str
) -> dict[str, Any]:
    graph = graphs.load(typed)
    shares = reading.shares(graph, sizes)
    notes = fusion.notes(backend, shares["ops"])
    if unseen and "fp16" in shares["layers"]:
        notes.append(f"whether FP16 overflows is not known: {unseen}")
    return {
        "source": "typed graph",
        "asked": asked,
        "layers": shares["layers"],
        "compute": shares["compute"],
        "kept": reading.kept(graph.graph),
        "notes": notes,
    }


def _headline(report: dict[str, Any]) -> dict[str, Any]:
    """The few figures that `dvc metrics` shows; null where there is none."""
    values = {entry["name"]: entry["value"] for entry in report["measurements"]}
    numeric, metric = values["numerics"], values["task-metric"]
    outputs = numeric["outputs"].values() if numeric else ()
    sqnr = [figures["sqnr_db"] for figures in outputs if not figures["identical"]]
    return {
        "accuracy": metric["engine"] if metric else None,
        "accuracy_drop": metric["drop"] if metric else None,
        # None too where an output overflowed: another one's figure must not hide that.
        "sqnr_db": round(min(sqnr), 2) if sqnr and None not in sqnr else None,
        "identical": all(figures["identical"] for figures in outputs) if numeric else None,
        "plan_kib": round(report["plan"]["bytes"] / 1024, 1),
    }


if __name__ == "__main__":
    console.run("validate", main, "engine")
