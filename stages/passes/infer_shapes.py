# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Types and shapes of all inner values, by ONNX's own shape inference.

Ensures: only types and shapes of inner values change. Needed by every later stage that asks for
the type of a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_ir.passes.common import ShapeInferencePass

if TYPE_CHECKING:
    import onnx_ir as ir


def run(model: ir.Model, fold_limit_bytes: int) -> None:  # noqa: ARG001 (one signature for all)
    """Change `model` in place."""
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
