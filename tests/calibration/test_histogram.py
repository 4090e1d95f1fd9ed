# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The streaming histogram: counts depend on the values alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stages.calibration.histogram import CHUNK, Histogram

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
TINY, HUGE = 2.0**-149, float(np.finfo(np.float32).max)
# Where a bin or a range ends: powers of two, their neighbours, the smallest and the largest.
EDGES = st.sampled_from(
    [0.0, -0.0, TINY, 2.0**-126, 0.5, 1.0, np.nextafter(np.float32(1), np.float32(0)), 2.0, HUGE]
)
VALUES = arrays.arrays(np.float32, st.integers(0, 40), elements=FLOATS | EDGES.map(float))
BINS = st.sampled_from([2, 16, 256])


def count(bins: int, *batches: np.ndarray[Any, Any]) -> Histogram:
    made = Histogram(bins)
    for batch in batches:
        made.add(batch)
    return made


def same(one: Histogram, other: Histogram) -> bool:
    return (
        one.exponent == other.exponent
        and one.maximum == other.maximum
        and one.zeros == other.zeros
        and np.array_equal(one.counts, other.counts)
        and np.array_equal(one.negative, other.negative)
    )


@given(values=VALUES, bins=BINS, cuts=st.lists(st.integers(0, 40), max_size=4), seed=st.integers(0))
@example(values=np.array([0, 0, TINY, 1, HUGE], np.float32), bins=16, cuts=[1, 2, 3, 4], seed=0)
@example(values=np.array([HUGE, 1, TINY, 0, 0], np.float32), bins=2, cuts=[1, 2, 3, 4], seed=0)
def test_no_order_batching_or_merging_changes_the_counts(
    values: np.ndarray[Any, Any], bins: int, cuts: list[int], seed: int
) -> None:
    whole = count(bins, values)
    batches = np.split(values, sorted(min(cut, len(values)) for cut in cuts))
    assert same(whole, count(bins, *batches))
    assert same(whole, count(bins, np.random.default_rng(seed).permutation(values)))
    merged = Histogram(bins)
    for batch in reversed(batches):
        merged.merge(count(bins, batch))
    assert same(whole, merged)
    turned = count(bins, -values.reshape(1, -1, 1))
    assert np.array_equal(whole.counts, turned.counts)
    positive = whole.counts - whole.negative
    positive[0] -= whole.zeros
    assert np.array_equal(turned.negative, positive)


@given(values=VALUES, bins=BINS)
def test_the_counts_are_numpys_over_the_final_range(
    values: np.ndarray[Any, Any], bins: int
) -> None:
    found = count(bins, values)
    assert found.counts.sum() == len(values)
    assert found.counts.dtype == np.int64
    magnitude = np.abs(values.astype(np.float64))
    assert found.maximum == magnitude.max(initial=0.0)
    if found.exponent is None:
        assert not magnitude.any()
        return
    end = math.ldexp(1.0, found.exponent)
    assert end / 2 <= found.maximum < end
    edges = np.linspace(0.0, end, bins + 1)
    np.testing.assert_array_equal(found.counts, np.histogram(magnitude, edges)[0])
    below = magnitude[values < 0]
    np.testing.assert_array_equal(found.negative, np.histogram(below, edges)[0])
    assert found.zeros == (values == 0).sum()


@pytest.mark.parametrize("exponent", [-148, -126, -1, 0, 1, 100, 127])
def test_a_power_of_two_opens_the_next_range(exponent: int) -> None:
    found = count(4, np.array([math.ldexp(1.0, exponent)], np.float32))
    assert found.exponent == exponent + 1
    assert found.counts.tolist() == [0, 0, 1, 0]


def test_subnormals_are_told_apart() -> None:
    found = count(8, TINY * np.arange(8, dtype=np.float32))
    assert found.exponent == -146
    assert found.counts.tolist() == [1] * 8


def test_zeros_wait_for_a_range() -> None:
    found = count(4, np.zeros(5, np.float32))
    assert (found.exponent, found.maximum, found.counts.tolist()) == (None, 0.0, [5, 0, 0, 0])
    found.add(np.array([3.0], np.float32))
    assert (found.exponent, found.counts.tolist()) == (2, [5, 0, 0, 1])


def test_infinity_is_recorded_and_counted_in_no_bin() -> None:
    for batches in ([[1.0, np.inf]], [[1.0], [-np.inf]], [[np.inf], [1.0]], [[np.inf]]):
        found = count(4, *(np.array(batch, np.float32) for batch in batches))
        assert found.maximum == math.inf
        assert found.counts.sum() == sum(value == 1.0 for batch in batches for value in batch)
    other = count(4, np.array([np.inf], np.float32))
    merged = count(4, np.array([1.0], np.float32))
    merged.merge(other)
    assert merged.maximum == math.inf


@pytest.mark.parametrize("sign", [1, -1, 0])
def test_many_values_are_counted_in_pieces(sign: int) -> None:
    """More than one buffer, and an odd rest; of one sign, and of both."""
    values = np.random.default_rng(0).standard_normal(CHUNK + 35_003).astype(np.float32)
    values[::3] = 0
    values = sign * np.abs(values) if sign else values
    found = count(256, values)
    edges = np.linspace(0.0, math.ldexp(1.0, found.exponent or 0), 257)
    wanted = np.histogram(np.abs(values), edges)[0]
    np.testing.assert_array_equal(found.counts, wanted)
    np.testing.assert_array_equal(found.negative, np.histogram(-values[values < 0], edges)[0])
    assert found.zeros == (values == 0).sum()


def test_nothing_is_counted_of_nothing() -> None:
    found = count(4, np.zeros((0, 3), np.float32))
    assert (found.exponent, found.maximum, found.counts.sum()) == (None, 0.0, 0)
