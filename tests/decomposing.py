# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Graphs that decomposition changes, from ONNX's text form, and what they compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.helper import tensor_dtype_to_np_dtype
from onnx.reference import ReferenceEvaluator

from stages.lib import errors
from stages.passes import decompose, remove_dead
from tests import building
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from pathlib import Path

    Array = np.ndarray[Any, Any]

RNG = np.random.default_rng(5)
Case = tuple[str, zoo.Arrays, float | None]
"""Graph, its inputs, and how far results may move: absolutely and relatively; None for equal."""


def graph(text: str, opset: int = 20) -> onnx.ModelProto:
    """A graph from ONNX's text form."""
    imports = f'"": {opset}, "ai.onnx.ml": 3, "ai.onnx.preview.training": 1'
    made = onnx.parser.parse_model(f"<ir_version: 10, opset_import: [{imports}]>\ng {text}")
    onnx.checker.check_model(made)
    return made


def floats(*shape: int) -> Array:
    """Normally distributed."""
    return RNG.standard_normal(shape).astype(np.float32)


def number(value: float, kind: str = "float32") -> Array:
    """A scalar."""
    return np.array(value, kind)


def whole(kind: str, *shape: int) -> Array:
    """Any value of an integer type, its ends too."""
    info = np.iinfo(kind)
    made = RNG.integers(info.min, info.max, shape, dtype=kind, endpoint=True)
    made.flat[0], made.flat[1] = info.min, info.max
    return made


def referenced(made: onnx.ModelProto, feeds: zoo.Arrays) -> list[Array]:
    """By `onnx.reference`."""
    kinds = [tensor_dtype_to_np_dtype(o.type.tensor_type.elem_type) for o in made.graph.output]
    found: Any = ReferenceEvaluator(made).run(None, feeds)  # it takes Adam to float64
    return [np.asarray(array, kind) for array, kind in zip(found, kinds, strict=True)]


def expected(made: onnx.ModelProto, feeds: zoo.Arrays) -> list[Array]:
    """By ONNX Runtime; by `onnx.reference` where that lacks the operator or type."""
    try:
        return list(zoo.infer(made, feeds).values())
    except errors.EngineryError:
        return referenced(made, feeds)


def compare(made: onnx.ModelProto, feeds: zoo.Arrays, tolerance: float | None) -> ir.Model:
    """Decompose, and see that it computes the same."""
    model = building.passed(made, decompose, remove_dead)
    found = zoo.infer(model, feeds).values()
    for old, new in zip(expected(made, feeds), found, strict=True):
        assert (old.dtype, old.shape) == (new.dtype, new.shape)
        if tolerance is None:
            np.testing.assert_array_equal(new, old)
        else:
            np.testing.assert_allclose(new, old, rtol=tolerance, atol=tolerance)
    return model


def gained(case: Case, folder: Path) -> None:
    """TensorRT-RTX refuses it before, and builds it after; it computes the same."""
    text, feeds, tolerance = case
    made = graph(text)
    assert building.refusal(made, feeds, folder) is not None
    model = compare(made, feeds, tolerance)
    assert building.refusal(ir.to_proto(model), feeds, folder) is None
