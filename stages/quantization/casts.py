# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""FP16 and BF16: a strongly typed graph by casts.

Every node runs in the low type where its op's schema allows; inputs and outputs of the graph stay
float32, so a Cast stands at each border between the two types, once for each value. Nothing is
run: no cast or placement comes from data, random or other.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from stages.quantization import op_types, rewiring

if TYPE_CHECKING:
    from collections.abc import Container

# They read no values, so any float type will do.
_SHAPE_ONLY = frozenset({"Shape", "Size"})
_QUANTIZER = frozenset({"QuantizeLinear", "DequantizeLinear"})


def to_low(model: ir.Model, low: ir.DataType, kept: Container[str]) -> dict[str, Any]:
    """Type `model` in place.

    Args:
        model: a float32 graph whose values have known types.
        low: FLOAT16 or BFLOAT16.
        kept: names of nodes that stay float32.

    Returns:
        {"low": nodes in the low type, by op; "kept": [{"node", "op", "reason"}]; "casts": int}
    """
    work = _Casting(model, low)
    for node in list(model.graph):
        slots = op_types.slots(node, model.opset_imports.get(node.domain, 1), low)
        if reason := _reason(node, slots, low, kept):
            work.keep(node, reason)
        else:
            work.lower(node, slots)
    work.restore_borders()
    return work.report()


def _reason(node: ir.Node, slots: op_types.Slots, low: ir.DataType, kept: Container[str]) -> str:
    """Why a node stays float32, or an empty string."""
    if node.name in kept:
        return "an override keeps it"
    if node.op_type in _QUANTIZER:
        return "it quantizes"
    if any(
        a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        for a in node.attributes.values()
    ):
        return "control flow"
    for index in slots.inputs:
        tensor = rewiring.constant(node.inputs[index])
        if tensor is not None and not _holds(low, tensor):
            return f"a constant input exceeds {low.name.lower()}"
    return slots.reason


def _holds(low: ir.DataType, tensor: ir.TensorProtocol) -> bool:
    """Whether no value becomes infinite that was not (a mask of infinities is none the worse)."""
    array = tensor.numpy()
    with np.errstate(over="ignore"):
        return bool((np.isfinite(array.astype(low.numpy())) == np.isfinite(array)).all())


class _Casting:
    def __init__(self, model: ir.Model, low: ir.DataType) -> None:
        self._graph, self._low = model.graph, low
        self._names = rewiring.Names(model.graph)
        self._casted: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
        self._lowered: dict[ir.Node, set[int]] = {}
        self._low_values: dict[ir.Value, None] = {}  # in order of the graph
        self._made: set[ir.Node] = set()
        self._kept: list[dict[str, str]] = []
        self._casts = 0
        self._ops: Counter[str] = Counter()

    def keep(self, node: ir.Node, reason: str) -> None:
        """Leave a node as it is; its inputs are restored later."""
        types = {value.dtype for value in node.outputs}
        if self._low in types:  # the source model is in the low type itself
            self._ops[node.op_type] += 1
        elif op_types.FLOAT in types:
            self._kept.append({"node": node.name or "", "op": node.op_type, "reason": reason})

    def lower(self, node: ir.Node, slots: op_types.Slots) -> None:
        """Give a node's slots the low type."""
        self._lowered[node] = set(slots.inputs)
        self._ops[node.op_type] += 1
        for index in slots.inputs:
            value = node.inputs[index]
            if value is not None and value.dtype == op_types.FLOAT:
                node.replace_input_with(index, self._as(value, self._low))
        for index in slots.outputs:
            node.outputs[index].dtype = self._low
            self._low_values[node.outputs[index]] = None

    def restore_borders(self) -> None:
        """Cast low values back to float32 where a kept node or the graph itself reads them."""
        for value in self._low_values:
            for user, index in list(value.uses()):
                low = index in self._lowered.get(user, ()) or user in self._made
                if not low and user.op_type not in _SHAPE_ONLY:
                    user.replace_input_with(index, self._as(value, op_types.FLOAT))
        for position, value in enumerate(self._graph.outputs):
            if value in self._low_values:
                name, value.name = (
                    value.name,
                    self._names.fresh(f"{value.name}_{self._low.name.lower()}"),
                )
                restored = self._as(value, op_types.FLOAT)
                restored.name = name
                self._graph.outputs[position] = restored
        rewiring.remove_unused_initializers(self._graph)

    def _as(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        key = (value, dtype)
        if key not in self._casted:
            self._casted[key] = self._converted(value, dtype)
        return self._casted[key]

    def _converted(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        name = self._names.fresh(f"{value.name}_{dtype.name.lower()}")
        tensor = rewiring.constant(value)
        if tensor is not None:
            array = tensor.numpy().astype(dtype.numpy())
            return rewiring.add_initializer(self._graph, ir.Tensor(array, dtype=dtype, name=name))
        cast = ir.node("Cast", [value], {"to": dtype.value}, name=self._names.fresh(f"cast_{name}"))
        made = cast.outputs[0]
        made.name, made.dtype, made.shape = name, dtype, value.shape
        self._made.add(cast)
        rewiring.insert_after(self._graph, value, [cast])
        self._casts += 1
        return made

    def report(self) -> dict[str, Any]:
        """What was done."""
        low = dict(sorted(self._ops.items()))
        return {"low": low, "kept": self._kept, "casts": self._casts}
