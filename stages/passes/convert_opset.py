# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A graph older than `models.<m>.sanitize.opset` becomes one of that opset.

Where newer schemas of its operators only add, the number is raised and no node changes. Else ONNX's
own version converter does it, between `_before` and `_after`, which do by hand what it gets wrong
(measured with onnx 1.23.2): broadcasting by `axis`, PRelu's slope and Hardmax, whose old meaning it
leaves under the new number, and Resize, which it takes for one that counts from half pixels.

Requires: no functions (run inline-functions before), no Scan of opset 8, static ranks where an old
operator counts axes from the left.
Ensures: the same results up to rounding; names of nodes and values and metadata of nodes stay, save
those of nodes that one old operator became.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from onnxscript.version_converter import ConvertVersionPass

from stages.lib import op_schemas
from stages.passes import infer_shapes, legacy, stretching

if TYPE_CHECKING:
    import onnx_ir as ir

    from stages.passes.api import Context

EXACT: Final = False


def run(model: ir.Model, context: Context) -> None:
    """Change `model` in place.

    Raises:
        ValueError: there is no way to say in the newer opset what the graph says.
    """
    opset, target = model.opset_imports.get(""), context.opset
    if opset is None or target is None or opset >= target:
        return
    if model.functions:
        msg = "functions have opsets of their own: run inline-functions before"
        raise ValueError(msg)
    ops = {node.op_type for node in model.graph.all_nodes() if not node.domain}
    if all(op_schemas.only_adds(op, opset, target) for op in ops):
        model.graph.opset_imports[""] = target
    else:
        _convert(model, opset, target, context)
    model.ir_version = max(model.ir_version, op_schemas.ir_version(target))


def _convert(model: ir.Model, opset: int, target: int, context: Context) -> None:
    infer_shapes.run(model, context)
    legacy.run(model, opset)
    old = stretching.find(model, opset)
    faces = [(value.type, value.shape) for value in (*model.graph.inputs, *model.graph.outputs)]
    known = {
        value.name: (node.metadata_props, value.type)
        for node in model.graph.all_nodes()
        for value in node.outputs
    }
    logging.disable(logging.WARNING)  # it logs a failure, with a traceback, and goes on
    try:
        ConvertVersionPass(target, fallback=True)(model)
    finally:
        logging.disable(logging.NOTSET)
    if model.opset_imports.get("") != target:
        msg = f"ONNX's version converter cannot bring this graph from opset {opset} to {target}"
        raise ValueError(msg)
    # It drops metadata, and types of sequences and optionals.
    for node in model.graph.all_nodes():
        for value in node.outputs:
            notes, kind = known.get(value.name, ({}, None))
            node.metadata_props.update(notes)
            value.type = kind or value.type
    values = (*model.graph.inputs, *model.graph.outputs)
    for value, (kind, shape) in zip(values, faces, strict=True):
        value.type, value.shape = kind, shape
    stretching.mend(model, old)
