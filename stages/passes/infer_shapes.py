# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Types and shapes of all inner values, by ONNX's own shape inference.

Requires: an op that ONNX knows; what follows from another stays unknown.
Ensures: only types and shapes of inner values change. Needed by every later stage that asks for
the type of a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from onnx_ir.passes.common import ShapeInferencePass

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

    from stages.passes.api import Context

EXACT: Final = True

_PACKED = {
    "Optional",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceMap",
    "SplitToSequence",
}
_PASSED_ON = {"Identity", "If", "Loop", "OptionalGetElement", "Scan"}


def run(model: ir.Model, context: Context) -> None:  # noqa: ARG001 (one signature for all)
    """Change `model` in place."""
    types = {value: value.type for value in _doubtful(model)}
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    for value, kind in types.items():
        value.type = kind


def _doubtful(model: ir.Model) -> Iterator[ir.Value]:
    """Values that may be sequences or optionals: onnx_ir makes tensors of them (1.1.0)."""
    nodes = list(model.graph.all_nodes())
    if any(node.op_type in _PACKED for node in nodes if not node.domain):
        for node in nodes:
            if node.op_type in _PACKED | _PASSED_ON:
                yield from node.outputs
