# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Nodes, functions, opset imports and initializers that no output needs go.

Requires: nothing.
Ensures: same outputs; graph inputs stay, used or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from onnx_ir.passes.common import (
    RemoveUnusedFunctionsPass,
    RemoveUnusedNodesPass,
    RemoveUnusedOpsetsPass,
)

if TYPE_CHECKING:
    import onnx_ir as ir

    from stages.passes.api import Context

EXACT: Final = True


def run(model: ir.Model, context: Context) -> None:  # noqa: ARG001 (one signature for all)
    """Change `model` in place."""
    RemoveUnusedNodesPass()(model)
    RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
    RemoveUnusedOpsetsPass()(model)
