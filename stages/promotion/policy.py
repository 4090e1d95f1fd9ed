# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a package may be promoted to a channel: the rules, each with its number in the verdict.

1. gates         all gates of the engine passed, and those that the channel wants are set
2. signature     the package is signed as it lies, by whom the channel trusts
3. device-run    this very plan was run on a GPU
4. evidence-age  that evidence is young enough
5. commit        one commit of Git's history holds all code that ran
6. approval      a tag on a commit that records this package

What a channel does not ask is `not asked`, with what was found all the same. What it asks and
nobody can answer fails: silence is never a pass. That the package is whole comes before all rules,
and no channel can do without it (stages/bundle/integrity.py).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stages.promotion.history import Search

SCHEMA_VERSION = 1
RUN, NOT_RUN = "run", "not run"
_NO_RUN = "this plan was never run on a device"

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found out about a package.

    Attributes:
        manifest: of the package, which is whole.
        manifest_sha256: digest of its file.
        gates: the verdict of `gate` in the package.
        signer: who signed it; None if no signature holds.
        unsigned: why no signature holds.
        evidence: of the command `device`, if it is of this very plan.
        no_evidence: why there is none.
        search: the commit that holds the code.
        approval: the tag that approves, and who made it.
        no_approval: why none does.
        version: what people call it.
    """

    manifest: Mapping[str, Any]
    manifest_sha256: str
    gates: Mapping[str, Any]
    signer: str | None
    unsigned: str | None
    evidence: Mapping[str, Any] | None
    no_evidence: str | None
    search: Search
    approval: str | None
    no_approval: str | None
    version: str


def decide(found: Found, rules: Mapping[str, Any], channel: str, now: dt.datetime) -> Document:
    """Judge one package for one channel.

    Args:
        found: about the package.
        rules: `channels.<channel>` of params.yaml.
        channel: its name.
        now: with a time zone.

    Returns:
        The verdict (schemas/promotion.schema.json).
    """
    judged = [
        _gates(found, rules["gates"]),
        _signature(found, rules["signature"]),
        _device(found, asked=rules["require_device_run"]),
        _age(found, rules["max_evidence_age_days"], now),
        _commit(found, asked=rules["require_commit"]),
        _approval(found, rules["approval"]),
    ]
    gpu = found.evidence["gpu"]["name"] if found.evidence else None
    return {
        "schema_version": SCHEMA_VERSION,
        "engine": found.manifest["engine"],
        "channel": channel,
        "verdict": "failed" if failed(judged) else "passed",
        "version": found.version,
        "manifest_sha256": found.manifest_sha256,
        "plan_sha256": found.manifest["plan"]["sha256"],
        "commit": found.search.commit,
        "signed_by": found.signer,
        "device": {"state": RUN if found.evidence else NOT_RUN, "gpu": gpu},
        "judged_at": now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "rules": judged,
    }


def failed(judged: list[Document]) -> list[Document]:
    """The rules that say no."""
    return [rule for rule in judged if rule["state"] == "failed"]


def lines(judged: list[Document]) -> list[str]:
    """Rules as lines of text: number, name, state, and what was found or is wrong."""
    return [
        f"{rule['number']}. {rule['name']:13} {rule['state']:10}"
        f" {rule['reason'] or rule['found'] or ''}".rstrip()
        for rule in judged
    ]


def _gates(found: Found, wanted: list[str]) -> Document:
    rules = {rule["name"]: rule for rule in found.gates["rules"]}
    states = {name: rule["state"] for name, rule in rules.items()}
    missing = [name for name in wanted if states[name] == "no gate"]
    moot = [name for name in wanted if states[name] == "not applicable"]
    passed = [name for name, state in states.items() if state == "passed"]
    asked = ", ".join(wanted) or None
    if found.gates["verdict"] != "passed":
        names = ", ".join(name for name, state in states.items() if state == "failed")
        return _rule(1, "gates", "failed", None, asked, f"its gates say no: {names}")
    if missing:
        reason = f"no gate is set on {', '.join(missing)}, which this channel wants judged"
        return _rule(1, "gates", "failed", ", ".join(passed), asked, reason)
    if moot:
        told = "; ".join(f"{name}, {rules[name]['reason']}" for name in moot)
        reason = f"this channel wants judged what is not applicable: {told}"
        return _rule(1, "gates", "failed", ", ".join(passed), asked, reason)
    return _rule(1, "gates", "passed", ", ".join(passed), asked)


def _signature(found: Found, spec: Mapping[str, Any] | None) -> Document:
    if spec is None:
        return _rule(2, "signature", "not asked", found.signer, None)
    wanted = spec["identity"] or spec["public_key"]
    return _asked(2, "signature", found.signer, wanted, found.unsigned)


def _device(found: Found, *, asked: bool) -> Document:
    wanted = RUN if asked else None
    if found.evidence is None:
        # Said even where nobody asks: such a package shall not be taken for one that has run.
        if not asked:
            return _rule(3, "device-run", "not asked", NOT_RUN, wanted, _NO_RUN)
        return _rule(3, "device-run", "failed", None, wanted, f"{_NO_RUN}: {found.no_evidence}")
    text = f"{found.evidence['gpu']['name']}, {found.evidence['measured_at']}"
    told = found.evidence["errors"]
    # Not finite: no channel takes what is known to answer so.
    if broken := [n for n in told if not told[n]["identical"] and told[n]["max_abs"] is None]:
        reason = f"on the device it answered with infinity or NaN: {', '.join(broken)}"
        return _rule(3, "device-run", "failed", text, wanted, reason)
    return _rule(3, "device-run", "passed" if asked else "not asked", text, wanted)


def _age(found: Found, limit: float | None, now: dt.datetime) -> Document:
    if found.evidence is None:
        state = "not asked" if limit is None else "failed"
        reason = None if limit is None else f"there is no evidence: {found.no_evidence}"
        return _rule(4, "evidence-age", state, None, _days(limit), reason)
    age = (now - dt.datetime.fromisoformat(found.evidence["measured_at"])) / dt.timedelta(days=1)
    if limit is None:
        return _rule(4, "evidence-age", "not asked", _days(age), None)
    if age < 0:
        reason = f"it says {found.evidence['measured_at']}, which is yet to come: see the clock"
    elif age > limit:
        reason = f"it is {_days(age)} old; at most {_days(limit)} are allowed"
    else:
        return _rule(4, "evidence-age", "passed", _days(age), _days(limit))
    return _rule(4, "evidence-age", "failed", _days(age), _days(limit), reason)


def _commit(found: Found, *, asked: bool) -> Document:
    if not asked:
        return _rule(5, "commit", "not asked", found.search.commit, None)
    return _asked(5, "commit", found.search.commit, "all code that ran", found.search.reason)


def _approval(found: Found, form: str | None) -> Document:
    if form is None:
        return _rule(6, "approval", "not asked", None, None)
    return _asked(6, "approval", found.approval, f"a tag of the form {form}", found.no_approval)


def _asked(
    number: int, name: str, text: str | None, wanted: str | None, reason: str | None
) -> Document:
    if text is None:
        return _rule(number, name, "failed", None, wanted, reason or "not found")
    return _rule(number, name, "passed", text, wanted)


def _rule(
    number: int,
    name: str,
    state: str,
    found: str | None,
    wanted: str | None,
    reason: str | None = None,
) -> Document:
    return {
        "number": number,
        "name": name,
        "state": state,
        "found": found or None,
        "wanted": wanted,
        "reason": reason,
    }


def _days(days: float | None) -> str | None:
    if days is None:
        return None
    text = f"{days:.1f}".removesuffix(".0")
    return f"{text} day" if text == "1" else f"{text} days"
