# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Decisions on timing caches, on plain maps: what is refused, and what is told of a difference."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.backends import timing
from stages.lib import errors

KEYS = st.integers(0, 40).map(lambda number: f"0x{number:032x}")
TACTICS = st.integers(0, timing.INVALID - 1)
MAPS = st.dictionaries(KEYS, TACTICS, max_size=20)
TIMES = st.floats(min_value=0, allow_nan=False, width=32)


@given(st.dictionaries(KEYS, st.tuples(TACTICS, TIMES), min_size=1))
def test_sound_entries_are_taken_whatever_their_times(
    entries: dict[str, tuple[int, float]],
) -> None:
    listed = [(key, tactic, time) for key, (tactic, time) in entries.items()]
    assert timing.checked(listed, "a.cache") == {key: tactic for key, tactic, _ in listed}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (("0x3", timing.INVALID, 0.5), "1 faults: 0x3 has no tactic"),
        (("0x3", 2**64, 0.5), "1 faults: 0x3 has no tactic"),
        (("0x3", 7, math.nan), "1 faults: 0x3 has the time nan"),
        (("0x3", 7, -0.5), "1 faults: 0x3 has the time -0.5"),
        (("0x1", 7, 0.5), "1 faults: 0x1 comes 2 times"),
        # What `query` answers for a key that is not there.
        (("0x3", timing.INVALID, -1.0), "2 faults: 0x3 has no tactic, 0x3 has the time -1.0"),
    ],
)
def test_one_wrong_entry_is_refused_and_named(entry: timing.Entry, told: str) -> None:
    entries = [("0x1", 5, 0.1), ("0x2", 0, 0.0), entry]
    with pytest.raises(errors.ArtifactError, match=rf"a\.cache is not valid, {told}") as caught:
        timing.checked(entries, "a.cache")
    assert caught.value.mend


def test_an_empty_cache_is_refused() -> None:
    with pytest.raises(errors.ArtifactError, match=r"a\.cache holds no tactics: it is damaged"):
        timing.checked([], "a.cache")


def test_many_faults_are_counted_and_two_are_shown() -> None:
    entries = [(f"0x{number}", timing.INVALID, 1.0) for number in range(5)]
    with pytest.raises(errors.ArtifactError, match=r"5 faults: 0x0 .*, 0x1 has no tactic, \.\.\.$"):
        timing.checked(entries, "a.cache")


@given(MAPS, MAPS)
def test_a_difference_is_all_there_is_between_two_maps(
    before: dict[str, int], after: dict[str, int]
) -> None:
    found = timing.compare(before, after)
    kept = {key: tactic for key, tactic in before.items() if key not in found.removed}
    assert all(before[key] == was != now for key, (was, now) in found.changed.items())
    assert {**kept, **found.added, **{k: now for k, (_, now) in found.changed.items()}} == after
    assert set(found.removed) == set(before) - set(after)
    assert (sum(found.counts().values()) == 0) == (before == after)


@given(MAPS, MAPS)
def test_the_other_way_round_added_is_removed(one: dict[str, int], other: dict[str, int]) -> None:
    there, back = timing.compare(one, other), timing.compare(other, one)
    assert (there.added, there.removed) == (back.removed, back.added)
    assert {key: (now, was) for key, (was, now) in there.changed.items()} == back.changed


@given(MAPS, MAPS)
def test_a_build_is_accepted_only_if_it_kept_every_tactic(
    before: dict[str, int], after: dict[str, int]
) -> None:
    if before == after:
        counts = timing.accepted(before, after, "a.cache")
        assert counts == {"added": 0, "removed": 0, "changed": 0}
    else:
        with pytest.raises(errors.BuildError, match="did not keep to the"):
            timing.accepted(before, after, "a.cache")


def test_the_report_counts_all_and_shows_two_of_each() -> None:
    before = {"0xa": 1, "0xb": 2, "0xc": 3, "0xd": 4, "0xe": 5}
    after = {"0xa": 1, "0xb": 16, "0xc": 17, "0xd": 18, "0xf": 6}
    told = (
        "  added 1 (0xf: 0x6)\n"
        "  removed 1 (0xe: 0x5)\n"
        "  changed 3 (0xb: 0x2 -> 0x10, 0xc: 0x3 -> 0x11, ...)"
    )
    assert timing.compare(before, after).report() == told
    with pytest.raises(errors.BuildError, match=r"the 5 tactics of a\.cache") as caught:
        timing.accepted(before, after, "a.cache")
    assert told in caught.value.what
    assert timing.compare(before, before).report() == "  added 0\n  removed 0\n  changed 0"
