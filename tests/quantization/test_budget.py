# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of a candidate, how far they are from a budget, and which rows layers are tried on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.quantization import budget, sensitivity

NONE: dict[str, float | None] = {"max_accuracy_drop": None, "min_sqnr_db": None, "min_cosine": None}
GOOD = {"accuracy_drop": 0.01, "sqnr_db": 40.0, "cosine": 0.999}


def errors(a: list[float], b: list[float]) -> budget.Errors:
    found = budget.Errors()
    for x, y in zip(a, b, strict=True):  # batches of one
        found.add({"y": np.array([x], np.float32)}, {"y": np.array([y], np.float32)})
    return found


def test_figures_are_those_of_all_batches() -> None:
    found = errors([3.0, 4.0], [3.0, 4.5])
    assert found.noise() == pytest.approx(0.25 / 25)
    assert budget.figures(found, 0.5) == {"sqnr_db": 20.0, "cosine": 0.99846, "accuracy_drop": 0.5}


def test_the_worst_output_counts_and_integers_do_not() -> None:
    found = budget.Errors()
    a = {"a": np.ones(4), "b": np.ones(4), "n": np.ones(4, np.int64)}
    b = {"a": np.ones(4), "b": np.full(4, 1.1), "n": np.zeros(4, np.int64)}
    found.add(a, b)
    assert found.noise() == pytest.approx(0.01)


def test_identical_outputs_and_overflows_are_told_apart() -> None:
    same = budget.figures(errors([1.0, math.inf], [1.0, math.inf]), None)
    assert same == {"sqnr_db": None, "cosine": 1.0, "accuracy_drop": None}
    over = budget.figures(errors([1.0, 2.0], [1.0, math.inf]), None)
    assert over == {"sqnr_db": None, "cosine": None, "accuracy_drop": None}
    for name, limit in (("min_sqnr_db", 10.0), ("min_cosine", 0.5)):
        assert budget.shortfall({**NONE, name: limit}, same) <= 0
        assert budget.shortfall({**NONE, name: limit}, over) == math.inf


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ({"min_sqnr_db": 40.0}, 0.0),
        ({"min_sqnr_db": 50.0}, 0.2),
        ({"min_sqnr_db": 0.0}, -40.0),
        ({"min_cosine": 0.9999}, pytest.approx(0.0009, rel=1e-3)),
        ({"max_accuracy_drop": 0.005}, 1.0),
        ({"max_accuracy_drop": 0.0}, 0.01),
        ({"max_accuracy_drop": 0.02, "min_sqnr_db": 44.0}, pytest.approx(4 / 44)),
    ],
)
def test_the_limit_missed_most_counts(limits: dict[str, float], wanted: float) -> None:
    assert budget.shortfall({**NONE, **limits}, GOOD) == wanted


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    candidates=st.integers(1, 200),
)
def test_rows_are_spread_over_all_batches(lengths: list[int], candidates: int) -> None:
    total, start = sum(lengths), np.cumsum([0, *lengths])
    batches = [{"x": np.arange(a, a + n)} for a, n in zip(start[:-1], lengths, strict=True)]
    part = sensitivity.share(candidates)
    rows = np.concatenate([b["x"] for b in sensitivity.select(batches, part, whole=False)])
    assert rows[0] == 0
    assert len(rows) == math.ceil(total * part - 1e-9)
    assert np.diff([*rows, total]).max(initial=0) <= math.ceil(1 / part)
    # What all candidates cost together, in passes: at most one row more for each.
    assert candidates * len(rows) <= sensitivity.PASSES * total + candidates


def test_a_fixed_batch_is_taken_whole() -> None:
    batches = [{"x": np.full(4, i)} for i in range(8)]
    found = list(sensitivity.select(batches, 0.25, whole=True))
    assert [int(batch["x"][0]) for batch in found] == [0, 4]
    assert all(len(batch["x"]) == 4 for batch in found)


def test_noise_is_told_to_a_tenth_of_a_decibel() -> None:
    assert sensitivity.rounded(0.0) == 0.0
    assert sensitivity.rounded(math.inf) == math.inf
    assert sensitivity.rounded(0.012345) == sensitivity.rounded(0.012345 * (1 + 1e-6))
    assert sensitivity.rounded(0.01) == pytest.approx(0.01)
