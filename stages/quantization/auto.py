# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Precision auto on a real graph: settings become recipes, recipes typed graphs, graphs figures."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.lib import console, graphs
from stages.quantization import budget, candidates, latency, reading, recipe, search, sensitivity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import onnx_ir as ir

    from stages.quantization.trials import Trials

STRENGTHS = (0.85, 0.9, 0.8, 0.7)
"""Strengths of smoothing tried after none and the one in params.yaml, until the budget is met.

Best first, as measured on a sentence encoder (docs/transformer.md): from 0.8 to 0.9 the result is
flat, at 0.7 it is worse by 2.6 dB, and the 0.5 of the paper is worse than no smoothing.
"""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search gives.

    Attributes:
        outcome: the chosen point, or the closest one.
        ranked: candidates in the order in which they would be kept; None where no rung came to
            choose between them.
        members: node names by candidate.
        dear: names of nodes of which INT8 saves no cost; always kept.
        passes: passes over the samples by what they were for.
    """

    outcome: search.Outcome
    ranked: list[search.Candidate] | None
    members: dict[str, list[str]]
    dear: list[str]
    passes: dict[str, float]

    def kept(self) -> list[str]:
        """Names of the nodes kept in the remainder's precision by an INT8 point."""
        setting = self.outcome.point.setting if self.outcome.point else None
        if setting is None or setting.precision != "int8":
            return []
        return [*self.dear, *(n for one in setting.kept for n in self.members[one])]

    @property
    def met(self) -> bool:
        """Whether the budget is met."""
        return self.outcome.point is not None and self.outcome.point.met


class Auto:
    """One search for one engine."""

    def __init__(
        self,
        model: ir.Model,
        base: recipe.Recipe,
        settings: Mapping[str, Any],
        costs: Mapping[str, Mapping[str, float]],
        trials: Trials,
    ) -> None:
        """Prepare; nothing is run.

        Args:
            model: the clean graph; never changed.
            base: int8, with the user's own overrides in `chosen`; its smoothing is one more
                strength to try, and None says that smoothing is not to be tried.
            settings: `engines.<e>.auto`.
            costs: by node and precision, in one unit.
            trials: not used before.
        """
        self._model, self._base, self._settings = model, base, settings
        self._costs, self._trials = costs, trials
        self._members: dict[str, list[str]] = {}
        self._dear: list[str] = []
        self._saved: dict[str, float] = {}
        self._ranked: list[search.Candidate] | None = None
        self._passes = dict.fromkeys(("reference", "smoothing", "ranking", "ladder"), 0.0)

    def run(self) -> Found:
        """Search.

        Raises:
            ArtifactError: a latency table lacks a candidate.
            GraphError, CalibrationError: as the recipe raises them.
        """
        every, wanted = candidates.groups(self._model, self._base), {"int8", self._base.remainder}
        latency.demand(self._costs, [n for names in every.values() for n in names], wanted)
        for name, nodes in every.items():
            saved = self._cheaper(nodes)
            if saved > 0:
                self._members[name], self._saved[name] = nodes, saved
            else:
                self._dear += nodes
        with self._counting("reference"):
            part = sensitivity.share(len(self._members))
            self._trials.reference(graphs.clone(self._model), part)
        work = search.Search(self._measure)
        outcome = work.climb(self._settings["ladder"], self._strengths(), self._rank)
        return Found(
            outcome=outcome,
            ranked=self._ranked,
            members=self._members,
            dear=self._dear,
            passes={**self._passes, "total": self._trials.passes},
        )

    def recipe(self, setting: search.Setting) -> recipe.Recipe:
        """The recipe of a setting; the user's own overrides hold in it."""
        if setting.precision != "int8":
            # What is no override was left in float because Q/DQ would be of no use to it.
            own = {n: p for n, p in self._base.chosen.items() if n not in self._base.why}
            return dataclasses.replace(
                self._base,
                precision=setting.precision,
                remainder=setting.precision,
                chosen={n: p for n, p in own.items() if p != "int8"},
                why={},
                smoothing=None,
            )
        kept = [*self._dear, *(node for one in setting.kept for node in self._members[one])]
        chosen = {**self._base.chosen, **dict.fromkeys(kept, self._base.remainder)}
        return dataclasses.replace(self._base, chosen=chosen, smoothing=setting.smoothing)

    def _strengths(self) -> list[float | None]:
        given = self._base.smoothing
        return [None] if given is None else [None, given, *(s for s in STRENGTHS if s != given)]

    def _cheaper(self, nodes: list[str]) -> float:
        """Cost that INT8 saves."""
        low = self._base.remainder
        return sum(self._cost(name, low) - self._cost(name, "int8") for name in nodes)

    def _measure(self, setting: search.Setting) -> search.Worth:
        graph, wanted = graphs.clone(self._model), setting.precision
        details = recipe.apply(graph, self.recipe(setting))
        if wanted not in details["layers"]:
            reasons = sorted({f"{entry['op']}: {entry['reason']}" for entry in details["kept"]})
            told = "; ".join(reasons) or "it has no node for it"
            msg = f"no node can run in {wanted}: {told}"
            raise search.UnusableError(msg)
        precisions = reading.precisions(graph.graph)
        throughout = setting.precision == "int8" and not setting.kept
        with self._counting("smoothing" if throughout else "ladder"):
            figures = self._trials.judge(graph)
        self._say(setting, figures)
        return search.Worth(
            figures=figures,
            shortfall=budget.shortfall(self._settings["budget"], figures),
            missed=budget.missed(self._settings["budget"], figures),
            share=details["compute"].get("int8", 0.0),
            cost=sum(self._cost(name, precision) for name, precision in precisions.items()),
        )

    @staticmethod
    def _say(setting: search.Setting, figures: Mapping[str, float | None]) -> None:
        kept = f", {len(setting.kept)} layers kept" if setting.kept else ""
        smoothed = f", smoothing {setting.smoothing}" if setting.smoothing is not None else ""
        told = ", ".join(f"{n} {v}" for n, v in figures.items() if v is not None)
        console.say(f"{setting.precision}{kept}{smoothed}: {told or 'overflow'}")

    def _rank(self, strength: float | None) -> list[search.Candidate]:
        """Candidates with the noise of each, in the order in which they are kept."""
        names = list(self._members)
        shown = console.progress(names, total=len(names), unit="layer", label="sensitivity")
        with self._counting("ranking"):
            self._ranked = search.order(
                search.Candidate(
                    node=name, noise=self._alone(name, strength), saved=self._saved[name]
                )
                for name in shown
            )
        return self._ranked

    def _alone(self, name: str, strength: float | None) -> float:
        """Noise with everything else in FP32."""
        names, graph = self._members[name], graphs.clone(self._model)
        others = {node.name or "": "fp32" for node in graph.graph if node.name not in names}
        recipe.apply(
            graph,
            dataclasses.replace(self._base, remainder="fp32", chosen=others, smoothing=strength),
        )
        return sensitivity.rounded(self._trials.alone(graph))

    def _cost(self, name: str, precision: str) -> float:
        return self._costs.get(name, {}).get(precision, 0.0)

    @contextlib.contextmanager
    def _counting(self, purpose: str) -> Iterator[None]:
        """Count the passes of what is run inside."""
        before = self._trials.passes
        yield
        spent = self._trials.passes - before
        self._passes[purpose] = round(self._passes[purpose] + spent, 2)
