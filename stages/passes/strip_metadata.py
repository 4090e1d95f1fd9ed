# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Stack traces, doc strings and the producer's name go: they say where a graph was made.

Ensures: no node, value, attribute or graph changes otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_ir.passes.common import ClearMetadataAndDocStringPass

if TYPE_CHECKING:
    import onnx_ir as ir


def run(model: ir.Model, fold_limit_bytes: int) -> None:  # noqa: ARG001 (one signature for all)
    """Change `model` in place."""
    ClearMetadataAndDocStringPass()(model)
    model.metadata_props.clear()
    model.producer_name = None
    model.producer_version = None
