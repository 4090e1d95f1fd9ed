# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Which nodes would overflow in FP16, by the observed maxima.

A maximum is the largest |x| that the data pass saw. A range that clips (entropy, percentile) says
nothing about overflow and is never asked. Infinite activations, such as masks, are infinite in any
type. What is summed inside one node, before it is rounded to the output, is not observed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from stages.quantization import formats

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnx_ir as ir


def find(
    graph: ir.Graph, wanted: Callable[[ir.Node], ir.DataType], maxima: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Nodes wanted in FP16 with an input or output that exceeds it.

    Args:
        graph: the float32 graph that was observed.
        wanted: type wanted for a node.
        maxima: largest |x| by tensor name, possibly infinite.

    Returns:
        [{"node", "op", "tensor", "maximum"}] in order of the graph; the worst tensor of each node.
    """
    found = []
    for node in graph:
        if wanted(node) != formats.FLOATS["fp16"]:
            continue
        names = [value.name or "" for value in (*node.inputs, *node.outputs) if value is not None]
        large = {
            name: maxima[name]
            for name in names
            if math.isfinite(maxima.get(name, 0.0)) and maxima.get(name, 0.0) > formats.LARGEST_FP16
        }
        if large:
            worst = max(large, key=lambda name: large[name])
            found.append(
                {
                    "node": node.name or "",
                    "op": node.op_type,
                    "tensor": worst,
                    "maximum": large[worst],
                }
            )
    return found


def reasons(found: list[dict[str, Any]]) -> dict[str, str]:
    """Why each of these nodes stays float32, by name."""
    return {
        entry["node"]: f"{entry['tensor']} reached {entry['maximum']:.6g}, more than FP16 holds"
        for entry in found
    }
