# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Nodes whose inputs are all constant become constants, by onnxscript's optimizer.

Requires: ops that ONNX's reference implementation computes, on constants within the limit.
Ensures: same outputs; a constant larger than the limit is not made, so that a graph does not grow
on disk by being folded.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass
from onnxscript.optimizer import fold_constants

if TYPE_CHECKING:
    from stages.passes.api import Context

# The optimizer counts elements; four bytes each is the usual weight.
_BYTES_PER_ELEMENT = 4

EXACT: Final = False


def run(model: ir.Model, context: Context) -> None:
    """Change `model` in place."""
    logging.getLogger("onnxscript.optimizer").setLevel(logging.ERROR)  # of what it leaves alone
    limit = context.fold_limit_bytes // _BYTES_PER_ELEMENT
    fold_constants(
        model, input_size_limit=limit, output_size_limit=limit, should_fold=_is_quantized_bias
    )
    # Small ones too: later stages ask of every constant what it holds.
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)


def _is_quantized_bias(node: ir.Node) -> bool | None:
    """Whether it dequantizes INT32, as ONNX Runtime writes biases and TensorRT takes none.

    None leaves it to the optimizer, which keeps all that dequantizes.
    """
    value = node.inputs[0] if node.op_type == "DequantizeLinear" else None
    return True if value is not None and value.dtype == ir.DataType.INT32 else None
