# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Source model -> ONNX graph, as the model's framework writes it.

The graph is checked against the declared inputs and outputs, then against the framework itself on
the probe samples. A model that fails goes no further.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.backends.onnxruntime import run as onnxruntime
from stages.exporters import contract, parity
from stages.exporters.api import Order
from stages.lib import console, facts, files, graphs, layout, params, pins, plugins, samples

if TYPE_CHECKING:
    from pathlib import Path

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
    probe = samples.Split(folder=layout.samples(model, "probe"), inputs=order.inputs)
    exporter: Exporter = plugins.load("stages.exporters", framework)

    folder = layout.exported(model)
    with files.writing(folder) as temporary:
        with console.elapsing(f"export {model}"):
            source = exporter.export(order, next(probe.feeds(probe.count())), temporary)
        contract.check(graphs.load(temporary), order.inputs, order.outputs, f"models.{model}")
        found, error = _parity(source, temporary, probe, tolerance, threads)

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


def _parity(
    framework: Framework | None,
    graph: Path,
    probe: samples.Split,
    tolerance: dict[str, float],
    threads: int,
) -> tuple[dict[str, Any], float | None]:
    """Compare with the framework, or at least see that ONNX Runtime runs an ONNX source.

    Returns:
        What to record, and the largest error.
    """
    with onnxruntime.runner(graph / layout.GRAPH_FILE, threads=threads, name="exported") as runner:
        batches = probe.feeds(probe.count())
        if framework is not None:
            checked = parity.check(framework, runner.infer, batches, **tolerance)
            worst = max((end["max_abs"] for end in checked["outputs"].values()), default=0.0)
            return {"state": "passed", "reason": None, "samples": checked["samples"]}, worst
        for feeds in batches:
            runner.infer(feeds)
        reason = "the source is ONNX itself; ONNX Runtime ran it on the probe samples"
        return {"state": "not applicable", "reason": reason}, None


if __name__ == "__main__":
    console.run("export", main, "model")
