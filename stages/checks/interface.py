# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs and outputs of the typed graph against the exported one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx_ir as ir


def measure(exported: ir.Model, typed: ir.Model) -> dict[str, Any]:
    """{"equal", "differences": [text]}: names, order, dtypes and shapes."""
    differences = []
    for what in ("inputs", "outputs"):
        wanted = [_face(value) for value in getattr(exported.graph, what)]
        found = [_face(value) for value in getattr(typed.graph, what)]
        if wanted != found:
            differences.append(f"{what}: exported {wanted}, typed {found}")
    return {"equal": not differences, "differences": differences}


def _face(value: ir.Value) -> str:
    dtype = value.dtype.name.lower() if value.dtype is not None else "unknown"
    return f"{value.name} {dtype} {value.shape}"
