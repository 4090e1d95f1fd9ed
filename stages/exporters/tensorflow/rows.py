# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A flattened image is rows of values, whose order the constants follow down to dense layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Container


def constants(
    graph: Any, flat: str, width: int, each: Container[str]
) -> list[tuple[Any, int, int]] | None:
    """What has one number, or one row of weights, for each value of a row.

    Args:
        graph: of tf2onnx.
        flat: name of the rows.
        width: values of a row.
        each: operators that compute one value at a time.

    Returns:
        Node, input and axis of each; None if rows come to something else than dense layers.
    """
    rows, between, found = [flat], [], []
    for row in rows:  # which grows
        for reader in graph.find_output_consumers(row):
            if reader.input[0] == row and dense(reader):
                found.append((reader, 1, 1 if reader.get_attr_value("transB", 0) else 0))
            elif reader.type not in each:
                return None
            elif reader not in between:
                between.append(reader)
                rows.append(reader.output[0])
    for reader in between:
        for place, name in enumerate(reader.input):
            size = 1 if name in {*rows, ""} else _last(reader.inputs[place])
            if size not in (1, width):
                return None
            if size == width > 1:
                found.append((reader, place, -1))
    return None if set(rows) & set(graph.outputs) else found


def dense(node: Any) -> bool:
    """Whether a node multiplies what it gets by a constant matrix."""
    constant = node.type in ("MatMul", "Gemm") and node.inputs[1].is_const()
    flat = constant and len(node.inputs[1].get_tensor_value(as_list=False).shape) == 2  # noqa: PLR2004
    return flat and not node.get_attr_value("transA", 0) and node.input[0] not in node.input[1:]


def _last(node: Any) -> int:
    """Length of the last axis of a constant, 1 of one number; 0 of what is no constant."""
    return (1, *node.get_tensor_value(as_list=False).shape)[-1] if node.is_const() else 0
