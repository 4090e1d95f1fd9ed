# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Clean graph -> strongly typed graph: the precision of an engine lives in its graph.

fp32 and tf32 keep the graph (TF32 is a builder flag); fp16 and bf16 get casts; int8 and fp8 get
Q/DQ fed with the calibration cache that the engine names, and casts for what they leave over.
auto becomes one of these by a search on the calibration samples. Inputs and outputs stay as they
are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.backends import fusion
from stages.lib import (
    caches,
    console,
    custom_ops,
    errors,
    facts,
    files,
    graphs,
    layout,
    observed,
    params,
    pins,
)
from stages.quantization import attention, decision, overrides, reading
from stages.quantization.recipe import Recipe, apply

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import onnx_ir as ir


def main(engine: str) -> None:
    """Write the typed graph of `engines.<engine>`."""
    document = params.load()
    versions = pins.toolchain(document, "precision")
    used = _params(document, engine)
    model = used[f"engines.{engine}.model"]
    cache = layout.cache(model, used[f"engines.{engine}.method"])
    seen, typed = layout.observations(model), layout.typed(engine)

    graph = graphs.load(layout.clean(model))
    recipe = _recipe(graph, engine, used)
    documents, read = decision.unsearched(engine, recipe.precision), []
    if used[f"engines.{engine}.auto"] is not None:
        read = [layout.samples(model, "calibration"), layout.metric(model), layout.latency(model)]
        recipe, documents = _search(graph, recipe, engine, used, read)
    details = apply(graph, recipe)
    _refuse_useless(recipe, details)
    if not recipe.maxima and "fp16" in details["layers"]:
        details["notes"] = ["whether FP16 overflows is not known, as nothing was observed"]
    with files.writing(typed) as temporary:
        graphs.save(graph, temporary)
    _write(documents, layout.search(engine), ".json")
    _write(documents, layout.search_plots(engine), ".svg")

    facts.write(
        "precision",
        engine,
        inputs=[layout.clean(model), cache, seen, *read],
        outputs=[typed, layout.search(engine), layout.search_plots(engine)],
        params=used,
        versions=versions,
        details={"precision": recipe.precision, **details},
    )
    told = f"auto, {recipe.precision}" if read else recipe.precision
    console.say(f"precision {engine}: {told} -> {typed}; {_summary(recipe, details)}")


def _params(document: params.Params, engine: str) -> dict[str, Any]:
    """What the stage reads of params.yaml, by key."""
    model = document.param(f"engines.{engine}.model")
    profile = document.param(f"engines.{engine}.profile")
    return {
        f"engines.{engine}.auto": document.param(f"engines.{engine}.auto"),
        f"engines.{engine}.backend": document.param(f"engines.{engine}.backend"),
        f"engines.{engine}.method": document.param(f"engines.{engine}.method"),
        f"engines.{engine}.model": model,
        f"engines.{engine}.overrides": document.param(f"engines.{engine}.overrides"),
        f"engines.{engine}.precision": document.param(f"engines.{engine}.precision"),
        f"engines.{engine}.profile": profile,
        f"engines.{engine}.remainder": document.param(f"engines.{engine}.remainder"),
        f"engines.{engine}.smoothing": document.param(f"engines.{engine}.smoothing"),
        f"models.{model}.inputs": document.param(f"models.{model}.inputs"),
        f"models.{model}.metric": document.param(f"models.{model}.metric"),
        f"models.{model}.observe.batch": document.param(f"models.{model}.observe.batch"),
        f"models.{model}.threads": document.param(f"models.{model}.threads"),
        f"profiles.{profile}": document.param(f"profiles.{profile}"),
    }


