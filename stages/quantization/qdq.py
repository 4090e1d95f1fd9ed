# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""INT8 and FP8: a strongly typed graph by QuantizeLinear and DequantizeLinear.

Symmetric, zero point 0. INT8 scales of activations are those of the calibration cache, bit for
bit, FP8 scales those of the same ranges; weights are stored quantized with one scale per output
channel, max|w| / 127 or / 448. Scales are float32 whatever the float types around: in FP16 they
would be rounded, and TensorRT-RTX 1.7 would turn them back and warn for each convolution.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from stages.lib import errors
from stages.quantization import formats, placement, rewiring

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be quantized.

    Attributes:
        points: inputs of nodes.
        left: candidates left out, [{"node", "op", "reason"}].
        scales: INT8 scale (range / 127) by tensor name.
    """

    points: list[placement.Point]
    left: list[dict[str, str]]
    scales: Mapping[str, float]


def plan(model: ir.Model, scales: Mapping[str, float], kept: Mapping[str, str]) -> Plan:
    """Choose what to quantize.

    Args:
        model: a float32 graph whose values have known types.
        scales: INT8 scale by tensor name, as read from a calibration cache.
        kept: reason by name of nodes that are not to be quantized.

    Raises:
        CalibrationError: the cache lacks a tensor that is to be quantized.
    """
    points, left = placement.points(model.graph, kept)
    points, rangeless = _with_ranges(points, scales)
    return Plan(points=points, left=left + rangeless, scales=scales)


def quantize(
    model: ir.Model,
    planned: Plan,
    form: formats.Format,
    types: Mapping[ir.Node, ir.DataType],
) -> tuple[list[ir.Node], dict[str, Any]]:
    """Insert Q/DQ into `model`, in place.

    Args:
        model: the graph that was planned for, of an opset that has what is needed.
        planned: from `plan`.
        form: what to quantize to.
        types: type of a reader, which DequantizeLinear gives; FLOAT where it is not said.

    Returns:
        The nodes made, and {"quantized": nodes by op; "activations": Q/DQ pairs; "weights":
        quantized weights; "scales": {"observed", "used", "unused"}: counts of names}
    """
    work = _Quantizing(model.graph, form, form.scales(planned.scales))
    for point in planned.points:
        work.place(point, types.get(point.node, ir.DataType.FLOAT))
    rewiring.remove_unused_initializers(model.graph)
    observed, used = len(planned.scales), work.activations
    return work.made, {
        "quantized": _by_op(planned.points),
        "activations": work.activations,
        "weights": work.weights,
        "scales": {"observed": observed, "used": used, "unused": observed - used},
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
    def __init__(self, graph: ir.Graph, form: formats.Format, scales: Mapping[str, float]) -> None:
        self._graph, self._form, self._scales = graph, form, scales
        self._names = rewiring.Names(graph)
        self._quantized: dict[tuple[ir.Value, int | None], tuple[ir.Value, ...]] = {}
        self._done: dict[tuple[ir.Value, int | None, ir.DataType], ir.Value] = {}
        self.made: list[ir.Node] = []
        self.activations = 0
        self.weights = 0

    def place(self, point: placement.Point, dtype: ir.DataType) -> None:
        """Quantize one input; values are shared between readers, and their Q between types."""
        value = point.node.inputs[point.index]
        if value is None:
            return
        source = (value, point.axis)
        if source not in self._quantized:
            self._quantized[source] = (
                self._activation(value) if point.axis is None else self._weight(value, point.axis)
            )
        key = (*source, dtype)
        if key not in self._done:
            self._done[key] = self._dequantized(value, self._quantized[source], point.axis, dtype)
        point.node.replace_input_with(point.index, self._done[key])

    def _activation(self, value: ir.Value) -> tuple[ir.Value, ...]:
        self.activations += 1
        number = np.array(self._scales[value.name or ""], np.float32)
        scale = self._constant(f"{value.name}_scale", number)
        zero = self._constant(f"{value.name}_zero_point", np.zeros((), self._form.dtype.numpy()))
        node = ir.node(
            "QuantizeLinear",
            [value, scale, zero],
            name=self._names.fresh(f"quantize_{value.name}"),
        )
        quantized = node.outputs[0]
        quantized.name = self._names.fresh(f"{value.name}_quantized")
        quantized.dtype, quantized.shape = self._form.dtype, value.shape
        rewiring.insert_after(self._graph, value, [node])
        self.made.append(node)
        return quantized, scale, zero

    def _weight(self, value: ir.Value, axis: int) -> tuple[ir.Value, ...]:
        self.weights += 1
        tensor = rewiring.constant(value)
        if tensor is None:  # placement has seen it; for the type checker
            raise AssertionError(value)
        weight = tensor.numpy()
        others = tuple(a for a in range(weight.ndim) if a != axis)
        largest = np.float32(self._form.largest)
        scale = (np.abs(weight).max(axis=others) / largest).astype(np.float32)
        scale[scale == 0] = 1.0  # an all-zero channel is zero under any scale
        shape = [-1 if a == axis else 1 for a in range(weight.ndim)]
        zeros = np.zeros(len(scale), self._form.dtype.numpy())
        return (
            self._constant(
                f"{value.name}_quantized", self._form.levels(weight / scale.reshape(shape))
            ),
            self._constant(f"{value.name}_scale", scale),
            self._constant(f"{value.name}_zero_point", zeros),
        )

    def _dequantized(
        self,
        value: ir.Value,
        quantized: tuple[ir.Value, ...],
        axis: int | None,
        dtype: ir.DataType,
    ) -> ir.Value:
        attributes = {} if axis is None else {"axis": axis}
        if dtype != ir.DataType.FLOAT:
            attributes["output_dtype"] = dtype.value
        name = self._names.fresh(f"dequantize_{value.name}")
        node = ir.node("DequantizeLinear", quantized, attributes, name=name)
        result = node.outputs[0]
        result.name = self._names.fresh(f"{value.name}_dequantized")
        result.dtype, result.shape = dtype, value.shape
        rewiring.insert_after(self._graph, value if axis is not None else quantized[0], [node])
        self.made.append(node)
        return result

    def _constant(self, name: str, array: np.ndarray[Any, Any]) -> ir.Value:
        return rewiring.add_initializer(self._graph, ir.Tensor(array, name=self._names.fresh(name)))
