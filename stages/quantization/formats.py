# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Number formats: the float types of a node, and the quantized formats of its inputs.

FP8 is E4M3 without infinity, its largest value 448 (OCP 8-bit Floating Point Specification 1.0).
Opset floors as in the ONNX operator changelog: per-channel Q/DQ 13, float8 Q/DQ 19, scales of
another type than the tensor 23.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Mapping

FLOATS = {
    "fp32": ir.DataType.FLOAT,
    "tf32": ir.DataType.FLOAT,
    "fp16": ir.DataType.FLOAT16,
    "bf16": ir.DataType.BFLOAT16,
}
LOW = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
LARGEST_FP16 = 65504.0

# Scales stay float32, bit for bit, while x or y is FP16 or BF16.
MIXED_SCALE_OPSET = 23
# First opset in which convolution, pooling and the like take bfloat16.
BFLOAT16_OPSET = 22


@dataclass(frozen=True, kw_only=True)
class Format:
    """A quantized format: symmetric, zero point 0.

    Attributes:
        name: as in params.yaml.
        dtype: type of the quantized tensor.
        largest: largest magnitude that it holds, in steps of the scale.
        opset: the first with per-channel Q/DQ of this type.
    """

    name: str
    dtype: ir.DataType
    largest: int
    opset: int

    def levels(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Round `values` / scale to what the format holds, to nearest even, without overflow."""
        limited = np.clip(values, -self.largest, self.largest)
        rounded = np.rint(limited) if self.dtype == ir.DataType.INT8 else limited
        return rounded.astype(self.dtype.numpy())

    def scales(self, int8: Mapping[str, float]) -> Mapping[str, float]:
        """Scales for the same ranges, from those of INT8 (range / 127)."""
        if self.largest == INT8.largest:
            return int8
        return {
            name: float(np.float32(scale * INT8.largest / self.largest))
            for name, scale in int8.items()
        }


INT8 = Format(name="int8", dtype=ir.DataType.INT8, largest=127, opset=13)
FP8 = Format(name="fp8", dtype=ir.DataType.FLOAT8E4M3FN, largest=448, opset=19)
QUANTIZED = {form.name: form for form in (INT8, FP8)}
