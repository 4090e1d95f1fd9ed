# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The rules: what passes, what fails, and that nothing unmeasured passes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib import schema
from stages.policy import gates

SCHEMAS = Path(__file__).parents[2] / "schemas"
NO_GATES: dict[str, float | None] = dict.fromkeys(
    (
        "max_accuracy_drop",
        "min_sqnr_db",
        "min_cosine",
        "max_abs_error",
        "max_out_of_range",
        "max_plan_mib",
    )
)
NUMBERS = {"interface": 0, "plan-header": 1, "numerics": 2, "task-metric": 3, "coverage": 4}
FIGURES = {
    "max_accuracy_drop": 0.001953125,
    "min_sqnr_db": 33.5,
    "min_cosine": 0.99978,
    "max_abs_error": 0.31,
    "max_out_of_range": 0.0021,
    "max_plan_mib": 182340 / 2**20,
}


@pytest.fixture
def report() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SCHEMAS / "examples/good/report-int8.json").read_bytes())
    return document


def decide(report: dict[str, Any], **limits: float | None) -> dict[str, Any]:
    verdict = gates.decide(report, NO_GATES | limits, "0" * 64)
    assert schema.problems(verdict, schema.read(SCHEMAS / "verdict.schema.json")) == []
    return verdict


def rule(verdict: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(rule for rule in verdict["rules"] if rule["name"] == name)
    return found


def outputs(report: dict[str, Any], **figures: dict[str, Any]) -> dict[str, Any]:
    whole = {"identical": False, "max_abs": 0.1, "relative_l2": 0.1, "cosine": 0.9, "sqnr_db": 9.0}
    changed = copy.deepcopy(report)
    changed["measurements"][2]["value"]["outputs"] = {
        name: whole | figure for name, figure in figures.items()
    }
    return changed


def unmeasured(report: dict[str, Any], name: str, state: str) -> dict[str, Any]:
    changed = copy.deepcopy(report)
    changed["measurements"][NUMBERS[name]].update(state=state, reason="it rained", value=None)
    return changed


def test_no_gates_leave_the_three_rules_that_are_always_on(report: dict[str, Any]) -> None:
    verdict = decide(report)
    states = [rule["state"] for rule in verdict["rules"]]
    assert states == ["passed"] * 2 + ["no gate"] * 6 + ["passed"]
    assert verdict["verdict"] == "passed"
    assert verdict["plan_sha256"] == report["plan"]["sha256"]
    assert verdict["not_run"] == ["device"]


@pytest.mark.parametrize(("name", "figure"), FIGURES.items())
def test_ungated_rule_shows_its_figure(report: dict[str, Any], name: str, figure: float) -> None:
    assert rule(decide(report), name)["figure"] == pytest.approx(figure)


@pytest.mark.parametrize(("name", "figure"), FIGURES.items())
def test_gate_on_either_side_of_the_figure(
    report: dict[str, Any], name: str, figure: float
) -> None:
    harder, softer = (1.01, 0.99) if name.startswith("min_") else (0.99, 1.01)
    assert rule(decide(report, **{name: figure * softer}), name)["state"] == "passed"
    assert rule(decide(report, **{name: figure}), name)["state"] == "passed"
    verdict = decide(report, **{name: figure * harder})
    assert verdict["verdict"] == "failed"
    word = "below" if name.startswith("min_") else "above"
    assert f" is {word} " in rule(verdict, name)["reason"]


def test_limit_that_equals_the_figure_as_written_passes(report: dict[str, Any]) -> None:
    report["measurements"][3]["value"].update(reference=0.99, engine=0.98, drop=0.99 - 0.98)
    assert 0.99 - 0.98 > 0.01
    assert decide(report, max_accuracy_drop=0.01)["verdict"] == "passed"


def test_zero_drop_allows_no_drop(report: dict[str, Any]) -> None:
    assert decide(report, max_accuracy_drop=0.0)["verdict"] == "failed"
    report["measurements"][3]["value"].update(drop=0.0)
    assert decide(report, max_accuracy_drop=0.0)["verdict"] == "passed"
    report["measurements"][3]["value"].update(drop=-0.1)
    assert decide(report, max_accuracy_drop=0.0)["verdict"] == "passed"


def test_interface_that_differs_fails_without_any_gate(report: dict[str, Any]) -> None:
    report["measurements"][0]["value"] = {"equal": False, "differences": ["logits is float16"]}
    verdict = decide(report)
    assert verdict["verdict"] == "failed"
    found = rule(verdict, "interface")
    assert (found["figure"], found["limit"], found["reason"]) == (1, 0, "logits is float16")


def test_plan_of_another_version_fails_without_any_gate(report: dict[str, Any]) -> None:
    report["measurements"][1]["value"].update(version="1.6.1.120", equal=False)
    found = rule(decide(report), "plan-header")
    assert found["state"] == "failed"
    assert found["reason"] == "the plan (vtrt) was made by 1.6.1.120, the pin is 1.7.1.116"


def test_worst_output_counts(report: dict[str, Any]) -> None:
    two = outputs(
        report,
        boxes={"sqnr_db": 40.0, "cosine": 0.5, "max_abs": 2.0},
        scores={"sqnr_db": 10.0, "cosine": 0.9, "max_abs": 0.5},
    )
    verdict = decide(two, min_sqnr_db=20.0, min_cosine=0.8, max_abs_error=1.0)
    figures = {found["name"]: found["figure"] for found in gates.failed(verdict["rules"])}
    assert figures == {"min_sqnr_db": 10.0, "min_cosine": 0.5, "max_abs_error": 2.0}


def test_identical_outputs_pass_every_floor(report: dict[str, Any]) -> None:
    same = {"identical": True, "max_abs": 0.0, "cosine": None, "sqnr_db": None}
    verdict = decide(outputs(report, a=same), min_sqnr_db=200.0, min_cosine=1.0, max_abs_error=0.0)
    assert verdict["verdict"] == "passed"
    found = rule(verdict, "min_sqnr_db")
    assert (found["figure"], found["reason"]) == (
        None,
        "every output is identical to the reference",
    )


def test_one_identical_output_does_not_hide_another(report: dict[str, Any]) -> None:
    same = {"identical": True, "max_abs": 0.0, "cosine": 1.0, "sqnr_db": None}
    verdict = decide(outputs(report, a=same, b={"sqnr_db": 9.0}), min_sqnr_db=10.0)
    assert rule(verdict, "min_sqnr_db")["figure"] == 9.0


@pytest.mark.parametrize("name", ["min_sqnr_db", "min_cosine", "max_abs_error"])
def test_figure_that_is_not_finite_fails(report: dict[str, Any], name: str) -> None:
    nothing = dict.fromkeys(("max_abs", "relative_l2", "cosine", "sqnr_db"))
    found = rule(decide(outputs(report, a={}, b=nothing), **{name: 0.5}), name)
    assert (found["state"], found["figure"]) == ("failed", None)
    assert found["reason"] == "not finite: an output holds infinity or NaN"


@pytest.mark.parametrize("state", ["not applicable", "not run"])
@pytest.mark.parametrize(
    ("measurement", "gate"),
    [
        ("task-metric", "max_accuracy_drop"),
        ("numerics", "min_sqnr_db"),
        ("numerics", "min_cosine"),
        ("numerics", "max_abs_error"),
        ("coverage", "max_out_of_range"),
    ],
)
def test_gate_on_what_was_not_measured_fails(
    report: dict[str, Any], measurement: str, gate: str, state: str
) -> None:
    absent = unmeasured(report, measurement, state)
    assert decide(absent)["verdict"] == "passed"
    found = rule(decide(absent, **{gate: 0.5}), gate)
    assert found["state"] == "failed"
    assert found["reason"].startswith(f"{measurement} is {state}: it rained; set the gate to null")


def test_auto_may_choose_what_has_no_ranges(report: dict[str, Any]) -> None:
    report["precision"] = "auto"
    verdict = decide(unmeasured(report, "coverage", "not applicable"), max_out_of_range=0.5)
    found = rule(verdict, "max_out_of_range")
    assert (found["state"], found["limit"]) == ("not applicable", 0.5)
    assert found["reason"] == "it rained, as `auto` chose"
    assert verdict["verdict"] == "passed"
    unseen = decide(unmeasured(report, "coverage", "not run"), max_out_of_range=0.5)
    assert rule(unseen, "max_out_of_range")["state"] == "failed"
    assert rule(decide(report, max_out_of_range=0.001), "max_out_of_range")["state"] == "failed"
    without = decide(unmeasured(report, "task-metric", "not applicable"), max_accuracy_drop=0.5)
    assert without["verdict"] == "failed"


def test_the_worst_tensors_are_named(report: dict[str, Any]) -> None:
    shares = {"a: b": 0.25, "c": 0.125, "d": 0.02, "e": 0.01}
    tensors = [{"name": name, "outside": share} for name, share in shares.items()]
    report["measurements"][4]["value"] = {"worst": 0.25, "tensors": tensors}
    found = rule(decide(report, max_out_of_range=0.01), "max_out_of_range")
    assert found["reason"] == "0.25 is above 0.01; worst: 'a: b' 0.25, 'c' 0.125, 'd' 0.02"


@pytest.mark.parametrize("name", ["interface", "plan-header"])
def test_rule_that_is_always_on_fails_when_not_measured(report: dict[str, Any], name: str) -> None:
    found = rule(decide(unmeasured(report, name, "not run")), name)
    assert (found["state"], found["reason"]) == ("failed", f"{name} is not run: it rained")


def test_not_run_is_listed(report: dict[str, Any]) -> None:
    assert decide(unmeasured(report, "coverage", "not run"))["not_run"] == ["coverage", "device"]
    assert decide(unmeasured(report, "coverage", "not applicable"))["not_run"] == ["device"]


def test_table_lines_up(report: dict[str, Any]) -> None:
    verdict = decide(report, min_sqnr_db=40.0, max_plan_mib=0.1)
    assert gates.table(gates.failed(verdict["rules"])).splitlines() == [
        "rule          figure    limit  why",
        "min_sqnr_db   33.5      40     33.5 is below 40",
        "max_plan_mib  0.173893  0.1    0.173893 is above 0.1",
    ]


@given(
    drop=st.floats(-1, 1),
    sqnr=st.none() | st.floats(-50, 200),
    limits=st.fixed_dictionaries(
        {
            "max_accuracy_drop": st.none() | st.floats(0, 1),
            "min_sqnr_db": st.none() | st.floats(0, 200),
        }
    ),
)
def test_verdict_always_fits_its_schema(
    drop: float, sqnr: float | None, limits: dict[str, float | None]
) -> None:
    report = json.loads((SCHEMAS / "examples/good/report-int8.json").read_bytes())
    report["measurements"][3]["value"]["drop"] = drop
    verdict = decide(outputs(report, a={"sqnr_db": sqnr}), **limits)
    asked = limits["min_sqnr_db"]
    assert (rule(verdict, "min_sqnr_db")["state"] == "no gate") == (asked is None)
    if asked is not None and sqnr is None:
        assert verdict["verdict"] == "failed"


@pytest.mark.parametrize(
    ("asked", "layers", "figure"),
    [
        ("int8", {"fp32": 3, "int8": 2}, 2),
        ("tf32", {"fp32": 3}, 3),
        ("auto", {"fp16": 3, "int8": 1}, 4),
        ("fp32", {}, 0),
    ],
)
def test_an_engine_holds_the_precision_asked_for(
    report: dict[str, Any], asked: str, layers: dict[str, int], figure: int
) -> None:
    report["measurements"][6]["value"] |= {"asked": asked, "layers": layers}
    found = rule(decide(report), "precision")
    assert (found["state"], found["figure"]) == ("passed", figure)


@pytest.mark.parametrize(
    ("asked", "layers", "reason"),
    [
        ("int8", {"fp16": 1, "fp32": 2}, "no node computes in int8; nodes: 1 fp16, 2 fp32"),
        ("fp8", {"int8": 2}, "no node computes in fp8; nodes: 2 int8"),
        ("fp16", {}, "no node computes in fp16; nodes: none at all"),
        ("fp32", {"fp16": 1}, "no node computes in fp32; nodes: 1 fp16"),
    ],
)
def test_an_engine_that_holds_none_of_it_fails(
    report: dict[str, Any], asked: str, layers: dict[str, int], reason: str
) -> None:
    report["measurements"][6]["value"] |= {"asked": asked, "layers": layers}
    verdict = decide(report)
    assert verdict["verdict"] == "failed"
    assert rule(verdict, "precision")["reason"] == reason
