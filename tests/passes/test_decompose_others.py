# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Running sums, scattering, transforms, training steps and features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.decomposing import RNG, Case, floats, gained, number

if TYPE_CHECKING:
    from pathlib import Path

VECTOR = "(float[5] x) => (float[5] y)"
GIVEN = {"x": floats(2, 3, 4), "axis": number(-2, "int64")}
AXIS = "(float[2,3,4] x, int64 axis) => (float[2,3,4] y)"
CASES: dict[str, Case] = {
    "sum-axis": (f"{AXIS} {{ y = CumSum<exclusive = 1>(x, axis) }}", GIVEN, None),
    "scatter-elements": (
        (
            "(float[4,3] x, int64[6,3] i, float[6,3] u) => (float[4,3] y) {"
            ' y = ScatterElements<reduction = "add">(x, i, u) }'
        ),
        {"x": floats(4, 3), "i": RNG.integers(-4, 4, (6, 3)), "u": floats(6, 3)},
        None,
    ),
    "scatter-nd": (
        (
            "(float[4,3] x, int64[5,1] i, float[5,3] u) => (float[4,3] y) {"
            ' y = ScatterND<reduction = "mul">(x, i, u) }'
        ),
        {"x": floats(4, 3), "i": np.array([[1], [3], [1], [-1], [1]]), "u": floats(5, 3)},
        None,
    ),
    "vector-matrices": (
        "(float[4] x, float[n,4,3] w) => (float[n,3] y) { y = MatMul(x, w) }",
        {"x": floats(4), "w": floats(2, 4, 3)},
        1e-5,
    ),
    "determinant": (
        "(float[n,3,3] x) => (float[n] y) { y = Det(x) }",
        {"x": floats(5, 3, 3)},
        1e-5,
    ),
    "split-sequence": (
        (
            "(float[n,7] x) => (float[n,1] y, int64 l) {"
            " s = Constant<value_int = 3>() p = Constant<value_int = -1>()"
            " q = Constant<value_int = 0>()"
            " a = SplitToSequence<axis = 1>(x, s) b = SequenceErase(a, q)"
            " y = SequenceAt(b, p) l = SequenceLength(b) }"
        ),
        {"x": floats(2, 7)},
        None,
    ),
    "join-sequence": (
        (
            "(float[n,4] x, float[n,4] z) => (float[n,3,4] y) {"
            " a = SequenceConstruct(x, z) b = SequenceInsert(a, x)"
            " y = ConcatFromSequence<axis = 1, new_axis = 1>(b) }"
        ),
        {"x": floats(2, 4), "z": floats(2, 4)},
        None,
    ),
    "squeezed-sequence": (
        (
            "(float[3,n] x) => (float[n] y) { p = Constant<value_int = -2>()"
            " a = SplitToSequence<axis = 0, keepdims = 0>(x) y = SequenceAt(a, p) }"
        ),
        {"x": floats(3, 4)},
        None,
    ),
    "binarizer": (
        f"{VECTOR} {{ y = ai.onnx.ml.Binarizer<threshold = 0.5>(x) }}",
        {"x": np.array([0.5, np.nan, np.inf, 0.6, -1], np.float32)},
        None,
    ),
    "features": (
        (
            "(float[n,4] x, int64[2] i) => (float[n,2] y) {"
            " y = ai.onnx.ml.ArrayFeatureExtractor(x, i) }"
        ),
        {"x": floats(3, 4), "i": np.array([3, 1])},
        None,
    ),
    "ngrams": (
        (
            "(int64[n,9] x) => (float[n,5] y) {"
            ' y = TfIdfVectorizer<mode = "TFIDF", min_gram_length = 1, max_gram_length = 2,'
            " max_skip_count = 1, ngram_counts = [0,2], ngram_indexes = [0,1,3,4],"
            " pool_int64s = [2,3, 2,3,3,3], weights = [1.0,2.0,3.0,4.0,5.0]>(x) }"
        ),
        {"x": RNG.integers(1, 5, (3, 9))},
        None,
    ),
    "batch-statistics": (
        (
            "(float[n,3,4] x, float[3] s, float[3] b, float[3] m, float[3] v)"
            " => (float[n,3,4] y, float[3] k, float[3] w) {"
            " y, k, w = BatchNormalization<training_mode = 1>(x, s, b, m, v) }"
        ),
        {"x": floats(5, 3, 4), **{name: np.abs(floats(3)) for name in "sbmv"}},
        1e-5,
    ),
    **{
        f"momentum-{mode}-{step}": (
            (
                "(float r, int64 t, float[3] x, float[3] g, float[3] v)"
                " => (float[3] y, float[3] w) {"
                " y, w = ai.onnx.preview.training.Momentum<alpha = 0.9, beta = 0.5,"
                f' mode = "{mode}", norm_coefficient = 0.01>(r, t, x, g, v) }}'
            ),
            {
                "r": number(0.1),
                "t": number(step, "int64"),
                **{name: floats(3) for name in "xgv"},
            },
            1e-5,
        )
        for mode, step in (("standard", 0), ("nesterov", 2))
    },
    "adagrad": (
        (
            "(float r, int64 t, float[3] x, float[3] g, float[3] h) => (float[3] y, float[3] w) {"
            " y, w = ai.onnx.preview.training.Adagrad<decay_factor = 0.1, epsilon = 0.001,"
            " norm_coefficient = 0.01>(r, t, x, g, h) }"
        ),
        {
            "r": number(0.1),
            "t": number(3, "int64"),
            **{name: np.abs(floats(3)) for name in "xgh"},
        },
        1e-5,
    ),
    **{
        f"adam-{step}": (
            (
                "(float r, int64 t, float[3] x, float[3] g, float[3] v, float[3] h)"
                " => (float[3] y, float[3] w, float[3] u) {"
                " y, w, u = ai.onnx.preview.training.Adam<alpha = 0.9, beta = 0.99,"
                " epsilon = 0.001, norm_coefficient = 0.01,"
                " norm_coefficient_post = 0.1>(r, t, x, g, v, h) }"
            ),
            {
                "r": number(0.1),
                "t": number(step, "int64"),
                **{name: np.abs(floats(3)) for name in "xgvh"},
            },
            1e-5,
        )
        for step in (0, 4)
    },
    **{
        f"fourier-{name}": (
            (
                f"(float[2,{size},{last}] x) => (float[a,b,c] y) {{"
                f" l = Constant<value_int = {length}>() y = DFT<{flags}>(x, l) }}"
            ),
            {"x": floats(2, size, last)},
            2e-5,
        )
        for name, size, last, length, flags in (
            ("real", 12, 1, 12, "onesided = 1"),
            ("complex", 9, 2, 9, "onesided = 0"),
            ("longer", 9, 2, 16, "onesided = 0"),
            ("shorter", 9, 2, 5, "onesided = 0"),
            ("inverse", 9, 2, 9, "inverse = 1"),
        )
    },
}


@pytest.mark.parametrize("name", CASES)
def test_what_tensorrt_refuses_is_built_and_computes_the_same(name: str, tmp_path: Path) -> None:
    gained(CASES[name], tmp_path)
