# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Scattering with a reduction: one position after the other, in the order of the operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from stages.passes.rules import make

if TYPE_CHECKING:
    from onnx_ir.tape import Tape

    from stages.passes.rules.make import Result, Rule

_MOST_STEPS: Final = 64
_REDUCTIONS: Final = {"add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}

_NUMBERS: Final = {
    ir.DataType.FLOAT,
    ir.DataType.DOUBLE,
    ir.DataType.FLOAT16,
    ir.DataType.INT32,
    ir.DataType.INT64,
}


def elements(node: ir.Node, tape: Tape) -> Result:
    """ScatterElements: positions of one place along the axis never coincide."""
    reduction = _REDUCTIONS.get(node.attributes.get_string("reduction", "none") or "none")
    data, indices, updates = node.inputs
    axis = make.axis_of(node, data, 0)
    if reduction is None or axis is None or data is None or data.dtype not in _NUMBERS:
        return None
    size = (make.shape(indices) or [])[axis : axis + 1]
    steps = (size or [None])[0]
    if steps is None or not 0 < steps <= _MOST_STEPS or updates is None or indices is None:
        return None
    maker = make.Maker(node, tape)
    for step in range(steps):
        places = maker.fixed(indices, axis, step)
        old = maker("GatherElements", data, places, axis=axis)
        new = maker(reduction, old, maker.fixed(updates, axis, step))
        data = maker("ScatterElements", data, places, new, axis=axis)
    return [data]


def slices(node: ir.Node, tape: Tape) -> Result:
    """ScatterND: one slice after the other."""
    reduction = _REDUCTIONS.get(node.attributes.get_string("reduction", "none") or "none")
    data, indices, updates = node.inputs
    shape = make.dims(indices)
    if reduction is None or not shape or data is None or indices is None or updates is None:
        return None
    if data.dtype not in _NUMBERS:
        return None
    count, depth, size = int(np.prod(shape[:-1])), shape[-1], make.dims(updates)
    if not 0 < count <= _MOST_STEPS or size is None or depth == 0:
        return None
    maker = make.Maker(node, tape)
    flat = maker("Reshape", indices, maker.ints(count, depth))
    rows = maker("Reshape", updates, maker.ints(count, *size[len(shape) - 1 :]))
    for step in range(count):
        place = maker.fixed(flat, 0, step)
        new = maker(reduction, maker("GatherND", data, place), maker.fixed(rows, 0, step))
        data = maker("ScatterND", data, place, new)
    return [data]


def cache(node: ir.Node, tape: Tape) -> Result:
    """TensorScatter: rows written at a place of each batch's own."""
    past, update = node.inputs[:2]
    indices, rank = make.given(node, 2), make.rank(past)
    axis = make.axis_of(node, past, -2)
    if past is None or update is None or rank is None or axis is None or axis == 0:
        return None
    rows = (make.shape(update) or [None] * rank)[axis]
    if rows is None or update.dtype is None:
        return None
    maker = make.Maker(node, tape)
    shape = [1] * rank
    shape[axis] = rows
    places = maker.array(np.arange(rows).reshape(shape), ir.DataType.INT64)
    if indices is not None:
        first = maker("Reshape", indices, maker.ints(-1, *[1] * (rank - 1)))
        places = maker("Add", places, first)
    if node.attributes.get_string("mode", "linear") == "circular":
        length = maker("Shape", past, start=axis, end=axis + 1)
        places = maker("Mod", places, length)
    everywhere = maker("Expand", places, maker("Shape", update))
    return [maker("ScatterElements", past, everywhere, update, axis=axis)]


RULES: Final[dict[str, Rule]] = {
    "ScatterElements": elements,
    "ScatterND": slices,
    "TensorScatter": cache,
}
