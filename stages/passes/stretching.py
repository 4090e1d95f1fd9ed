# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Upsample and Resize of before opset 11, for the pass convert-opset.

They mapped coordinates by the scale alone (`asymmetric`), and the nearest one was the one to the
left where the image grew. Source: ONNX's reference and ONNX Runtime's kernels, which agree on it;
where it shrinks they do not, so that is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Sequence

_COORDINATES_SINCE = 11


def find(model: ir.Model, opset: int) -> set[str | None]:
    """Names of the outputs of such nodes in `model`, a graph of `opset`.

    Raises:
        ValueError: a nearest neighbour is asked for, and the scales are not known to be 1 or more.
    """
    if opset >= _COORDINATES_SINCE:
        return set()
    found = [
        node
        for node in model.graph.all_nodes()
        if not node.domain and node.op_type in {"Upsample", "Resize"}
    ]
    for node in found:
        scales = _scales(node)
        nearest = node.attributes.get_string("mode", "nearest") == "nearest"
        if nearest and (scales is None or min(scales) < 1):
            msg = f"{node.op_type} {node.name!r} may shrink to the nearest, which ONNX left open"
            raise ValueError(msg)
    return {node.outputs[0].name for node in found}


def mend(model: ir.Model, names: set[str | None]) -> None:
    """Say it in the words of the newer Resize, in place."""
    for node in model.graph.all_nodes():
        if node.op_type == "Resize" and node.outputs[0].name in names:
            mode = ir.AttrString("coordinate_transformation_mode", "asymmetric")
            node.attributes.add(mode)
            node.attributes.add(ir.AttrString("nearest_mode", "floor"))


def _scales(node: ir.Node) -> Sequence[float] | None:
    if "scales" in node.attributes:
        return node.attributes["scales"].as_floats()
    value = node.inputs[1] if len(node.inputs) > 1 else None
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else [float(number) for number in tensor.numpy().ravel()]
