# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The search alone, over noise that adds up: what is kept, how many points, and the ladder."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.quantization import auto, search, sensitivity
from stages.quantization.search import Candidate, Setting, Worth

LADDER = ["int8", "mixed", "fp16", "bf16", "fp32"]
FLOOR = {"fp16": 1e-7, "bf16": 1e-5, "fp32": 0.0}


class Noisy:
    """A network whose noise is the sum over its INT8 layers; smoothing divides it."""

    def __init__(self, candidates: list[Candidate], limit: float) -> None:
        self.candidates, self.limit = candidates, limit
        self.asked: list[Setting] = []
        self.ranked: list[float | None] = []
        self.unusable: set[str] = set()

    def measure(self, setting: Setting) -> Worth:
        if setting.precision in self.unusable:
            raise search.UnusableError("no kernel")
        assert setting not in self.asked, "measured twice"
        self.asked.append(setting)
        noise = FLOOR.get(setting.precision, 0.0)
        if setting.precision == "int8":
            left = [one for one in self.candidates if one.node not in setting.kept]
            noise = math.fsum(one.noise for one in left) * (1 - (setting.smoothing or 0))
        share = len(self.candidates) - len(setting.kept) if setting.precision == "int8" else 0
        return Worth(
            figures={"noise": noise},
            shortfall=noise - self.limit,
            missed=f"noise {noise:.3g}" if noise > self.limit else "",
            share=share / max(len(self.candidates), 1),
            cost=self.cost(setting),
        )

    def cost(self, setting: Setting) -> float:
        if setting.precision != "int8":
            return 10 * sum(one.saved for one in self.candidates)
        return sum(one.saved for one in self.candidates if one.node in setting.kept)

    def rank(self, strength: float | None) -> list[Candidate]:
        self.ranked.append(strength)
        return self.candidates

    def climb(
        self, ladder: list[str] | None = None, strengths: tuple[float | None, ...] = (None,)
    ) -> search.Outcome:
        return search.Search(self.measure).climb(ladder or LADDER, strengths, self.rank)


def layers(*noises: float) -> list[Candidate]:
    return [Candidate(node=f"n{i}", noise=noise, saved=1.0) for i, noise in enumerate(noises)]


def kept(outcome: search.Outcome) -> set[str]:
    assert outcome.point is not None
    return set(outcome.point.setting.kept)


def test_int8_is_enough() -> None:
    network = Noisy(layers(1, 2, 3), 6)
    outcome = network.climb()
    assert outcome.point is not None
    assert outcome.point.setting == Setting(precision="int8")
    assert outcome.reasons == [{"rung": "int8", "reason": "it meets the budget"}]
    assert len(network.asked) == 1


@pytest.mark.parametrize("ladder", [["int8", "mixed"], ["mixed"], ["fp16", "mixed"]])
def test_layers_are_ranked_only_where_some_must_be_chosen(ladder: list[str]) -> None:
    network = Noisy(layers(1, 2, 3), 6)
    assert network.climb(ladder).point is not None
    assert network.ranked == []
    network = Noisy(layers(1, 2, 3), 5)
    network.climb(["int8", "mixed"])
    assert network.ranked == [None]


def test_a_bad_layer_is_found_and_kept_alone() -> None:
    network = Noisy(layers(*([0.01] * 20), 5.0, *([0.01] * 30)), 1.0)
    outcome = network.climb()
    assert kept(outcome) == {"n20"}
    assert outcome.reasons[-1] == {
        "rung": "mixed",
        "reason": "it meets the budget with 1 of 51 layers kept",
    }
    assert len(network.asked) <= 1 + 6


def test_noise_counts_by_what_keeping_a_layer_costs() -> None:
    dear = Candidate(node="dear", noise=1.2, saved=100.0)
    cheap = [Candidate(node=f"cheap{i}", noise=0.5, saved=1.0) for i in range(3)]
    assert kept(Noisy([dear, *cheap], 1.3).climb()) == {"cheap0", "cheap1", "cheap2"}


def test_a_layer_kept_for_nothing_is_released() -> None:
    # By noise per cost `small` comes before `large`, which alone would do.
    small = Candidate(node="small", noise=0.3, saved=0.1)
    large = Candidate(node="large", noise=1.0, saved=1.0)
    rest = layers(0.1)
    network = Noisy([small, large, *rest], 0.45)
    assert kept(network.climb()) == {"large"}


@given(
    noises=st.lists(st.floats(1e-4, 10), min_size=1, max_size=60),
    share=st.floats(0.01, 1.2),
)
def test_what_is_chosen_meets_the_budget_within_few_points(
    noises: list[float], share: float
) -> None:
    network = Noisy(layers(*noises), share * math.fsum(noises))
    outcome = network.climb()
    assert outcome.point is not None
    assert outcome.point.met
    # int8, bisection, releases, and the rungs below.
    most = 1 + math.ceil(math.log2(len(noises) + 1)) + search.RELEASES + 3
    assert len(network.asked) == len(outcome.path) <= most
    assert outcome.point in outcome.path


