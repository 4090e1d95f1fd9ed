# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""One conformance model and one tool, in a worker: clean, compare, parse, build."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from bench import conformance_elsewhere as elsewhere
from bench import conformance_suite as suite
from bench import conformance_verdict as verdict
from bench.conformance_tools import TOOLS, Cleaned
from stages.backends import refusals
from stages.backends.build_api import Order
from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Callable

# One target is quickest; it is the one that has kernels for the narrowest types.
BUILDER = {
    "workspace_mib": 1024,
    "optimization_level": 0,
    "compute_capabilities": ["sm120"],
    "plugins": [],
}


def work(tell: Callable[[str, Any], None], tool: str, path: str) -> None:
    """Tell "tool" (why it failed), "undone", "interface", "result", "state" and more.

    The others are "refusals", of the parser or builder, and "elsewhere", of other inputs.

    Args:
        tell: takes each finding.
        tool: one of TOOLS, or "none".
        path: the model.
    """
    source = Path(path)
    before = onnx.load(source)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.onnx"
        if tool == "none":
            cleaned = Cleaned(model=before)
            target.write_bytes(source.read_bytes())
        else:
            try:
                cleaned = TOOLS[tool](source)
                onnx.save(cleaned.model, target)
            except Exception as error:
                tell("tool", f"{type(error).__name__}: {error}"[:2000])
                return
            tell("undone", cleaned.undone)
            tell("interface", verdict.interface(before, cleaned.model))
            tell("result", verdict.result(source, before, cleaned.model))
        _build(tell, target, source, before)
    if tool == "ours" and source.name == "model.onnx":  # `light` is the same five operators, slowly
        data = next(iter(suite.sets(source, before.graph)))
        elsewhere.compare(tell, before, cleaned.model, data)


def _build(
    tell: Callable[[str, Any], None], graph: Path, source: Path, before: onnx.ModelProto
) -> None:
    from stages.backends.tensorrt_rtx import build, parse

    tell("state", "parser refuses")  # should it die
    told = parse.refusals(graph)
    refused = [one for one in told if one["code"] != refusals.SHAPE_INPUT]
    tell("refusals", told)
    if refused:
        return
    tell("state", "build fails")
    order = Order(
        graph=graph, precision="auto", profiles=_profiles(source, before), builder=BUILDER
    )
    try:
        build.build(order, lambda _: None)
    except errors.EngineryError as error:
        tell("refusals", [*told, {"op": "", "code": "BUILD", "what": error.what}])
        return
    tell("state", "builds")


def _profiles(source: Path, before: onnx.ModelProto) -> list[Any]:
    """Dynamic dimensions as in the model's data; what the values of an input are is never told."""
    data = next(iter(suite.sets(source, before.graph)))
    shapes = {
        value.name: list(array.shape)
        for value, array in zip(suite.fed(before.graph), data.inputs, strict=True)
        if any(not dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
    }
    one = {name: dict.fromkeys(("min", "opt", "max"), dims) for name, dims in shapes.items()}
    return [one] if one else []
