# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Clean graph -> strongly typed graph: the precision of an engine lives in its graph.

fp32 and tf32 keep the graph (TF32 is a builder flag); fp16 and bf16 get casts; int8 gets Q/DQ fed
with the calibration cache that the engine names. Inputs and outputs stay as they are.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from stages.lib import caches, console, errors, facts, files, graphs, layout, params, pins
from stages.quantization import casts, overrides, qdq

_LOW = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}


def main(engine: str) -> None:
    """Write the typed graph of `engines.<engine>`."""
    document = params.load()
    versions = pins.toolchain(document, "precision")
    model = document.param(f"engines.{engine}.model")
    precision = document.param(f"engines.{engine}.precision")
    method = document.param(f"engines.{engine}.method")
    patterns = document.param(f"engines.{engine}.overrides")
    cache, typed = layout.cache(model, method), layout.typed(engine)

    graph = graphs.load(layout.clean(model))
    names = [node.name or "" for node in graph.graph]
    kept = overrides.kept(names, patterns, f"engines.{engine}.overrides")
    details = _type(graph, precision, files.need(cache).read_bytes(), cache.as_posix(), kept)
    with files.writing(typed) as temporary:
        graphs.save(graph, temporary)

    facts.write(
        "precision",
        engine,
        inputs=[layout.clean(model), cache],
        outputs=[typed],
        params={
            f"engines.{engine}.method": method,
            f"engines.{engine}.model": model,
            f"engines.{engine}.overrides": patterns,
            f"engines.{engine}.precision": precision,
        },
        versions=versions,
        details={"precision": precision, **details},
    )
    console.say(f"precision {engine}: {precision} -> {typed}; {_summary(details)}")


def _type(
    graph: ir.Model, precision: str, cache: bytes, where: str, kept: dict[str, str]
) -> dict[str, Any]:
    if precision in _LOW:
        details = casts.to_low(graph, _LOW[precision], kept)
        if not details["low"]:
            raise _useless(precision, details["kept"], "a newer opset (bf16 convolutions need 22)")
        return details
    if precision == "int8":
        details = qdq.quantize(graph, caches.parse(cache, where).scales, kept)
        if not details["quantized"]:
            raise _useless(precision, details["kept"], "a model with Conv, Gemm or MatMul")
        return details
    return {}


def _useless(precision: str, kept: list[dict[str, str]], needed: str) -> errors.GraphError:
    reasons = sorted({f"{entry['op']}: {entry['reason']}" for entry in kept})
    # Without shape inference no later stage knows what is float32.
    unknown = "no candidate is known to be float32 (sanitize.passes should hold infer-shapes)"
    msg = f"no node of the graph can run in {precision}: {'; '.join(reasons) or unknown}"
    return errors.GraphError(msg, mend=f"it needs {needed}; or look at the overrides")


def _summary(details: dict[str, Any]) -> str:
    if "low" in details:
        low = sum(details["low"].values())
        return f"{low} nodes low, {details['casts']} casts, {len(details['kept'])} kept"
    if "quantized" in details:
        counts = details["scales"]
        return (
            f"{sum(details['quantized'].values())} nodes quantized, {len(details['kept'])} kept;"
            f" {counts['used']} of {counts['observed']} ranges used"
        )
    return "graph unchanged"


if __name__ == "__main__":
    console.run("precision", main, "engine")
