# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Ranges of each method, and what ranges.json says of them."""

from __future__ import annotations

import numpy as np
import pytest

from stages.calibration import extremes, observations, ranges
from stages.calibration.histogram import Histogram

VALUES = {
    "normal": np.random.default_rng(0).standard_normal((50, 40)).astype(np.float32),
    "constant": np.full((50, 4), -2.5, np.float32),
    "zero": np.zeros((50, 4), np.float32),
    "infinite": np.array([[1.0, np.inf]] * 50, np.float32),
    "relu": np.maximum(np.random.default_rng(1).standard_normal((50, 40)), 0).astype(np.float32),
}


@pytest.fixture
def observed() -> observations.Arrays:
    histograms = {name: Histogram(512) for name in VALUES}
    for name, values in VALUES.items():
        histograms[name].add(values)
    channels = {name: extremes.scan(values, 1) for name, values in VALUES.items()}
    return observations.pack(
        histograms,
        channels,
        dict.fromkeys(VALUES, 1),
        needed={"normal"},
        bins=512,
        samples=50,
        graph="ab",
        data="cd",
    )


def test_each_tensor_is_what_was_packed(observed: observations.Arrays) -> None:
    found = {tensor.name: tensor for tensor in ranges.tensors(observed)}
    assert list(found) == sorted(VALUES)
    assert [name for name, tensor in found.items() if tensor.needed] == ["normal"]
    assert found["relu"].share_of_zeros() == (VALUES["relu"] == 0).mean()
    assert (found["constant"].lowest, found["constant"].highest) == (-2.5, -2.5)
    limit = 64 * found["normal"].width
    assert found["normal"].clipped(limit) == (np.abs(VALUES["normal"]) >= limit).mean()
    assert found["normal"].clipped(1e9) == 0


def test_zero_and_infinity_have_no_range(observed: observations.Arrays) -> None:
    computed = ranges.compute(ranges.tensors(observed), 99.9)
    for method in ranges.METHODS:
        assert {n for n, limit in computed[method].items() if not limit} == {"zero", "infinite"}


def test_a_constant_keeps_its_value_in_range(observed: observations.Arrays) -> None:
    computed = ranges.compute(ranges.tensors(observed), 99.9)
    for method, limits in computed.items():
        assert limits["constant"] == pytest.approx(2.5, rel=0.01), method


def test_the_document_counts_what_is_clipped(observed: observations.Arrays) -> None:
    found = ranges.tensors(observed)
    computed = ranges.compute(found, 90.0)
    made = ranges.document("tiny", observed, found, computed, None)
    assert (made["samples"], made["graph_digest"], made["data_digest"]) == (50, "ab", "cd")
    assert made["tensors"]["zero"]["methods"]["mse"] is None
    assert made["tensors"]["infinite"]["maximum"] is None
    judged = made["tensors"]["normal"]["methods"]
    assert judged["minmax"]["clipped"] == 0
    assert 0.09 < judged["percentile"]["clipped"] <= 0.1
