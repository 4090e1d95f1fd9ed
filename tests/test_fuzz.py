# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A fixed budget of damaged models, the same ones each time; `make fuzz` has more."""

from __future__ import annotations

import pytest

from tests.fuzzing import models, target

SEED, PARTS, ATTEMPTS = 5, 4, 35


@pytest.fixture(scope="module")
def bases() -> dict[str, bytes]:
    return models.all_of_them()


def test_sound_models_come_through(bases: dict[str, bytes]) -> None:
    for name in ("branches", "function", "loop", "quantized", "scan", "sequence", "shapes"):
        result = target.run(bases[name], bases[name], name)
        assert result.end == "accepted", result.text


@pytest.mark.parametrize("part", range(PARTS))
def test_damage_ends_in_an_error_of_its_own(bases: dict[str, bytes], part: int) -> None:
    before = target.peak_mib()  # of all children of this process so far, those of other tests too
    results = [target.attempt(bases, SEED, part * ATTEMPTS + i) for i in range(ATTEMPTS)]
    assert [result for result in results if result.failed] == []
    ends = {result.end for result in results}
    assert {"accepted", "SourceModelError"} <= ends
    assert target.peak_mib() <= max(before, 2 * target.LIMITS["memory_mib"])


def test_an_attempt_can_be_repeated(bases: dict[str, bytes]) -> None:
    assert target.mutant(bases, SEED, 7) == target.mutant(bases, SEED, 7)
    assert target.mutant(bases, SEED, 7) != target.mutant(bases, SEED, 8)
