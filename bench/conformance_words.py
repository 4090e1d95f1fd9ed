# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Refusals as text: of one model, and as classes with their counts."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from stages.backends import refusals

_WIDTH = 110
_EXAMPLES = 2


def single(name: str, found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """One model under each tool: state, result, interface and all that refused it."""
    lines = [name]
    for tool, models in found.items():
        one = models[name]
        judged = [one[key] for key in ("tool", "result", "elsewhere", "interface") if key in one]
        lines.append(f"  {tool}: {'; '.join([one['state'], *judged, one['ended']])}")
        lines += [f"    undone: {undone}" for undone in one.get("undone", [])]
        lines += [f"    {_line(refusal)}" for refusal in one.get("refusals", [])]
    return "\n".join(lines)


def classes(models: dict[str, dict[str, Any]]) -> str:
    """Those that do not build, by what refuses them first; most frequent first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, one in models.items():
        if one["state"] != "builds":
            first = (one.get("refusals") or [{}])[0]
            reason = one.get("tool") or (_line(first) if first else one["ended"])
            groups[f"{one['state']}: {_general(reason)}"].append(name)
    ranked = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    return "\n".join(
        f"{len(names):4}  {text[:_WIDTH]}\n      {', '.join(names[:_EXAMPLES])}"
        for text, names in ranked
    )


def _line(refusal: dict[str, Any]) -> str:
    if refusal["code"] == refusals.SHAPE_INPUT:
        return f"input {refusal['name']!r} holds a shape, whose bounds no profile gives"
    if refusal["code"] == "BUILD":
        return " ".join(str(refusal["what"]).partition("\n\n")[2].split())
    where = f"{refusal['op']}: " if refusal["op"] else ""
    return where + refusals.reason(refusal["what"])


def _general(text: str) -> str:
    """Without what differs from model to model."""
    text = re.sub(r"\[[^\]]*\]|'[^']*'|\"[^\"]*\"", "*", text)
    text = re.sub(r"\bnode_of_\w+|/\S+|\b\d+\b", "*", text)
    return " ".join(text.split())
