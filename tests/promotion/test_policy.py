# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Each rule of the policy: what passes, what fails and why, and what is said unasked."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from stages.lib import schema
from stages.promotion import policy
from stages.promotion.history import Search

ROOT = Path(__file__).parents[2]
GOOD = ROOT / "schemas/examples/good"
NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
COMMIT = "0123456789" * 4
OPEN: dict[str, Any] = {
    "gates": [],
    "signature": None,
    "require_device_run": False,
    "max_evidence_age_days": None,
    "require_commit": False,
    "approval": None,
}
STRICT: dict[str, Any] = {
    "gates": ["min_cosine"],
    "signature": {"identity": None, "public_key": "keys/production.pub"},
    "require_device_run": True,
    "max_evidence_age_days": 30,
    "require_commit": True,
    "approval": "stage",
}


def example(name: str) -> Any:
    return json.loads((GOOD / f"{name}.json").read_bytes())


def evidence(days: float = 1.0) -> Any:
    when = (NOW - dt.timedelta(days=days)).isoformat(timespec="seconds")
    return example("device-l4") | {"measured_at": when}


def found(**changes: Any) -> policy.Found:
    """A package about which all that may be asked is known."""
    return dataclasses.replace(
        policy.Found(
            manifest=example("manifest-rtx"),
            manifest_sha256="ab" * 32,
            gates=example("verdict-passed"),
            signer="key sha256:ab",
            unsigned=None,
            evidence=evidence(),
            no_evidence=None,
            search=Search(COMMIT, None),
            approval="e#production#1, by Ada",
            no_approval=None,
            version="v1.2.0",
        ),
        **changes,
    )


def decide(rules: dict[str, Any], **changes: Any) -> dict[str, Any]:
    verdict = policy.decide(found(**changes), rules, "production", NOW)
    kind = ROOT / "schemas/promotion.schema.json"
    assert schema.problems(verdict, schema.read(kind)) == []
    return verdict


def rule(verdict: dict[str, Any], name: str) -> tuple[str, str]:
    (one,) = [one for one in verdict["rules"] if one["name"] == name]
    return one["state"], one["reason"] or ""


def test_all_is_passed_and_numbered() -> None:
    verdict = decide(STRICT)
    assert verdict["verdict"] == "passed"
    assert [one["number"] for one in verdict["rules"]] == [1, 2, 3, 4, 5, 6]
    assert {one["state"] for one in verdict["rules"]} == {"passed"}
    assert verdict["device"] == {"state": "run", "gpu": "NVIDIA L4"}


NOTHING: dict[str, Any] = {
    "signer": None,
    "unsigned": "there is no signature",
    "evidence": None,
    "no_evidence": "nobody ran it",
    "search": Search(None, "the code is not committed"),
    "approval": None,
    "no_approval": "no tag",
}


def test_where_nothing_is_asked_nothing_fails_but_it_is_said_that_it_never_ran() -> None:
    verdict = decide(OPEN, **NOTHING)
    assert verdict["verdict"] == "passed"
    assert [one["state"] for one in verdict["rules"]] == ["passed"] + 5 * ["not asked"]
    assert verdict["device"] == {"state": "not run", "gpu": None}
    assert rule(verdict, "device-run")[1] == "this plan was never run on a device"


@pytest.mark.parametrize(
    ("key", "name", "reason"),
    [
        ("signature", "signature", "there is no signature"),
        ("require_device_run", "device-run", "never run on a device: nobody ran it"),
        ("max_evidence_age_days", "evidence-age", "there is no evidence: nobody ran it"),
        ("require_commit", "commit", "the code is not committed"),
        ("approval", "approval", "no tag"),
    ],
)
def test_what_is_asked_and_not_there_fails(key: str, name: str, reason: str) -> None:
    verdict = decide(OPEN | {key: STRICT[key]}, **NOTHING)
    assert verdict["verdict"] == "failed"
    assert [one["name"] for one in policy.failed(verdict["rules"])] == [name]
    assert reason in rule(verdict, name)[1]


def test_a_gate_that_is_not_set_is_no_gate_passed() -> None:
    verdict = decide(OPEN | {"gates": ["max_abs_error", "min_cosine"]})
    state, reason = rule(verdict, "gates")
    assert state == "failed"
    assert reason.startswith("no gate is set on max_abs_error,")


def test_a_gate_that_does_not_apply_is_no_gate_passed() -> None:
    gates = example("verdict-passed")
    (rule_of_it,) = [one for one in gates["rules"] if one["name"] == "max_out_of_range"]
    rule_of_it.update(state="not applicable", reason="nothing is quantized", limit=0.01)
    assert rule(decide(OPEN, gates=gates), "gates")[0] == "passed"
    state, reason = rule(decide(OPEN | {"gates": ["max_out_of_range"]}, gates=gates), "gates")
    assert state == "failed"
    assert reason.endswith("not applicable: max_out_of_range, nothing is quantized")


def test_a_failed_gate_fails_everywhere() -> None:
    verdict = decide(OPEN, gates=example("verdict-failed"))
    state, reason = rule(verdict, "gates")
    assert state == "failed"
    assert reason.startswith("its gates say no: ")


@pytest.mark.parametrize(
    ("days", "state"), [(0, "passed"), (30, "passed"), (30.01, "failed"), (-0.1, "failed")]
)
def test_the_age_of_the_evidence(days: float, state: str) -> None:
    verdict = decide(OPEN | {"max_evidence_age_days": 30}, evidence=evidence(days))
    assert rule(verdict, "evidence-age")[0] == state


@pytest.mark.parametrize("asked", [True, False])
def test_a_device_that_answered_with_nan_is_refused_by_every_channel(asked: bool) -> None:
    told = evidence()
    output = next(iter(told["errors"].values()))
    output.update(identical=False, max_abs=None)
    verdict = decide(OPEN | {"require_device_run": asked}, evidence=told)
    state, reason = rule(verdict, "device-run")
    assert state == "failed"
    assert "infinity or NaN: logits" in reason


def test_lines_for_people() -> None:
    lines = policy.lines(decide(OPEN, **NOTHING)["rules"])
    assert lines[2] == "3. device-run    not asked  this plan was never run on a device"
    assert lines[5] == "6. approval      not asked"
