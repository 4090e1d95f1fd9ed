# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The rules by which an engine is judged: a report's figures against engines.<engine>.gates.

1. interface           inputs and outputs are the exported model's      always on
2. plan-header         the plan was made by the pinned version          always on
3. max_accuracy_drop   loss of the task metric
4. min_sqnr_db         signal to noise, worst output
5. min_cosine          cosine similarity, worst output
6. max_abs_error       largest absolute difference, worst output
7. max_out_of_range    share outside the calibrated range, worst tensor
8. max_plan_mib        size of the plan
9. precision           the graph computes in the precision asked for    always on

A gate of null asks for nothing. A gate on something that was not measured fails: silence is never
a pass. The one exception is what `auto` chose: where it quantizes nothing, `max_out_of_range` has
nothing to bound, and is `not applicable`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SCHEMA_VERSION = 1

Rule = dict[str, Any]

_SAME = {"tf32": "fp32"}
# Tensors that a reason names.
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class _Gate:
    """A rule with a limit in params.yaml.

    Attributes:
        number, name: as listed above; the name is the gate's key.
        measurement: where its figure comes from; None for the plan itself.
        figure: takes the measurement's value; NaN where it is not finite.
        otherwise: what gives the engine this measurement, if anything does.
        chosen: whether what `auto` chose may be without this figure.
        where: takes the measurement's value and says what is worst, for the reason.
    """

    number: int
    name: str
    measurement: str | None
    figure: Callable[[Any], float]
    otherwise: str = ""
    chosen: bool = False
    where: Callable[[Any], str] = lambda _: ""

    @property
    def floor(self) -> bool:
        return self.name.startswith("min_")


def _worst(key: str, exact: float, pick: Callable[[list[float]], float]) -> Callable[[Any], float]:
    """Worst figure over the outputs; `exact` is that of an identical one, NaN if one is unknown."""

    def figure(value: Any) -> float:
        outputs = value["outputs"].values()
        found = [exact if output["identical"] else output[key] for output in outputs]
        return math.nan if None in found else pick(found)

    return figure


def _worst_tensors(value: Any) -> str:
    """The first of the list, which `validate` orders."""
    shown = value["tensors"][:_SHOWN]
    return "; worst: " + ", ".join(f"{one['name']!r} {_text(one['outside'])}" for one in shown)


_GATES = (
    _Gate(
        number=3,
        name="max_accuracy_drop",
        measurement="task-metric",
        figure=lambda value: float(value["drop"]),
        otherwise="give the model a task metric at models.<model>.metric",
    ),
    _Gate(
        number=4,
        name="min_sqnr_db",
        measurement="numerics",
        figure=_worst("sqnr_db", math.inf, min),
    ),
    _Gate(
        number=5,
        name="min_cosine",
        measurement="numerics",
        figure=_worst("cosine", 1.0, min),
    ),
    _Gate(
        number=6,
        name="max_abs_error",
        measurement="numerics",
        figure=_worst("max_abs", 0.0, max),
    ),
    _Gate(
        number=7,
        name="max_out_of_range",
        measurement="coverage",
        figure=lambda value: float(value["worst"]),
        otherwise="choose a precision and a method that calibrate ranges",
        chosen=True,
        where=_worst_tensors,
    ),
    _Gate(
        number=8,
        name="max_plan_mib",
        measurement=None,
        figure=lambda plan: plan["bytes"] / (1 << 20),
    ),
)


def decide(
    report: Mapping[str, Any], limits: Mapping[str, float | None], report_sha256: str
) -> dict[str, Any]:
    """Judge one engine.

    Args:
        report: what `validate` measured (schemas/report.schema.json).
        limits: `engines.<engine>.gates`.
        report_sha256: digest of the report's file.

    Returns:
        The verdict (schemas/verdict.schema.json).
    """
    measured = {entry["name"]: entry for entry in report["measurements"]}
    rules = [_interface(measured["interface"]), _plan_header(measured["plan-header"])]
    for gate in _GATES:
        entry = measured[gate.measurement] if gate.measurement else _present(report["plan"])
        rules.append(_judge(gate, entry, limits[gate.name], report["precision"]))
    rules.append(_precision(measured["precision"]))
    return {
        "schema_version": SCHEMA_VERSION,
        "engine": report["engine"],
        "verdict": "failed" if failed(rules) else "passed",
        "plan_sha256": report["plan"]["sha256"],
        "report_sha256": report_sha256,
        "rules": rules,
        "not_run": [name for name, entry in measured.items() if entry["state"] == "not run"],
    }


