# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Which inputs and outputs of a node may change type together: read from ONNX's own op schemas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Sequence

FLOAT = ir.DataType.FLOAT
_FLOATS = (FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_TYPE_STR = {
    ir.DataType.FLOAT16: "tensor(float16)",
    ir.DataType.BFLOAT16: "tensor(bfloat16)",
}


@dataclass(frozen=True, kw_only=True)
class Slots:
    """Positions of a node's float32 inputs and outputs that take a low-precision type.

    Attributes:
        inputs: indices of inputs.
        outputs: indices of outputs; empty if the node cannot run in that type.
        reason: why not, if `outputs` is empty.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    reason: str = ""


def slots(node: ir.Node, opset: int, low: ir.DataType) -> Slots:
    """Find the slots of `node` for the type `low`.

    An output follows its inputs when the op's schema gives both one type variable. So a Cast to
    float32, a shape or a random number keeps its type, and a scale that the schema fixes to
    float32 (Resize) stays float32.
    """
    schema = _schema(node, opset)
    if schema is None:
        return Slots(
            inputs=(), outputs=(), reason=f"no ONNX schema for {node.domain}::{node.op_type}"
        )
    unknown = [v.name for v in node.inputs if v is not None and v.dtype is None]
    if unknown:  # behind a plugin, which may make any type
        return Slots(inputs=(), outputs=(), reason=f"the type of its input {unknown[0]} is unknown")
    allowed = {c.type_param_str: set(c.allowed_type_strs) for c in schema.type_constraints}
    variables = _variables(schema.inputs, len(node.inputs))
    # A producer that was typed before has made its output low already.
    floats = [
        i for i, value in enumerate(node.inputs) if value is not None and value.dtype in _FLOATS
    ]
    tied = {variables[i] for i in floats if variables[i] in allowed}
    outputs = tuple(
        i
        for i, (value, variable) in enumerate(
            zip(node.outputs, _variables(schema.outputs, len(node.outputs)), strict=True)
        )
        if value.dtype == FLOAT and variable in tied
    )
    if not outputs:
        return Slots(inputs=(), outputs=(), reason="no float output follows a float input")
    refusing = sorted(variable for variable in tied if _TYPE_STR[low] not in allowed[variable])
    if refusing:
        reason = f"{node.op_type} does not take {low.name.lower()} at opset {opset}"
        return Slots(inputs=(), outputs=(), reason=reason)
    return Slots(inputs=tuple(i for i in floats if variables[i] in tied), outputs=outputs)


def _schema(node: ir.Node, opset: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return None


def _variables(formal: Sequence[onnx.defs.OpSchema.FormalParameter], count: int) -> list[str]:
    """Type variable of each actual parameter; the last formal one repeats if it is variadic."""
    return [formal[min(i, len(formal) - 1)].type_str for i in range(count)] if formal else []
