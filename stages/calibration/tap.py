# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Opens a graph for observation: inner activations become outputs."""

from __future__ import annotations

import onnx_ir as ir


def open_up(model: ir.Model) -> list[str]:
    """Make every float32 activation of the main graph an output, in place.

    Constants are left out: their ranges are known. Values inside control flow are left out too,
    since they have no single value per run.

    Returns:
        Names of the graph's float32 activations, inputs included, in order of the graph.
    """
    outputs = {value.name for value in model.graph.outputs}
    found = [value.name or "" for value in model.graph.inputs if _float(value)]
    for node in model.graph:
        for value in node.outputs:
            if not _float(value) or not value.name or value.const_value is not None:
                continue
            if node.op_type == "Constant":
                continue
            found.append(value.name)
            if value.name not in outputs:
                model.graph.outputs.append(value)
    return found


def _float(value: ir.Value) -> bool:
    return value.dtype == ir.DataType.FLOAT