def failed(rules: list[Rule]) -> list[Rule]:
    """The rules that say no."""
    return [rule for rule in rules if rule["state"] == "failed"]


def table(rules: list[Rule]) -> str:
    """Rules as lines of text: name, figure, limit and reason."""
    rows = [("rule", "figure", "limit", "why")]
    rows += [
        (rule["name"], _text(rule["figure"]), _text(rule["limit"]), rule["reason"] or "")
        for rule in rules
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    padded = (
        [*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]]
        for row in rows
    )
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def _interface(entry: Mapping[str, Any]) -> Rule:
    value = entry["value"]
    if value is None:
        return _rule(1, "interface", "failed", None, 0, _absent(entry))
    figure = len(value["differences"])
    if value["equal"]:
        return _rule(1, "interface", "passed", figure, 0)
    reason = "; ".join(value["differences"]) or "inputs or outputs differ from the exported model's"
    return _rule(1, "interface", "failed", figure, 0, reason)


def _plan_header(entry: Mapping[str, Any]) -> Rule:
    value = entry["value"]
    if value is None:
        return _rule(2, "plan-header", "failed", None, "the pin", _absent(entry))
    figure, limit = value["version"], value["pinned"]
    if value["equal"]:
        return _rule(2, "plan-header", "passed", figure, limit)
    reason = f"the plan ({value['magic']}) was made by {figure}, the pin is {limit}"
    return _rule(2, "plan-header", "failed", figure, limit, reason)


def _precision(entry: Mapping[str, Any]) -> Rule:
    """At least one node is in the precision asked for; `auto` may end in any."""
    value = entry["value"]
    if value is None:
        return _rule(9, "precision", "failed", None, 1, _absent(entry))
    asked, layers = _SAME.get(value["asked"], value["asked"]), value["layers"]
    figure = sum(layers.values()) if asked == "auto" else layers.get(asked, 0)
    # A graph of whole numbers alone is as good as fp32.
    if figure or (asked == "fp32" and not layers):
        return _rule(9, "precision", "passed", figure, 1)
    held = ", ".join(f"{count} {name}" for name, count in layers.items()) or "none at all"
    reason = f"no node computes in {asked}; nodes: {held}"
    return _rule(9, "precision", "failed", figure, 1, reason)


def _judge(gate: _Gate, entry: Mapping[str, Any], limit: float | None, asked: str) -> Rule:
    figure = None if entry["value"] is None else gate.figure(entry["value"])
    shown = figure if figure is not None and math.isfinite(figure) else None
    if limit is None:
        return _rule(gate.number, gate.name, "no gate", shown, None)
    if figure is None and gate.chosen and asked == "auto" and entry["state"] == "not applicable":
        reason = f"{entry['reason']}, as `auto` chose"
        return _rule(gate.number, gate.name, "not applicable", None, limit, reason)
    if figure is None:
        lacks = entry["state"] == "not applicable"
        choices = ["set the gate to null", *filter(None, [gate.otherwise if lacks else ""])]
        reason = f"{_absent(entry)}; {', or '.join(choices)}"
        return _rule(gate.number, gate.name, "failed", None, limit, reason)
    if math.isnan(figure):
        reason = "not finite: an output holds infinity or NaN"
        return _rule(gate.number, gate.name, "failed", None, limit, reason)
    if _beyond(figure, limit, floor=gate.floor):
        side = "below" if gate.floor else "above"
        reason = f"{_text(figure)} is {side} {_text(limit)}{gate.where(entry['value'])}"
        return _rule(gate.number, gate.name, "failed", shown, limit, reason)
    exact = None if math.isfinite(figure) else "every output is identical to the reference"
    return _rule(gate.number, gate.name, "passed", shown, limit, exact)


def _beyond(figure: float, limit: float, *, floor: bool) -> bool:
    # 0.99 - 0.98 is 0.010000000000000009: what equals its limit as written shall pass.
    if math.isclose(figure, limit, rel_tol=1e-9):
        return False
    return figure < limit if floor else figure > limit


def _present(value: Any) -> dict[str, Any]:
    return {"value": value}


def _absent(entry: Mapping[str, Any]) -> str:
    return f"{entry['name']} is {entry['state']}: {entry['reason']}"


def _rule(
    number: int,
    name: str,
    state: str,
    figure: float | str | None,
    limit: float | str | None,
    reason: str | None = None,
) -> Rule:
    return {
        "number": number,
        "name": name,
        "state": state,
        "figure": figure,
        "limit": limit,
        "reason": reason,
    }


def _text(value: float | str | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.6g}"
