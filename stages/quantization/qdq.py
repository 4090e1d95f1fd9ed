# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""INT8 and FP8: a strongly typed graph by QuantizeLinear and DequantizeLinear.

Symmetric, zero point 0. INT8 scales of activations are those of the calibration cache, bit for
bit, FP8 scales those of the same ranges; weights are stored quantized with one scale per output
channel, max|w| / 127 or / 448. Scales are float32 whatever the float types around: in FP16 they
would be rounded, and TensorRT-RTX 1.7 would turn them back and warn for each convolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from stages.lib import weights
from stages.quantization import rewiring

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stages.quantization import formats, placement
    from stages.quantization.planning import Plan


def quantize(
    model: ir.Model,
    planned: Plan,
    form: formats.Format,
    types: Mapping[ir.Node, ir.DataType],
) -> tuple[list[ir.Node], dict[str, Any]]:
    """Insert Q/DQ into `model`, in place.

    Args:
        model: the graph that was planned for, of an opset that has what is needed.
        planned: from `planning.plan`.
        form: what to quantize to.
        types: type of a reader, which DequantizeLinear gives; FLOAT where it is not said.

    Returns:
        The nodes made, and {"quantized": nodes by op; "activations": Q/DQ pairs; "weights":
        quantized weights; "scales": see Plan.counts}
    """
    work = _Quantizing(model.graph, form, form.scales({**planned.scales, **planned.smoothed}))
    for point in planned.points:
        work.place(point, types.get(point.node, ir.DataType.FLOAT))
    rewiring.remove_unused_initializers(model.graph)
    return work.made, {
        "quantized": _by_op(planned.points),
        "activations": len(work.activations),
        "weights": work.weights,
        "scales": planned.counts(work.activations),
    }


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
        self.activations: list[str] = []
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
        self.activations.append(value.name or "")
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
        steps = scale.reshape([-1 if a == axis else 1 for a in range(weight.ndim)])
        zeros = np.zeros(len(scale), self._form.dtype.numpy())
        levels = weights.made_from(
            tensor,
            lambda array: self._form.levels(array / steps),
            self._form.dtype,
            self._names.fresh(f"{value.name}_quantized"),
        )
        return (
            rewiring.add_initializer(self._graph, levels),
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
