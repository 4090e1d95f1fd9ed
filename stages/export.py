# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Source model -> ONNX graph, as the model's framework writes it.

A framework that cannot share the chain's environment runs in one of its own. The graph is checked
against the declared inputs and outputs, then against the framework itself on the probe samples. A
model that fails goes no further.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.backends.onnxruntime import run as onnxruntime
from stages.exporters import canonical, contract, isolated, parity, structure
from stages.exporters.api import Order
from stages.lib import (
    confined,
    console,
    environments,
    errors,
    facts,
    files,
    graphs,
    layout,
    params,
    pins,
    plugins,
    samples,
    source_guess,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

    from stages.exporters.api import Arrays, Exporter, Framework


def main(model: str) -> None:
    """Export `models.<model>`."""
    document = params.load()
    source = document.param(f"models.{model}.source")
    order = _order(document, model)
    tolerance = document.param(f"models.{model}.parity")
    limits = document.param(f"models.{model}.limits")
    pinned = document.param(f"toolchain.export-{source['framework']}")
    versions = pins.toolchain(document, "export")
    probe = samples.Split(folder=layout.samples(model, "probe"), inputs=order.inputs)
    if unfit := source_guess.unfit(source["framework"], order.source, order.entry):
        what, mend = unfit
        raise errors.SourceModelError(what, mend=mend)
    environment = _environment(document, source["framework"], pinned)

    folder, key = layout.exported(model), f"models.{model}"
    with files.writing(folder) as temporary:
        away = None
        if environment is not None:
            batches, log = list(_batches(probe)), layout.log("export", model)
            away = isolated.export(
                environment, order, batches, temporary, limits=limits, key=key, log=log
            )

        def work() -> tuple[dict[str, Any], float | None, list[str]]:
            framework = (
                away.framework if away else _made(source["framework"], order, probe, temporary)
            )
            found, error = _check(framework, order, probe, temporary, key, tolerance)
            return found, error, list(facts.code())

        found, error, code = confined.run(
            work, limits, what=f"{order.path}", key=f"{key}.limits", label=f"export {model}"
        )

    facts.write(
        "export",
        model,
        inputs=[order.source, probe.folder],
        outputs=[folder],
        params={
            f"{key}.inputs": order.inputs,
            f"{key}.opset": order.opset,
            f"{key}.outputs": order.outputs,
            f"{key}.parity": tolerance,
            f"{key}.source": source,
            f"{key}.threads": order.threads,
        },
        versions=versions if away else {**versions, **pinned},
        details={"parity": found, "environment": pinned if away else None},
        code_elsewhere={*map(Path, code), *(away.code if away else ())},
    )
    # The figure is shown and not recorded: a processor's own kernels decide its last digits.
    within = "" if error is None else f" within {error:.2g}"
    console.say(
        f"export {model}: {source['framework']} -> {folder}; parity {found['state']}{within}"
    )


def _order(document: params.Params, model: str) -> Order:
    source = document.param(f"models.{model}.source")
    return Order(
        source=layout.model_source(model),
        entry=source["entry"],
        weights=source["weights"],
        channels_first=tuple(source["channels_first"]),
        trusted={one["file"]: one["sha256"] for one in source["trusted"]},
        inputs=document.param(f"models.{model}.inputs"),
        outputs=document.param(f"models.{model}.outputs"),
        opset=document.param(f"models.{model}.opset"),
        threads=document.param(f"models.{model}.threads"),
    )


def _environment(
    document: params.Params, framework: str, pinned: dict[str, str]
) -> isolated.Environment | None:
    """Where the exporter runs; None is the chain's own environment, which then has its pins."""
    python = document.param("toolchain.python")
    if framework not in environments.frameworks():
        pins.check(python, pinned)
        return None
    return isolated.Environment(
        framework=framework,
        interpreter=environments.interpreter(framework, document.param("interpreters")),
        pins=pinned,
        python=python,
    )


def _made(framework: str, order: Order, probe: samples.Split, folder: Path) -> Framework | None:
    """Write the graph folder in this environment; return the source model."""
    exporter: Exporter = plugins.load(f"stages.exporters.{framework}", "exporter")
    exporter.export(order, next(_batches(probe)), folder)
    return exporter.load(order)


def _batches(probe: samples.Split) -> Iterator[Arrays]:
    """The probe samples, then another batch: a graph may have one size of it baked in.

    That is the last sample alone, or twice where all came alone.
    """
    last: Arrays = {}
    sizes: set[int] = set()
    for last in probe.feeds(probe.count()):
        sizes |= {len(array) for array in last.values()}
        yield last
    if not probe.is_fixed():
        count = 2 if sizes == {1} else 1
        yield {name: np.repeat(array[-1:], count, axis=0) for name, array in last.items()}


def _check(
    framework: Framework | None,
    order: Order,
    probe: samples.Split,
    folder: Path,
    key: str,
    tolerance: dict[str, float],
) -> tuple[dict[str, Any], float | None]:
    """See that the graph folder is what params.yaml says, and does what the source does."""
    structure.check(folder / layout.GRAPH_FILE, f"{order.path}")
    graph = graphs.load(folder)
    if framework is not None and canonical.apply(graph, order):
        _rewrite(graph, folder)
        graph = graphs.load(folder)
    contract.check(graph, order.inputs, order.outputs, key)
    return _parity(framework, folder, graph, probe, tolerance, order.threads)


def _rewrite(graph: ir.Model, folder: Path) -> None:
    """Replace the graph in `folder`, from where its weights are read."""
    beside = folder.with_suffix(".canonical.tmp")  # a killed run's is swept like any other
    shutil.rmtree(beside, ignore_errors=True)
    try:
        graphs.save(graph, beside)
        shutil.rmtree(folder)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _parity(
    framework: Framework | None,
    folder: Path,
    graph: ir.Model,
    probe: samples.Split,
    tolerance: dict[str, float],
    threads: int,
) -> tuple[dict[str, Any], float | None]:
    """Compare with the framework, or at least see that ONNX Runtime runs an ONNX source.

    A plugin of TensorRT runs nowhere but there.

    Returns:
        What to record, and the largest error.
    """
    path = folder / layout.GRAPH_FILE
    if reason := onnxruntime.lacking(path, graph, threads=threads):
        return {"state": "not run", "reason": reason}, None
    if framework is None:
        return _run(path, graph, probe, threads), None
    with onnxruntime.runner(path, threads=threads, name="exported") as runner:
        checked = parity.check(framework, runner.infer, _batches(probe), **tolerance)
    worst = max((end["max_abs"] for end in checked["outputs"].values()), default=0.0)
    return {"state": "passed", "reason": None, "samples": probe.count()}, worst


def _run(path: Path, graph: ir.Model, probe: samples.Split, threads: int) -> dict[str, Any]:
    # Packed copies of the weights would double what they take, for a run or two.
    with onnxruntime.runner(path, threads=threads, name="exported", packing=False) as runner:
        for feeds in _batches(probe):
            contract.check_run(graph, runner.infer(feeds))
    reason = "the source is ONNX itself; ONNX Runtime ran it on the probe samples"
    return {"state": "not applicable", "reason": reason}


if __name__ == "__main__":
    console.run("export", main, "model")
