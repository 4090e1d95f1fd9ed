# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Integers that TensorRT-RTX lacks kernels for, in int32: bytes, and bits of any integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.decomposing import RNG, Case, gained, whole

if TYPE_CHECKING:
    from pathlib import Path

BYTES = {"x": whole("uint8", 2, 6), "z": whole("uint8", 2, 6)}
SHIFTED = {**BYTES, "z": BYTES["z"] % 9}
WORDS = {"x": whole("int32", 2, 6), "z": whole("int32", 6)}
LONGS = {"x": whole("int64", 2, 6), "z": whole("int64", 6)}
PAIR = "(uint8[n,6] x, uint8[n,6] z) => (uint8[n,6] y)"
TRUTH = "(uint8[n,6] x, uint8[n,6] z) => (bool[n,6] y)"
CASES: dict[str, Case] = {
    **{
        f"bytes-{op.lower()}": (f"{PAIR} {{ y = {op}(x, z) }}", BYTES, None)
        for op in ("Add", "Sub", "Mul", "Max", "Min", "BitwiseAnd", "BitwiseOr", "BitwiseXor")
    },
    **{
        f"bytes-{op.lower()}": (f"{TRUTH} {{ y = {op}(x, z) }}", BYTES, None)
        for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")
    },
    "bytes-div": (f"{PAIR} {{ y = Div(x, z) }}", {**BYTES, "z": BYTES["z"] | 1}, None),
    "bytes-chain": (
        (
            "(uint8[n,4,4,3] x) => (float[n,3,4,4] y) {"
            " a = Transpose<perm = [0,3,1,2]>(x) y = Cast<to = 1>(a) }"
        ),
        {"x": whole("uint8", 2, 4, 4, 3)},
        None,
    ),
    "bytes-where": (
        (
            "(uint8[2,6] x, uint8[2,6] z, bool[2,6] c) => (uint8[6,2] y) {"
            " a = Where(c, x, z) b = Concat<axis = 0>(a) y = Transpose<perm = [1,0]>(b) }"
        ),
        {**BYTES, "c": RNG.random((2, 6)) > 0.5},
        None,
    ),
    "bytes-maxpool": (
        (
            "(uint8[n,2,6,6] x) => (uint8[n,2,3,3] y) {"
            " y = MaxPool<kernel_shape = [2,2], strides = [2,2]>(x) }"
        ),
        {"x": whole("uint8", 1, 2, 6, 6)},
        None,
    ),
    "bytes-not": (
        "(uint8[6] x) => (uint8[6] y) { y = BitwiseNot(x) }",
        {"x": whole("uint8", 6)},
        None,
    ),
    "bytes-shift": (
        f'{PAIR} {{ y = BitShift<direction = "LEFT">(x, z) }}',
        SHIFTED,
        None,
    ),
    "bytes-shift-right": (
        f'{PAIR} {{ y = BitShift<direction = "RIGHT">(x, z) }}',
        SHIFTED,
        None,
    ),
    "bytes-remainder": (
        "(int8[2,6] x, int8[2,6] z) => (int8[2,6] y) { y = Mod(x, z) }",
        {"x": whole("int8", 2, 6), "z": whole("int8", 2, 6) | 1},
        None,
    ),
    "bool-max": (
        (
            "(bool[2,6] x) => (bool[2] y) {"
            " a = Constant<value_ints = [1]>() y = ReduceMax<keepdims = 0>(x, a) }"
        ),
        {"x": np.array([[0] * 6, [0, 1] * 3], bool)},
        None,
    ),
    **{
        f"words-{op.lower()}": (
            f"(int32[n,6] x, int32[6] z) => (int32[n,6] y) {{ y = {op}(x, z) }}",
            WORDS,
            None,
        )
        for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")
    },
    "longs-xor": (
        "(int64[n,6] x, int64[6] z) => (int64[n,6] y) { y = BitwiseXor(x, z) }",
        LONGS,
        None,
    ),
    "words-not": (
        "(int32[n,6] x) => (int32[n,6] y) { y = BitwiseNot(x) }",
        {"x": WORDS["x"]},
        None,
    ),
    "words-relu": ("(int32[n,6] x) => (int32[n,6] y) { y = Relu(x) }", {"x": WORDS["x"]}, None),
    "words-matmul": (
        "(int32[n,2,6] x, int32[6,3] z) => (int32[n,2,3] y) { y = MatMul(x, z) }",
        {"x": whole("int32", 2, 2, 6) // 9, "z": RNG.integers(-1, 2, (6, 3)).astype("i4")},
        None,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_tensorrt_refuses_is_built_and_computes_the_same(name: str, tmp_path: Path) -> None:
    gained(CASES[name], tmp_path)
