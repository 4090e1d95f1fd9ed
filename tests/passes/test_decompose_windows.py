# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Pooling, and sampling between pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.decomposing import Case, floats, gained

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = {"x": floats(2, 3, 9, 8)}
ROW = "(float[n,3,9,8] x) => (float[n,3,a,b] y)"
CASES: dict[str, Case] = {
    "max-dilated": (
        (
            f"{ROW} {{ y = MaxPool<kernel_shape = [3,2], dilations = [2,3], pads = [1,1,2,1],"
            " strides = [2,1], ceil_mode = 1>(x) }"
        ),
        IMAGE,
        None,
    ),
    "max-positions": (
        (
            "(float[2,3,9,8] x) => (float[2,3,5,4] y, int64[2,3,5,4] i) {"
            " y, i = MaxPool<kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1],"
            " storage_order = 1>(x) }"
        ),
        {"x": np.round(IMAGE["x"])},  # with equal maxima
        None,
    ),
    "unpool": (
        (
            "(float[1,2,2,2] x, int64[1,2,2,2] i) => (float[1,2,4,4] y) {"
            " y = MaxUnpool<kernel_shape = [2,2], strides = [2,2]>(x, i) }"
        ),
        {"x": floats(1, 2, 2, 2), "i": np.array([0, 3, 9, 15, 17, 19, 25, 30]).reshape(1, 2, 2, 2)},
        None,
    ),
    "average-dilated": (
        (
            f"{ROW} {{ y = AveragePool<kernel_shape = [3,2], dilations = [2,3],"
            " pads = [1,1,2,1]>(x) }"
        ),
        IMAGE,
        1e-5,
    ),
    "lp": (
        f"{ROW} {{ y = LpPool<kernel_shape = [3,2], p = 3, pads = [1,1,1,0]>(x) }}",
        IMAGE,
        1e-5,
    ),
    "deformable": (
        "(float[n,4,6,5] x, float[n,36,3,3] o, float[n,18,3,3] m, float[4] b) => (float[n,4,3,3] y)"
        " <float[4,2,3,3] w = {" + ",".join(f"{np.sin(i):.4f}" for i in range(72)) + "}> {"
        " y = DeformConv<group = 2, offset_group = 2, strides = [2,2], pads = [1,1,1,1],"
        " dilations = [1,1]>(x, w, o, b, m) }",
        {
            "x": floats(2, 4, 6, 5),
            "o": floats(2, 36, 3, 3) * 2,
            "m": floats(2, 18, 3, 3),
            "b": floats(4),
        },
        1e-4,
    ),
    "roi": (
        (
            "(float[1,2,9,8] x, float[r,4] o, int64[r] i) => (float[r,2,3,2] y) {"
            " y = RoiAlign<output_height = 3, output_width = 2, sampling_ratio = 2,"
            " spatial_scale = 0.5>(x, o, i) }"
        ),
        {
            "x": floats(1, 2, 9, 8),
            "o": np.array([[0, 0, 9, 9], [-4, 3, 30, 12], [5, 5, 5, 5]], np.float32),
            "i": np.zeros(3, np.int64),
        },
        2e-5,
    ),
    "fold": (
        (
            "(float[n,24,9] x) => (float[n,4,5,6] y) {"
            " i = Constant<value_ints = [5,6]>() b = Constant<value_ints = [2,3]>()"
            " y = Col2Im<strides = [2,2], pads = [1,1,1,0], dilations = [2,1]>(x, i, b) }"
        ),
        {"x": floats(2, 24, 9)},
        1e-5,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_tensorrt_refuses_is_built_and_computes_the_same(name: str, tmp_path: Path) -> None:
    gained(CASES[name], tmp_path)
