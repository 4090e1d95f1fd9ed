# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Identity nodes go; their consumers read the input instead.

Ensures: same outputs, and names of graph inputs and outputs stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_ir.passes.common import IdentityEliminationPass

if TYPE_CHECKING:
    import onnx_ir as ir


def run(model: ir.Model, fold_limit_bytes: int) -> None:  # noqa: ARG001 (one signature for all)
    """Change `model` in place."""
    IdentityEliminationPass()(model)
