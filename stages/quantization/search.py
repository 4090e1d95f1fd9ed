# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Precision auto: the cheapest point of a declared ladder that meets a budget.

Pure: what a point is worth comes from a callback, which runs a graph; nothing here knows graphs.
Layers are kept in higher precision in the order of noise removed per cost added, as the greedy
solution of a knapsack; the shortest sufficient head of that order is found by bisection, and
layers of it that turn out needless are released again. Every point is measured once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Rank = Callable[[float | None], Sequence["Candidate"]]

RELEASES = 8
"""Most points measured to release layers after the bisection."""


class UnusableError(Exception):
    """A setting of which no graph can be made; its text says why."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a typed graph is made from.

    Attributes:
        precision: int8, fp16, bf16 or fp32.
        kept: for int8, names of the nodes kept in the remainder's precision, in order of ranking.
        smoothing: for int8, its strength, or None.
    """

    precision: str
    kept: tuple[str, ...] = ()
    smoothing: float | None = None


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What was measured of a setting.

    Attributes:
        figures: for people: name to number, None where it is not finite.
        shortfall: how far it misses the budget; 0 or less if it meets it.
        missed: the same in words; empty if it meets it.
        share: share of the candidates' multiply-accumulates in INT8, 0 to 1.
        cost: estimated cost, in the unit of the objective.
    """

    figures: Mapping[str, float | None]
    shortfall: float
    missed: str
    share: float
    cost: float


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measured setting: which rung asked first, and what it is worth."""

    rung: str
    setting: Setting
    worth: Worth

    @property
    def met(self) -> bool:
        """Whether the budget holds."""
        return self.worth.shortfall <= 0


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A node that may run in INT8, or several that go together.

    Attributes:
        node: its name, or that of the first.
        noise: noise power at the outputs, relative to the signal, when it alone runs in INT8.
        saved: cost that INT8 saves against the remainder's precision; more than 0.
    """

    node: str
    noise: float
    saved: float


@dataclass(kw_only=True)
class Outcome:
    """How the search ended: the chosen point, or the closest one if none meets the budget."""

    point: Point | None
    path: list[Point]
    reasons: list[dict[str, str]] = field(default_factory=list)


def order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The order in which layers are kept: most noise for its cost first; ties as they came."""
    return sorted(candidates, key=lambda one: -one.noise / one.saved)


class Search:
    """One search; `path` holds its points in the order in which they were measured."""

    def __init__(self, measure: Callable[[Setting], Worth]) -> None:
        self._measure = measure
        self._known: dict[Setting, Point] = {}
        self.path: list[Point] = []

    def climb(
        self, ladder: Iterable[str], strengths: Sequence[float | None], rank: Rank
    ) -> Outcome:
        """Go through the rungs in their order; the first that meets the budget ends it.

        Args:
            ladder: int8, mixed, fp16, bf16 and fp32, in the order in which to try them.
            strengths: of smoothing, for int8 and mixed; tried in turn until the budget is met.
            rank: candidates under a strength; called once at most, where layers must be chosen.
        """
        reasons: list[dict[str, str]] = []
        for rung in ladder:
            try:
                if rung == "mixed":
                    point, reason = self._mixed(strengths, rank)
                else:
                    point, reason = self._whole(rung, strengths)
            except UnusableError as error:
                point, reason = None, str(error)
            reasons.append({"rung": rung, "reason": reason})
            if point is not None:
                return Outcome(point=point, path=self.path, reasons=reasons)
        closest = min(
            self.path, key=lambda one: (one.worth.shortfall, one.worth.cost), default=None
        )
        return Outcome(point=closest, path=self.path, reasons=reasons)

    def _point(self, rung: str, setting: Setting) -> Point:
        if setting not in self._known:
            self._known[setting] = Point(rung=rung, setting=setting, worth=self._measure(setting))
            self.path.append(self._known[setting])
        return self._known[setting]

    def _whole(self, rung: str, strengths: Sequence[float | None]) -> tuple[Point | None, str]:
        if rung == "int8":
            point = self._throughout(strengths)
        else:
            point = self._point(rung, Setting(precision=rung))
        if point.met:
            return point, "it meets the budget"
        return None, f"it misses the budget: {point.worth.missed}"

    def _throughout(self, strengths: Sequence[float | None]) -> Point:
        """INT8 alone under the strength that comes closest; the first that meets the budget."""
        points = []
        for strength in strengths:
            points.append(self._point("int8", Setting(precision="int8", smoothing=strength)))
            if points[-1].met:
                return points[-1]
        return min(points, key=lambda one: one.worth.shortfall)

    def _mixed(self, strengths: Sequence[float | None], rank: Rank) -> tuple[Point | None, str]:
        whole = self._throughout(strengths)
        if whole.met:
            return whole, "it meets the budget with no layer kept"
        smoothing = whole.setting.smoothing
        ordered = order(rank(smoothing))
        if not ordered:
            return None, f"it misses the budget: {whole.worth.missed}; no layer can be chosen"

        def kept(count: int) -> Point:
            return self._keeping(tuple(one.node for one in ordered[:count]), smoothing)

        # Keeping all of them is no longer INT8, and another rung's business.
        low, high = 0, len(ordered)
        while high - low > 1:
            middle = (low + high) // 2
            if kept(middle).met:
                high = middle
            else:
                low = middle
        if high == len(ordered):
            most = whole if high == 1 else kept(high - 1)
            told = f"with {high - 1} of {high} layers kept"
            return None, f"it misses the budget {told}: {most.worth.missed}"
        point = self._released(kept(high))
        count = len(point.setting.kept)
        return point, f"it meets the budget with {count} of {len(ordered)} layers kept"

    def _released(self, point: Point) -> Point:
        """Give layers back to INT8 while the budget holds, the least noise for its cost first."""
        tried = 0
        for node in reversed(point.setting.kept):
            rest = tuple(name for name in point.setting.kept if name != node)
            setting = Setting(precision="int8", kept=rest, smoothing=point.setting.smoothing)
            if not rest or setting in self._known:  # measured before, and missed
                continue
            if tried == RELEASES:
                break
            tried += 1
            if (found := self._keeping(rest, point.setting.smoothing)).met:
                point = found
        return point

    def _keeping(self, kept: tuple[str, ...], smoothing: float | None) -> Point:
        return self._point("mixed", Setting(precision="int8", kept=kept, smoothing=smoothing))
