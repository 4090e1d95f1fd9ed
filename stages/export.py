# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Source model -> ONNX graph, as the model's framework writes it.

The graph is checked against the declared inputs and outputs, then against the framework itself on
the probe samples. A model that fails goes no further.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.backends.onnxruntime import run as onnxruntime
from stages.exporters import contract, parity, structure
from stages.exporters.api import Order
from stages.lib import (
    confined,
    console,
    facts,
    files,
    graphs,
    layout,
    params,
    pins,
    plugins,
    samples,
)

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

    from stages.exporters.api import Exporter, Framework


def main(model: str) -> None:
    """Export `models.<model>`."""
    document = params.load()
    framework = document.param(f"models.{model}.source")["framework"]
    versions = pins.toolchain(document, f"export-{framework}")
    order = Order(
        source=layout.model_source(model),
        entry=document.param(f"models.{model}.source")["entry"],
        inputs=document.param(f"models.{model}.inputs"),
        outputs=document.param(f"models.{model}.outputs"),
        opset=document.param(f"models.{model}.opset"),
    )
    tolerance = document.param(f"models.{model}.parity")
    threads = document.param(f"models.{model}.threads")
    limits = document.param(f"models.{model}.limits")
    probe = samples.Split(folder=layout.samples(model, "probe"), inputs=order.inputs)
    exporter: Exporter = plugins.load("stages.exporters", framework)

    folder, label, key = layout.exported(model), f"export {model}", f"models.{model}.limits"
    with files.writing(folder) as temporary:

        def work() -> tuple[dict[str, Any], float | None]:
            return _export(exporter, order, probe, temporary, f"models.{model}", tolerance, threads)

        if exporter.FOREIGN:
            what = f"{order.source / order.entry}"
            found, error = confined.run(work, limits, what=what, key=key, label=label)
        else:
            with console.elapsing(label):
                found, error = work()

    facts.write(
        "export",
        model,
        inputs=[order.source, probe.folder],
        outputs=[folder],
        params={
            f"models.{model}.inputs": order.inputs,
            f"models.{model}.opset": order.opset,
            f"models.{model}.outputs": order.outputs,
            f"models.{model}.parity": tolerance,
            f"models.{model}.source": {"framework": framework, "entry": order.entry},
            f"models.{model}.threads": threads,
        },
        versions=versions,
        details={"parity": found},
    )
    # The figure is shown and not recorded: a processor's own kernels decide its last digits.
    within = "" if error is None else f" within {error:.2g}"
    console.say(f"export {model}: {framework} -> {folder}; parity {found['state']}{within}")


def _export(
    exporter: Exporter,
    order: Order,
    probe: samples.Split,
    folder: Path,
    key: str,
    tolerance: dict[str, float],
    threads: int,
) -> tuple[dict[str, Any], float | None]:
    """Write the graph folder and see that it is what params.yaml says, and what the source does."""
    source = exporter.export(order, next(probe.feeds(probe.count())), folder)
    structure.check(folder / layout.GRAPH_FILE, f"{order.source / order.entry}")
    graph = graphs.load(folder)
    contract.check(graph, order.inputs, order.outputs, key)
    return _parity(source, folder, graph, probe, tolerance, threads)


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
        checked = parity.check(framework, runner.infer, probe.feeds(probe.count()), **tolerance)
    worst = max((end["max_abs"] for end in checked["outputs"].values()), default=0.0)
    return {"state": "passed", "reason": None, "samples": checked["samples"]}, worst


def _run(path: Path, graph: ir.Model, probe: samples.Split, threads: int) -> dict[str, Any]:
    # Packed copies of the weights would double what they take, for a run or two.
    with onnxruntime.runner(path, threads=threads, name="exported", packing=False) as runner:
        for feeds in probe.feeds(probe.count()):
            contract.check_run(graph, runner.infer(feeds))
    reason = "the source is ONNX itself; ONNX Runtime ran it on the probe samples"
    return {"state": "not applicable", "reason": reason}


if __name__ == "__main__":
    console.run("export", main, "model")
