# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Casts to and from FP8, as quantization by a scale of 1: TensorRT takes FP8 from nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx_ir as ir

from stages.passes.rules import make

if TYPE_CHECKING:
    from onnx_ir.tape import Tape

    from stages.passes.rules.make import Result, Rule

_FP8: Final = ir.DataType.FLOAT8E4M3FN
_FLOATS: Final = {ir.DataType.FLOAT, ir.DataType.FLOAT16}
_NAMES_ITS_TYPE: Final = 21  # the opset from which QuantizeLinear has `output_dtype`


def cast(node: ir.Node, tape: Tape) -> Result:
    """Cast between FP8 (E4M3FN) and float32 or float16, where it saturates."""
    value, to = node.inputs[0], int(node.attributes.get_int("to", 0))
    if value is None or value.dtype is None or make.opset(node) < _NAMES_ITS_TYPE:
        return None
    maker = make.Maker(node, tape)
    if value.dtype == _FP8 and to in _FLOATS:
        return [maker("DequantizeLinear", value, maker.array(1, ir.DataType(to)))]
    if value.dtype in _FLOATS and to == _FP8 and bool(node.attributes.get_int("saturate", 1)):
        scale = maker.array(1, value.dtype)
        return [maker("QuantizeLinear", value, scale, output_dtype=int(_FP8), saturate=1)]
    return None


RULES: Final[dict[str, Rule]] = {"Cast": cast}
