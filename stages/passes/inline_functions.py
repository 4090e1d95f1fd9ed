# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Calls of functions that the model itself defines become the function's nodes, by onnx_ir.

Requires: no function calls itself, and functions import the opsets that the graph imports, or older
ones in which their operators mean the same; onnx_ir refuses others.
Ensures: the same operators run on the same values; no function is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from onnx_ir.passes.common import InlinePass

from stages.lib import op_schemas

if TYPE_CHECKING:
    import onnx_ir as ir

    from stages.passes.api import Context

EXACT: Final = True


def run(model: ir.Model, context: Context) -> None:  # noqa: ARG001 (one signature for all)
    """Change `model` in place.

    Raises:
        ValueError: a function takes a graph as attribute, or imports another opset.
    """
    opset = model.opset_imports.get("", 0)
    for function in model.functions.values():
        said = function.opset_imports.get("", opset)
        ops = (node.op_type for node in function.all_nodes() if not node.domain)
        if said < opset and all(op_schemas.only_adds(op, said, opset) for op in ops):
            function.opset_imports[""] = opset
    if model.functions:
        InlinePass()(model)
        model.functions.clear()  # those that nothing calls
