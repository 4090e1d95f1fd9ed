# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Ops that neither ONNX nor the model itself defines: custom ops, and plugins of TensorRT."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir


def find(model: ir.Model) -> dict[str, list[str]]:
    """Names of their nodes, by op; subgraphs and functions included."""
    found: dict[str, list[str]] = {}
    for node in (*model.graph.all_nodes(), *_in_functions(model)):
        known = node.op_identifier() in model.functions or onnx.defs.has(node.op_type, node.domain)
        if not known:
            op = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            found.setdefault(op, []).append(node.name or "")
    return dict(sorted(found.items()))


def _in_functions(model: ir.Model) -> Iterator[ir.Node]:
    for function in model.functions.values():
        yield from function.all_nodes()
