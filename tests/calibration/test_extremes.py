# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Extremes of a tensor and of its channels, whatever its shape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from stages.calibration import extremes

if TYPE_CHECKING:
    from stages.calibration.extremes import Array, Span


def test_the_extremes_of_each_channel() -> None:
    values = np.array([[[1, -5], [2, 0]], [[-3, 4], [0, 0]]], np.float32)
    found = extremes.scan(values, 1)
    assert found.maxima.tolist() == [5, 2]
    assert found.span == (-5, 4)
    assert extremes.scan(values, 2).maxima.tolist() == [3, 5]
    assert extremes.scan(values, 0).maxima.tolist() == [5]
    assert extremes.scan(np.float32(-2) * np.ones(()), 0).maxima.tolist() == [2]
    assert found.merge(extremes.scan(9 * values, 1)).span == (-45, 36)
    assert found.merge(extremes.scan(9 * values, 1)).maxima.tolist() == [45, 18]
    assert found.maxima.dtype == np.float32


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((140_000,), 0),
        ((3, 5, 70_000), 0),
        ((3, 5, 140_000), 1),  # a channel is more than one piece
        ((3, 100, 1_000), 1),  # pieces end within a sample
        ((9, 500, 7, 7), 1),
        ((9, 500, 1, 1), 1),
        ((7, 99, 100), 2),  # the channels are the last axis
        ((3, 70_000), 1),
        ((1, 1), 1),
    ],
)
def test_pieces_of_any_shape_make_the_whole(shape: tuple[int, ...], axis: int) -> None:
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    values += np.arange(shape[axis]).reshape(-1, *[1] * (len(shape) - axis - 1)) % 5
    longest = max(shape[axis], math.prod(shape[axis + 1 :])) if axis else 1
    others = tuple(other for other in range(len(shape)) if axis == 0 or other != axis)
    seen: list[Array] = []

    def count(piece: Array, span: Span) -> None:
        assert span == (piece.min(), piece.max())
        seen.append(piece.reshape(-1))

    for each in (values, np.maximum(values, 0), -np.abs(values) - 1):
        seen.clear()
        found = extremes.scan(each, axis, count)
        assert found.span == (each.min(), each.max())
        wanted = np.atleast_1d(np.abs(each).max(axis=others))
        np.testing.assert_array_equal(found.maxima, wanted)
        np.testing.assert_array_equal(np.concatenate(seen), each.reshape(-1))
        assert max(map(len, seen)) <= max(1 << 16, longest)


@pytest.mark.parametrize(("shape", "axis"), [((0, 2), 1), ((2, 0), 1), ((4, 2, 0), 1), ((0,), 0)])
def test_nothing_has_no_extremes(shape: tuple[int, ...], axis: int) -> None:
    found = extremes.scan(np.zeros(shape, np.float32), axis)
    assert found.span == (0, 0)
    assert found.maxima.tolist() == [0] * (shape[axis] if axis else 1)
    other = extremes.scan(np.full((1, len(found.maxima)), -3, np.float32), 1)
    if len(found.maxima):
        assert found.merge(other).span == other.merge(found).span == (-3, -3)


def test_neither_zero_has_a_sign() -> None:
    """Which of them a minimum takes is left to chance."""
    for values in ([0.0, -0.0], [-0.0, 0.0], [-0.0, -0.0]):
        for axis in range(2):
            found = extremes.scan(np.array([values, values], np.float32), axis)
            made = [*found.span, *found.maxima.tolist()]
            assert not np.signbit(made).any()


def test_a_nan_is_in_both_extremes_and_not_passed_on() -> None:
    values = np.zeros((2, 300, 16, 16), np.float32)
    values[1, 2, 0, 3] = np.nan
    seen: list[Array] = []
    for axis in range(2):
        found = extremes.scan(values, axis, lambda piece, _: seen.append(piece))
        assert np.isnan([found.lowest, found.highest, found.maxima.max()]).all()
    assert seen
    assert not any(np.isnan(piece).any() for piece in seen)
