# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Raises a graph's opset to what its precision needs, where that changes nothing else.

A newer schema of an op may only add (`stages.lib.op_schemas`); anything more is for the pass
convert-opset or the exporter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.lib import errors, op_schemas

if TYPE_CHECKING:
    import onnx_ir as ir


def ensure(model: ir.Model, floor: int, why: str) -> dict[str, int]:
    """Raise the default domain's opset to `floor` if it is below, in place.

    Args:
        model: any graph.
        floor: the lowest opset that will do.
        why: what needs it, for the message.

    Returns:
        {"from": opset, "to": opset}

    Raises:
        GraphError: an op of the graph means something else from there on.
    """
    opset = model.opset_imports.get("", floor)
    if opset >= floor:
        return {"from": opset, "to": opset}
    ops = sorted({node.op_type for node in model.graph.all_nodes() if not node.domain})
    if hard := [op for op in ops if not op_schemas.only_adds(op, opset, floor)]:
        msg = (
            f"the graph has opset {opset} and {why} needs {floor}, but {', '.join(hard)} changed"
            " in between: its number cannot just be raised"
        )
        mend = (
            f"set models.<model>.opset to {floor} or more in params.yaml; a model that comes as"
            " ONNX is to be exported again, or converted with onnx.version_converter"
        )
        raise errors.GraphError(msg, mend=mend)
    model.opset_imports[""] = floor
    model.ir_version = max(model.ir_version, op_schemas.ir_version(floor))
    return {"from": opset, "to": floor}


def attempt(model: ir.Model, floor: int) -> dict[str, int]:
    """As `ensure`, but a graph that cannot be raised stays as it is: its nodes then say why not."""
    try:
        return ensure(model, floor, "")
    except errors.GraphError:
        opset = model.opset_imports.get("", floor)
        return {"from": opset, "to": opset}
