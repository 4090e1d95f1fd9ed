# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""INT8: a strongly typed graph by QuantizeLinear and DequantizeLinear.

Symmetric, zero point 0. Scales of activations are those of the calibration cache, bit for bit;
weights are stored as int8 with one scale per output channel, max|w| / 127.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from stages.lib import errors
from stages.quantization import placement, rewiring

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

_LEVELS = 127
_PER_CHANNEL_OPSET = 13


def quantize(model: ir.Model, scales: Mapping[str, float], kept: Container[str]) -> dict[str, Any]:
    """Insert Q/DQ into `model`, in place.

    Args:
        model: a float32 graph whose values have known types.
        scales: scale by tensor name, as read from a calibration cache.
        kept: names of nodes that stay float32.

    Returns:
        {"quantized": nodes by op; "kept": [{"node", "op", "reason"}]; "activations": Q/DQ pairs;
        "weights": int8 weights; "scales": {"observed", "used", "unused"}: counts of names}

    Raises:
        CalibrationError: the cache lacks a tensor that is to be quantized.
        GraphError: the graph's opset has no per-channel Q/DQ.
    """
    opset = model.opset_imports.get("", _PER_CHANNEL_OPSET)
    if opset < _PER_CHANNEL_OPSET:
        msg = f"the graph has opset {opset}; per-channel Q/DQ needs {_PER_CHANNEL_OPSET}"
        raise errors.GraphError(
            msg, mend=f"export the model at opset {_PER_CHANNEL_OPSET} or newer"
        )
    points, left = placement.points(model.graph, kept)
    points, rangeless = _with_ranges(points, scales)
    work = _Quantizing(model.graph)
    for point in points:
        work.place(point, scales)
    rewiring.remove_unused_initializers(model.graph)
    return {
        "quantized": _by_op(points),
        "kept": left + rangeless,
        "activations": work.activations,
        "weights": work.weights,
        "scales": {
            "observed": len(scales),
            "used": work.activations,
            "unused": len(scales) - work.activations,
        },
    }


def _with_ranges(
    points: list[placement.Point], scales: Mapping[str, float]
) -> tuple[list[placement.Point], list[dict[str, str]]]:
    """Leave out nodes with an activation that was always zero, or infinite: its scale is 0."""
    names = {p: _name(p) for p in points if p.axis is None}
    missing = sorted({name for name in names.values() if name not in scales})
    if missing:
        near = difflib.get_close_matches(missing[0], list(scales), n=3)
        msg = (
            f"the calibration cache has no scale for {len(missing)} of"
            f" {len(set(names.values()))} tensors that are to be quantized;"
            f" the first is {missing[0]!r}"
            + (f", nearest in the cache: {', '.join(near)}" if near else "")
        )
        raise errors.CalibrationError(
            msg, mend="the cache was made for another graph: `dvc repro calibrate` makes it again"
        )
    dead = {p.node for p, name in names.items() if not scales[name]}
    left = [
        {
            "node": node.name or "",
            "op": node.op_type,
            "reason": "an input was always zero, or infinite, on the calibration samples",
        }
        for node in dict.fromkeys(p.node for p in points)
        if node in dead
    ]
    return [p for p in points if p.node not in dead], left


def _name(point: placement.Point) -> str:
    value = point.node.inputs[point.index]
    return (value.name if value is not None else None) or ""


def _by_op(points: list[placement.Point]) -> dict[str, int]:
    ops: dict[str, int] = {}
    for node in {id(p.node): p.node for p in points}.values():
        ops[node.op_type] = ops.get(node.op_type, 0) + 1
    return dict(sorted(ops.items()))


class _Quantizing:
    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._names = rewiring.Names(graph)
        self._done: dict[tuple[ir.Value, int | None], ir.Value] = {}
        self.activations = 0
        self.weights = 0

    def place(self, point: placement.Point, scales: Mapping[str, float]) -> None:
        value = point.node.inputs[point.index]
        if value is None:
            return
        key = (value, point.axis)
        if key not in self._done:
            self._done[key] = (
                self._activation(value, scales[value.name or ""])
                if point.axis is None
                else self._weight(value, point.axis)
            )
        point.node.replace_input_with(point.index, self._done[key])

    def _activation(self, value: ir.Value, scale: float) -> ir.Value:
        self.activations += 1
        scale_value = self._constant(f"{value.name}_scale", np.array(scale, np.float32))
        zero = self._constant(f"{value.name}_zero_point", np.array(0, np.int8))
        quantize = ir.node(
            "QuantizeLinear",
            [value, scale_value, zero],
            name=self._names.fresh(f"quantize_{value.name}"),
        )
        quantized = quantize.outputs[0]
        quantized.name = self._names.fresh(f"{value.name}_quantized")
        quantized.dtype, quantized.shape = ir.DataType.INT8, value.shape
        dequantize = self._dequantize(value, quantized, scale_value, zero, {})
        rewiring.insert_after(self._graph, value, [quantize, dequantize])
        return dequantize.outputs[0]

    def _weight(self, value: ir.Value, axis: int) -> ir.Value:
        self.weights += 1
        tensor = rewiring.constant(value)
        if tensor is None:  # placement has seen it; for the type checker
            raise AssertionError(value)
        weight = tensor.numpy()
        others = tuple(a for a in range(weight.ndim) if a != axis)
        scale = (np.abs(weight).max(axis=others) / np.float32(_LEVELS)).astype(np.float32)
        scale[scale == 0] = 1.0  # an all-zero channel is zero under any scale
        shape = [-1 if a == axis else 1 for a in range(weight.ndim)]
        levels = np.clip(np.rint(weight / scale.reshape(shape)), -_LEVELS, _LEVELS).astype(np.int8)
        dequantize = self._dequantize(
            value,
            self._constant(f"{value.name}_quantized", levels),
            self._constant(f"{value.name}_scale", scale),
            self._constant(f"{value.name}_zero_point", np.zeros(len(scale), np.int8)),
            {"axis": axis},
        )
        rewiring.insert_after(self._graph, value, [dequantize])
        return dequantize.outputs[0]

    def _dequantize(
        self,
        value: ir.Value,
        quantized: ir.Value,
        scale: ir.Value,
        zero: ir.Value,
        attributes: dict[str, int],
    ) -> ir.Node:
        name = self._names.fresh(f"dequantize_{value.name}")
        node = ir.node("DequantizeLinear", [quantized, scale, zero], attributes, name=name)
        result = node.outputs[0]
        result.name = self._names.fresh(f"{value.name}_dequantized")
        result.dtype, result.shape = ir.DataType.FLOAT, value.shape
        return node

    def _constant(self, name: str, array: np.ndarray[Any, Any]) -> ir.Value:
        return rewiring.add_initializer(self._graph, ir.Tensor(array, name=self._names.fresh(name)))
