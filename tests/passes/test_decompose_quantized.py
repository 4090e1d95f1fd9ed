# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Quantization with zero points, and integer products."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.decomposing import RNG, Case, floats, gained, number, whole

if TYPE_CHECKING:
    from pathlib import Path

SPREAD = {"x": np.array([[-1e9, -3.5, -2.5, 0, 0.5, 1.5, 2.5, 1e9]], np.float32)}
SCALES = np.array([0.5, 1, 0.1], np.float32)
CASES: dict[str, Case] = {
    "quantize": (
        (
            "(float[n,8] x) => (float[n,8] y) {"
            " s = Constant<value_float = 1.0>() z = Constant<value = uint8 {3}>()"
            " q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"
        ),
        SPREAD,
        None,
    ),
    "quantize-given": (
        (
            "(float[2,3,4] x, float[3] s, int8[3] z) => (int8[2,3,4] y) {"
            " y = QuantizeLinear<axis = 1>(x, s, z) }"
        ),
        {
            "x": floats(2, 3, 4) * 40,
            "s": SCALES,
            "z": whole("int8", 3),
        },
        None,
    ),
    "dequantize-axis": (
        (
            "(int8[2,3,4] x, float[3] s, int8[3] z) => (float[2,3,4] y) {"
            " y = DequantizeLinear<axis = 1>(x, s, z) }"
        ),
        {
            "x": whole("int8", 2, 3, 4),
            "s": SCALES,
            "z": whole("int8", 3),
        },
        None,
    ),
    "quantize-dynamic": (
        "(float[3,4] x) => (uint8[3,4] y, float s, uint8 z) { y, s, z = DynamicQuantizeLinear(x) }",
        {"x": floats(3, 4)},
        None,
    ),
    "matmul-integer": (
        (
            "(uint8[4,600] x, int8[600,3] w, uint8 a, int8 b) => (int32[4,3] y) {"
            " y = MatMulInteger(x, w, a, b) }"
        ),
        {
            "x": RNG.integers(252, 256, (4, 600)).astype(np.uint8),
            "w": RNG.integers(-128, -124, (600, 3)).astype(np.int8),
            "a": number(1, "uint8"),
            "b": number(127, "int8"),
        },
        None,
    ),
    "conv-integer": (
        (
            "(uint8[1,2,5,5] x, uint8[3,2,3,3] w, uint8 a, uint8 b) => (int32[1,3,5,5] y) {"
            " y = ConvInteger<pads = [1,1,1,1]>(x, w, a, b) }"
        ),
        {
            "x": whole("uint8", 1, 2, 5, 5),
            "w": whole("uint8", 3, 2, 3, 3),
            "a": number(7, "uint8"),
            "b": number(200, "uint8"),
        },
        None,
    ),
    "qlinear-conv": (
        "(uint8[1,2,5,5] x, float a, uint8 b, float[3] d, float e, uint8 f) => (uint8[1,3,3,3] y)"
        " <int8[3,2,3,3] w = {" + ",".join(str(i % 50 - 25) for i in range(54)) + "},"
        " int8[3] c = {0,0,0}, int32[3] g = {5,-700,90}> {"
        " y = QLinearConv(x, a, b, w, d, c, e, f, g) }",
        {
            "x": whole("uint8", 1, 2, 5, 5),
            "a": number(0.1),
            "b": number(30, "uint8"),
            "d": np.array([0.02, 0.01, 0.05], np.float32),
            "e": number(0.3),
            "f": number(128, "uint8"),
        },
        1.0,  # ONNX Runtime may round a tie of its other order of factors
    ),
    "qlinear-matmul": (
        (
            "(uint8[3,40] x, float a, uint8 b, uint8[40,2] w, float c, uint8 d, float e, uint8 f)"
            " => (uint8[3,2] y) { y = QLinearMatMul(x, a, b, w, c, d, e, f) }"
        ),
        {
            "x": whole("uint8", 3, 40),
            "a": number(0.1),
            "b": number(130, "uint8"),
            "w": whole("uint8", 40, 2),
            "c": number(0.02),
            "d": number(120, "uint8"),
            "e": number(3.1),
            "f": number(128, "uint8"),
        },
        1.0,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_tensorrt_refuses_is_built_and_computes_the_same(name: str, tmp_path: Path) -> None:
    gained(CASES[name], tmp_path)
