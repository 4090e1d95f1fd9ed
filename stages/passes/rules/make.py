# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What rules are made with: facts that a graph states, and a maker of nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from onnx_ir.tape import Tape

    Result = Sequence[ir.Value] | None
    Rule = Callable[[ir.Node, Tape], Result]

Array = np.ndarray[Any, Any]


def given(node: ir.Node, index: int) -> ir.Value | None:
    """Input `index` of `node`; None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def used(node: ir.Node, index: int) -> bool:
    """Whether anything reads output `index` of `node`."""
    if index >= len(node.outputs):
        return False
    value = node.outputs[index]
    return value.is_graph_output() or bool(value.uses())


def shape(value: ir.Value | None) -> list[int | None] | None:
    """The shape of `value`, None for each dimension that is no number; None where unknown."""
    if value is None or value.shape is None:
        return None
    return [size if isinstance(size, int) else None for size in value.shape]


def dims(value: ir.Value | None) -> list[int] | None:
    """The shape of `value`, where every dimension is a number."""
    sizes = shape(value)
    known = [size for size in sizes or () if size is not None]
    return known if sizes is not None and len(known) == len(sizes) else None


def rank(value: ir.Value | None) -> int | None:
    """Number of dimensions of `value`, where it is known."""
    return None if value is None or value.shape is None else len(value.shape)


def constant(value: ir.Value | None) -> Array | None:
    """What `value` holds in every run; None where a caller may set it."""
    if value is None or value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def axis_of(node: ir.Node, value: ir.Value | None, default: int | None = None) -> int | None:
    """Attribute `axis` (`default` where it is missing), counted from the front."""
    axis, size = node.attributes.get_int("axis", default), rank(value)
    if axis is None or size is None or not -size <= axis < size:
        return None
    return axis % size


def opset(node: ir.Node) -> int:
    """Version of the default operator set of the graph; 0 where it is not stated."""
    return 0 if node.graph is None else node.graph.opset_imports.get("", 0)


class Maker:
    """Makes nodes that stand for `node`: values are named after its first output."""

    def __init__(self, node: ir.Node, tape: Tape) -> None:
        self._tape = tape
        self._prefix = next((v.name for v in node.outputs if v.name), node.name)
        self._count = 0

    def __call__(self, op: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """One node of one output."""
        return self._named(self._tape.op(op, inputs, attributes or None))

    def many(self, op: str, count: int, *inputs: ir.Value, **attributes: Any) -> list[ir.Value]:
        """One node of `count` outputs."""
        values = self._tape.op_multi_out(op, inputs, attributes or None, num_outputs=count)
        return [self._named(value) for value in values]

    def again(
        self, node: ir.Node, inputs: Sequence[ir.Value | None], outputs: int | None = None
    ) -> list[ir.Value]:
        """`node` once more, on other inputs, with its first `outputs` outputs."""
        values = self._tape.op_multi_out(
            node.op_type,
            inputs,
            dict(node.attributes.items()),
            domain=node.domain,
            num_outputs=outputs or len(node.outputs),
        )
        return [self._named(value) for value in values]

    def array(self, content: Any, dtype: ir.DataType) -> ir.Value:
        """A constant of type `dtype` and the shape of `content`."""
        tensor = ir.tensor(np.asarray(content).astype(dtype.numpy()), dtype=dtype)
        value = self("Constant", value=tensor)
        value.const_value = tensor
        return value

    def ints(self, *content: int) -> ir.Value:
        """A constant vector of int64, as axes and shapes are given."""
        return self.array(list(content), ir.DataType.INT64)

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """`value` as `dtype`."""
        return self("Cast", value, to=int(dtype))

    def fixed(self, value: ir.Value, axis: int, index: int) -> ir.Value:
        """The slice of `value` at `index` along `axis`, which stays with size 1."""
        return self("Gather", value, self.ints(index), axis=axis)

    def _named(self, value: ir.Value) -> ir.Value:
        value.name = f"{self._prefix}/{self._count}"
        self._count += 1
        return value
