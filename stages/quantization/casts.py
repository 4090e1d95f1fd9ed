# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""FP16 and BF16: a strongly typed graph by casts.

Every node runs in the type that it is given where its op's schema allows; inputs and outputs of
the graph stay float32, so a Cast stands at each border between two types, once for each value.
Nothing is run: no cast or placement comes from data, random or other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from stages.lib import weights
from stages.quantization import op_types, rewiring

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

# They read no values, so any float type will do.
_SHAPE_ONLY = frozenset({"Shape", "Size"})
_QUANTIZER = frozenset({"QuantizeLinear", "DequantizeLinear"})
# A value that must not become 0, such as a variance with its epsilon, goes through the first to one
# of the second.
_CARRIES = frozenset({"Add", "Clip", "Expand", "Identity", "Max", "Mul", "Reshape", "Sqrt"})
_DIVIDES = frozenset({"Div", "Log", "Pow", "Reciprocal"})

_VANISHES = "vanishes in"

Types = dict[ir.Node, ir.DataType]
Left = list[dict[str, str]]


def decide(
    model: ir.Model, wanted: Callable[[ir.Node], ir.DataType], kept: Mapping[str, str]
) -> tuple[Types, Left]:
    """Which nodes run in a low type.

    Args:
        model: a float32 graph whose values have known types.
        wanted: FLOAT, FLOAT16 or BFLOAT16 for a node.
        kept: reason by name of nodes that stay float32 whatever is wanted.

    Returns:
        The low type by node, and [{"node", "op", "reason"}] for those that stay float32 although
        they were wanted low.
    """
    types: Types = {}
    left: Left = []
    guarded: set[ir.Value] = set()
    for node in model.graph:
        low = wanted(node)
        if low == op_types.FLOAT:
            continue
        slots = op_types.slots(node, model.opset_imports.get(node.domain, 1), low)
        reason = kept.get(node.name or "") or _reason(node, slots, low) or _guard(node, guarded)
        if _VANISHES in reason and node.op_type not in _DIVIDES:
            guarded.update(node.outputs)
        if not reason:
            types[node] = low
        elif {op_types.FLOAT, None} & {value.dtype for value in node.outputs if value.name}:
            left.append({"node": node.name or "", "op": node.op_type, "reason": reason})
    return types, left


def lower(model: ir.Model, types: Mapping[ir.Node, ir.DataType], own: Iterable[ir.Node]) -> int:
    """Give the nodes their types, in place.

    Args:
        model: the graph that was decided upon.
        types: from `decide`.
        own: Q/DQ nodes made for these types: QuantizeLinear reads any float type, and
            DequantizeLinear gives what its reader wants.

    Returns:
        Number of Cast nodes.
    """
    work = _Casting(model, set(own))
    for node in list(model.graph):
        if node in types:
            slots = op_types.slots(node, model.opset_imports.get(node.domain, 1), types[node])
            work.lower(node, slots, types[node])
    return work.restore_borders()


def _reason(node: ir.Node, slots: op_types.Slots, low: ir.DataType) -> str:
    """Why a node stays float32, or an empty string."""
    if node.op_type in _QUANTIZER:
        return "it quantizes"
    if any(
        a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        for a in node.attributes.values()
    ):
        return "control flow"
    for index in slots.inputs:
        tensor = rewiring.constant(node.inputs[index])
        if tensor is not None and (harm := _harm(tensor, low, node, index)):
            return f"a constant input {harm} {low.name.lower()}"
    return slots.reason


def _guard(node: ir.Node, guarded: Container[ir.Value]) -> str:
    """Why a node behind an epsilon stays float32 with it; empty if it need not."""
    read = node.op_type in _CARRIES | _DIVIDES and any(v in guarded for v in node.inputs if v)
    return f"it reads what {_VANISHES} a lower type" if read else ""


def _harm(tensor: ir.TensorProtocol, low: ir.DataType, node: ir.Node, index: int) -> str:
    """What a low type would do to a constant, beyond rounding; empty for nothing.

    A mask of infinities is none the worse, nor are weights of which some are next to nothing. An
    epsilon that becomes 0 no longer guards a division.
    """
    array = tensor.numpy()
    with np.errstate(over="ignore", under="ignore"):
        lowered = array.astype(low.numpy())
    if (np.isfinite(lowered) != np.isfinite(array)).any():
        return "exceeds"
    lost = (lowered == 0) & (array != 0)
    divides = node.op_type == "Div" and index == 1
    return _VANISHES if lost.any() and (divides or not lowered.any()) else ""


class _Casting:
    def __init__(self, model: ir.Model, own: Container[ir.Node]) -> None:
        self._graph, self._own = model.graph, own
        self._names = rewiring.Names(model.graph)
        self._casted: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
        self._lowered: dict[ir.Node, set[int]] = {}
        self._low_values: dict[ir.Value, ir.DataType] = {}  # in order of the graph
        self._made: set[ir.Node] = set()
        self._casts = 0

    def lower(self, node: ir.Node, slots: op_types.Slots, low: ir.DataType) -> None:
        """Give a node's slots the low type."""
        self._lowered[node] = set(slots.inputs)
        for index in slots.inputs:
            value = node.inputs[index]
            if value is not None and value.dtype != low:
                node.replace_input_with(index, self._as(value, low))
        for index in slots.outputs:
            node.outputs[index].dtype = low
            self._low_values[node.outputs[index]] = low

    def restore_borders(self) -> int:
        """Cast low values back to float32 where a kept node or the graph itself reads them."""
        for value, low in self._low_values.items():
            for user, index in list(value.uses()):
                typed = index in self._lowered.get(user, ()) or user in self._made
                if not typed and user not in self._own and user.op_type not in _SHAPE_ONLY:
                    user.replace_input_with(index, self._as(value, op_types.FLOAT))
            for position, output in enumerate(self._graph.outputs):
                if output is value:
                    self._restore_output(position, value, low)
        rewiring.remove_unused_initializers(self._graph)
        return self._casts

    def _restore_output(self, position: int, value: ir.Value, low: ir.DataType) -> None:
        name = value.name
        value.name = self._names.fresh(f"{value.name}_{low.name.lower()}")
        restored = self._as(value, op_types.FLOAT)
        restored.name = name
        self._graph.outputs[position] = restored

    def _as(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        key = (value, dtype)
        if key not in self._casted:
            self._casted[key] = self._converted(value, dtype)
        return self._casted[key]

    def _converted(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        name = self._names.fresh(f"{value.name}_{dtype.name.lower()}")
        tensor = rewiring.constant(value)
        if tensor is not None:
            made = weights.made_from(tensor, lambda a: a.astype(dtype.numpy()), dtype, name)
            return rewiring.add_initializer(self._graph, made)
        cast = ir.node("Cast", [value], {"to": dtype.value}, name=self._names.fresh(f"cast_{name}"))
        result = cast.outputs[0]
        result.name, result.dtype, result.shape = name, dtype, value.shape
        self._made.add(cast)
        rewiring.insert_after(self._graph, value, [cast])
        self._casts += 1
        return result
