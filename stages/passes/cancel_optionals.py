# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What an Optional holds is read where it was made: TensorRT has no optionals.

(Sequences are for the pass decompose.)

Requires: the Optional and its reader in one graph, or a reader whose input is a tensor.
Ensures: the same values reach the same readers. Optionals that an input, an output, a branch or a
loop body holds stay, and so does an empty one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from stages.passes.api import Context

EXACT: Final = True


def run(model: ir.Model, context: Context) -> None:  # noqa: ARG001 (one signature for all)
    """Change `model` in place; an Optional that nobody reads any more is for remove-dead."""
    for graph in model.graphs():
        for node in list(graph):
            if node.domain or node.op_type not in {"OptionalGetElement", "OptionalHasElement"}:
                continue
            held = _held(node.inputs[0]) if node.inputs else None
            if held is not None:
                _replace(node, _read(node, held))


def _held(value: ir.Value | None) -> ir.Value | None:
    """What is certainly in there."""
    producer = None if value is None else value.producer()
    if producer is not None and producer.op_type == "Optional" and not producer.domain:
        return producer.inputs[0] if producer.inputs else None
    # Since opset 18 both readers take what is no optional at all.
    return value if value is not None and isinstance(value.type, ir.TensorType) else None


def _read(node: ir.Node, held: ir.Value) -> ir.Node:
    if node.op_type == "OptionalGetElement":
        return ir.node("Identity", [held])
    return ir.node("Constant", [], {"value": ir.tensor(np.array(1, np.bool_))})


def _replace(node: ir.Node, made: ir.Node) -> None:
    if node.graph is None:
        return
    made.name = node.name
    made.metadata_props.update(node.metadata_props)
    made.outputs[0].type, made.outputs[0].shape = node.outputs[0].type, node.outputs[0].shape
    ir.convenience.replace_nodes_and_values(
        node.graph, node, [node], [made], [node.outputs[0]], [made.outputs[0]]
    )
