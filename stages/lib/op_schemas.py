# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What ONNX's own schemas say of an operator at two opsets.

A newer schema may only add: optional inputs and outputs at the end, attributes with defaults,
types. ONNX's schemas are compared for that; what changed its meaning under an unchanged signature
is listed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

if TYPE_CHECKING:
    from collections.abc import Sequence

# From the opset named on. GroupNormalization: scale and bias are one for each channel, no longer
# for each group. RoiAlign: half a pixel is taken off. PRelu: the slope is broadcast from the right.
# Hardmax: one axis, no longer all from it on; the same for Softmax. Split: equal parts
# have to be counted.
_CHANGED = {
    "GroupNormalization": 21,
    "Hardmax": 13,
    "LogSoftmax": 13,
    "PRelu": 7,
    "RoiAlign": 16,
    "Softmax": 13,
    "Split": 18,
}
# IR version that ONNX released each opset with (onnx.helper.VERSION_TABLE).
_IR_VERSIONS = {18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11, 24: 12}

_Schema = onnx.defs.OpSchema


def ir_version(opset: int) -> int:
    """The least IR version of a file of that opset; 0 for one that this table does not know."""
    return _IR_VERSIONS.get(opset, 0)


def only_adds(op: str, opset: int, later: int) -> bool:
    """Whether a node of `op` that is right at `opset` means the same at `later`."""
    changed = _CHANGED.get(op)
    if changed is not None and opset < changed <= later:
        return False
    try:
        old, new = (onnx.defs.get_schema(op, number, "") for number in (opset, later))
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
