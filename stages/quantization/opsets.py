# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Raises a graph's opset to what its precision needs, where that changes nothing else.

A newer schema of an op may only add: optional inputs and outputs at the end, attributes with
defaults, types. ONNX's own schemas are compared for that, op by op; what changed its meaning under
an unchanged signature is listed here. Anything more is the exporter's to convert.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

# Scale and bias became one for each channel, no longer one for each group.
_CHANGED = {"GroupNormalization": 21}
# IR version that ONNX released each opset with (onnx.helper.VERSION_TABLE).
_IR_VERSIONS = {19: 9, 20: 9, 21: 10, 22: 10, 23: 11, 24: 12}

_Schema = onnx.defs.OpSchema


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
    if hard := [op for op in ops if not _only_adds(op, opset, floor)]:
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
    model.ir_version = max(model.ir_version, _IR_VERSIONS.get(floor, 0))
    return {"from": opset, "to": floor}


def attempt(model: ir.Model, floor: int) -> dict[str, int]:
    """As `ensure`, but a graph that cannot be raised stays as it is: its nodes then say why not."""
    try:
        return ensure(model, floor, "")
    except errors.GraphError:
        opset = model.opset_imports.get("", floor)
        return {"from": opset, "to": opset}


def _only_adds(op: str, opset: int, floor: int) -> bool:
    changed = _CHANGED.get(op)
    if changed is not None and opset < changed <= floor:
        return False
    try:
        old, new = (onnx.defs.get_schema(op, number, "") for number in (opset, floor))
    except onnx.defs.SchemaError:
        return False
    return old.since_version == new.since_version or (
        not new.deprecated
        and _extends(old.inputs, new.inputs)
        and _extends(old.outputs, new.outputs)
        and _same_attributes(old, new)
    )


def _extends(
    old: Sequence[_Schema.FormalParameter], new: Sequence[_Schema.FormalParameter]
) -> bool:
    required = _Schema.FormalParameterOption.Single
    return (
        len(new) >= len(old)
        and all(b.option == a.option and b.types >= a.types for a, b in zip(old, new, strict=False))
        and all(added.option != required for added in new[len(old) :])
    )


def _same_attributes(old: _Schema, new: _Schema) -> bool:
    """What was there is there with the same default, and what is new may be left out."""
    kept = all(
        name in new.attributes
        and _default(new, name) == _default(old, name)
        and new.attributes[name].required == attribute.required
        for name, attribute in old.attributes.items()
    )
    added = set(new.attributes) - set(old.attributes)
    return kept and not any(new.attributes[name].required for name in added)


def _default(schema: _Schema, name: str) -> bytes:
    return schema.attributes[name].default_value.SerializeToString()
