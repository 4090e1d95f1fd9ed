# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Opens a graph for observation: inner activations become outputs."""

from __future__ import annotations

import onnx_ir as ir

_IMAGE_RANK = 4


def open_up(model: ir.Model) -> dict[str, int]:
    """Make every float32 activation of the main graph an output, in place.

    Constants are left out: their ranges are known. Values inside control flow are left out too,
    since they have no single value per run.

    Returns:
        By name of the graph's float32 activations, inputs included and in order of the graph: the
        axis of its channels, as `channel_axis` says.
    """
    outputs = {value.name for value in model.graph.outputs}
    found = {value.name or "": channel_axis(value) for value in model.graph.inputs if _float(value)}
    for node in model.graph:
        for value in node.outputs:
            if not _float(value) or not value.name or value.const_value is not None:
                continue
            if node.op_type == "Constant":
                continue
            found[value.name] = channel_axis(value)
            if value.name not in outputs:
                model.graph.outputs.append(value)
    return found


def channel_axis(value: ir.Value) -> int:
    """1 for feature maps [N, C, H, W], the last for anything flatter; 0 where there is none.

    There is none where that axis is the batch or has no fixed size: what is recorded of channels
    must not depend on how many samples a run holds, nor on their length.
    """
    if value.shape is None:
        return 0
    axis = 1 if len(value.shape) >= _IMAGE_RANK else len(value.shape) - 1
    return axis if axis > 0 and isinstance(value.shape[axis], int) else 0


def _float(value: ir.Value) -> bool:
    return value.type == ir.TensorType(ir.DataType.FLOAT)
