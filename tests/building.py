# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Whether TensorRT-RTX builds a small graph, and that a pass makes it do so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from stages.backends.build_api import Order
from stages.backends.tensorrt_rtx import build as rtx
from stages.lib import errors
from stages.passes import checks, infer_shapes
from stages.passes.api import Context
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from stages.passes.api import Pass

CONTEXT = Context(fold_limit_bytes=1 << 20, opset=20)
_BUILDER = {
    "workspace_mib": 64,
    "optimization_level": 0,
    "compute_capabilities": ["sm89"],
    "plugins": [],
}


def refusal(graph: onnx.ModelProto, feeds: zoo.Arrays, folder: Path) -> str | None:
    """What TensorRT-RTX says against it; None if it builds.

    Args:
        graph: any.
        feeds: their shapes are the profile of inputs with symbolic dimensions.
        folder: for the file.
    """
    path = folder / "graph.onnx"
    path.write_bytes(graph.SerializeToString())
    profile = {
        value.name: {edge: list(feeds[value.name].shape) for edge in ("min", "opt", "max")}
        for value in graph.graph.input
        if any(dim.dim_param for dim in value.type.tensor_type.shape.dim)
    }
    order = Order(
        graph=path, precision="auto", profiles=[profile] if profile else [], builder=_BUILDER
    )
    try:
        rtx.build(order, lambda _: None)
    except errors.EngineryError as error:
        return error.what
    return None


def passed(graph: onnx.ModelProto, *passes: Pass) -> ir.Model:
    """The graph after shape inference and `passes`; valid, and of the same interface."""
    model = ir.from_proto(graph)
    infer_shapes.run(model, CONTEXT)
    before = ir.from_proto(graph)
    shapes = [value.shape for value in before.graph.outputs]
    for one in passes:
        one.run(model, CONTEXT)
    for value, shape in zip(model.graph.outputs, shapes, strict=True):
        value.shape = shape
    checks.same_interface(before, model)
    zoo.check(model)
    return model


def gained(
    graph: onnx.ModelProto,
    feeds: zoo.Arrays,
    folder: Path,
    *passes: Pass,
    words: str,
    **tolerance: Any,
) -> ir.Model:
    """Refused before with `words`, built after, and the same numbers from ONNX Runtime."""
    refused = refusal(graph, feeds, folder)
    assert refused is not None
    assert words in refused
    model = passed(graph, *passes)
    assert refusal(ir.to_proto(model), feeds, folder) is None
    before, after = zoo.infer(graph, feeds), zoo.infer(model, feeds)
    for name, array in before.items():
        if tolerance:
            np.testing.assert_allclose(after[name], array, **tolerance)
        else:
            np.testing.assert_array_equal(after[name], array)
    return model