@given(noises=st.lists(st.floats(1e-3, 1), min_size=2, max_size=40))
def test_a_tighter_budget_never_costs_less(noises: list[float]) -> None:
    total = math.fsum(noises)
    costs = []
    for share in (1.0, 0.5, 0.25, 0.1, 0.05):
        network = Noisy(layers(*noises), share * total)
        outcome = network.climb()
        assert outcome.point is not None
        costs.append(network.cost(outcome.point.setting))
    assert costs == sorted(costs)


@given(noises=st.lists(st.floats(1e-3, 1), min_size=2, max_size=9), share=st.floats(0.05, 0.95))
def test_with_equal_costs_the_set_is_the_smallest(noises: list[float], share: float) -> None:
    limit = share * math.fsum(noises)
    found = Noisy(layers(*noises), limit).climb(["int8", "mixed", "fp32"])
    assert found.point is not None
    names = [f"n{i}" for i in range(len(noises))]
    noise = dict(zip(names, noises, strict=True))
    sizes = [
        count
        for count in range(len(names))
        if any(
            math.fsum(noise[n] for n in names if n not in some) <= limit
            for some in itertools.combinations(names, count)
        )
    ]
    if found.point.setting.precision == "fp32":
        assert not sizes
    else:
        assert len(found.point.setting.kept) == min(sizes)


@given(seed=st.integers(0, 1000), share=st.floats(0.001, 1.1))
def test_54_layers_and_32_samples_cost_at_most_30_passes(seed: int, share: float) -> None:
    """As many as ResNet-50 has: the float graph, the ranking, and every point of the ladder.

    Of all strengths of smoothing none brings anything, so each is tried.
    """
    noises = np.random.default_rng(seed).lognormal(sigma=2, size=54).tolist()
    network = Noisy(layers(*noises), share * math.fsum(noises))
    network.climb(strengths=(None, *(index * 1e-12 for index in range(len(auto.STRENGTHS) + 1))))
    rows = math.ceil(32 * sensitivity.share(54))
    assert 1 + 54 * rows / 32 + len(network.asked) <= 30


def test_the_ladder_falls_through_with_a_reason_for_each_rung() -> None:
    network = Noisy(layers(1, 1), 1e-6)
    network.unusable.add("fp16")
    outcome = network.climb()
    assert outcome.point is not None
    assert outcome.point.setting.precision == "fp32"
    assert outcome.reasons == [
        {"rung": "int8", "reason": "it misses the budget: noise 2"},
        {"rung": "mixed", "reason": "it misses the budget with 1 of 2 layers kept: noise 1"},
        {"rung": "fp16", "reason": "no kernel"},
        {"rung": "bf16", "reason": "it misses the budget: noise 1e-05"},
        {"rung": "fp32", "reason": "it meets the budget"},
    ]


def test_only_declared_rungs_are_tried() -> None:
    network = Noisy(layers(1, 1), 1e-6)
    outcome = network.climb(["fp16"])
    assert [setting.precision for setting in network.asked] == ["fp16"]
    assert outcome.point is not None
    assert outcome.point.met


def test_of_a_budget_that_cannot_be_met_the_closest_point_is_told() -> None:
    outcome = Noisy(layers(3, 2, 1), 0.5).climb(["int8", "mixed"])
    assert outcome.point is not None
    assert not outcome.point.met
    # Two of the three kept, the most that is still mixed.
    assert outcome.point.setting.kept == ("n0", "n1")
    assert outcome.point.worth.figures == {"noise": 1.0}


def test_without_candidates_mixed_is_no_rung() -> None:
    network = Noisy([], -1.0)
    assert [row["reason"] for row in network.climb(["int8", "mixed"]).reasons] == [
        "it misses the budget: noise 0",
        "it misses the budget: noise 0; no layer can be chosen",
    ]


def test_where_nothing_runs_in_int8_both_rungs_say_why() -> None:
    network = Noisy([], -1.0)
    network.unusable.add("int8")
    outcome = network.climb(["int8", "mixed"])
    assert outcome.point is None
    assert [row["reason"] for row in outcome.reasons] == ["no kernel", "no kernel"]
    assert network.ranked == []


@pytest.mark.parametrize(
    ("limit", "wanted", "points"), [(10.0, None, 1), (3.1, 0.5, 2), (0.1, 0.9, 4)]
)
def test_smoothing_is_tried_until_it_is_enough(
    limit: float, wanted: float | None, points: int
) -> None:
    network = Noisy(layers(3, 2, 1), limit)
    outcome = network.climb(["int8"], (None, 0.5, 0.9, 0.7))
    assert outcome.point is not None
    assert outcome.point.setting.smoothing == wanted
    assert len(network.asked) == points


def test_layers_are_chosen_under_the_smoothing_that_comes_closest() -> None:
    network = Noisy(layers(3, 2, 1), 0.4)
    outcome = network.climb(["int8", "mixed"], (None, 0.5, 0.9, 0.7))
    assert network.ranked == [0.9]
    assert outcome.point is not None
    assert outcome.point.met
    assert outcome.point.setting == Setting(precision="int8", kept=("n0",), smoothing=0.9)
    # No strength was measured for mixed again.
    assert [setting.smoothing for setting in network.asked[:4]] == [None, 0.5, 0.9, 0.7]
    assert all(setting.kept for setting in network.asked[4:])