def _recipe(graph: ir.Model, engine: str, used: Mapping[str, Any]) -> Recipe:
    """The recipe that params, ranges and observations give, before any search."""
    own = params.short(used)
    model, remainder = own["model"], own["remainder"]
    cache, seen = layout.cache(model, own["method"]), layout.observations(model)
    maxima = observed.read(seen)
    observed.require_graph(layout.clean(model), maxima.graph_digest, seen.as_posix())
    if remainder and not maxima.samples:
        raise _rangeless(graph, engine, own["precision"])
    ops = {node.name or "": node.op_type for node in graph.graph}
    chosen = overrides.chosen(ops, own["overrides"], f"engines.{engine}.overrides")
    scales: Mapping[str, float] = {}
    floats: Mapping[str, str] = {}
    if remainder:  # only what quantizes has ranges; none.cache holds none
        scales = caches.parse(files.need(cache).read_bytes(), cache.as_posix()).scales
        form = "int8" if own["precision"] == "auto" else own["precision"]
        largest = reading.sizes(own["inputs"], own["shapes"], "max")
        floats = fusion.useless(own["backend"], ops)
        floats |= attention.unfused(graph.graph, form, largest, chosen)
    return Recipe(
        precision=own["precision"],
        remainder=remainder or own["precision"],
        chosen={**dict.fromkeys(floats, remainder), **chosen},
        why={name: reason for name, reason in floats.items() if name not in chosen},
        scales=scales,
        maxima=maxima.maxima,
        channels=maxima.channels,
        smoothing=own["smoothing"],
        sizes=reading.sizes(own["inputs"], own["shapes"]),
    )


def _rangeless(graph: ir.Model, engine: str, precision: str) -> errors.CalibrationError:
    custom = ", ".join(custom_ops.find(graph))
    msg = (
        f"{precision} needs ranges, and nothing was observed of the graph: ONNX Runtime cannot run"
        f" it, since ONNX does not define {custom}"
    )
    mend = (
        f"give engines.{engine} the precision fp32, tf32, fp16 or bf16, the method none, and null"
        " for remainder, smoothing and auto; or rewrite these ops in models/<m>/rewrites/"
    )
    return errors.CalibrationError(msg, mend=mend)


def _search(
    graph: ir.Model, recipe: Recipe, engine: str, used: Mapping[str, Any], read: list[Path]
) -> tuple[Recipe, dict[str, bytes]]:
    """The recipe that a search on the calibration samples finds, and its documents by name."""
    from stages.quantization import searching  # ONNX Runtime, which others do without

    own = params.short(used)
    task = searching.Task(
        engine=engine,
        **{key: own[key] for key in ("auto", "method", "overrides", "inputs", "metric")},
        **{key: own[key] for key in ("batch", "threads")},
        samples=read[0],
        metric_folder=read[1],
        latency=read[2],
    )
    return searching.search(graph, recipe, task)


def _write(documents: Mapping[str, bytes], path: Path, suffix: str) -> None:
    with files.writing(path) as folder:
        folder.mkdir()
        for name in (name for name in documents if name.endswith(suffix)):
            (folder / name).write_bytes(documents[name])


def _refuse_useless(recipe: Recipe, details: Mapping[str, Any]) -> None:
    """An engine of which nothing is in the precision asked for would only mislead."""
    asked = "fp32" if recipe.precision == "tf32" else recipe.precision
    if asked == "fp32" or details["layers"].get(asked):
        return
    reasons = sorted({f"{entry['op']}: {entry['reason']}" for entry in details["kept"]})
    # Without shape inference no later stage knows what is float32.
    unknown = "no candidate is known to be float32 (sanitize.passes should hold infer-shapes)"
    msg = f"no node of the graph can run in {asked}: {'; '.join(reasons) or unknown}"
    needed = "Conv, Gemm or MatMul with constant weights" if recipe.form else "float32 nodes"
    raise errors.GraphError(msg, mend=f"it needs {needed}; or look at the overrides")


def _summary(recipe: Recipe, details: Mapping[str, Any]) -> str:
    parts = [f"{count} nodes {name}" for name, count in details["layers"].items()]
    parts += [f"{share:.0%} of compute {name}" for name, share in details["compute"].items()]
    if recipe.form is not None:
        parts.append("{used} of {observed} ranges used".format_map(details["scales"]))
        if smoothed := details["scales"]["smoothed"]:
            parts.append(f"{smoothed} made by smoothing")
    if "notes" in details:
        parts.append("; ".join(details["notes"]))
    if details["overflow"]:
        parts.append(f"{len(details['overflow'])} kept float32, as FP16 would overflow")
    return ", ".join(parts)


if __name__ == "__main__":
    console.run("precision", main, "engine")
