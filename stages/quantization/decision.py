# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What `auto` chose, as documents: decision.json, path.json, and text to paste into params.yaml."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from stages.lib import files
from stages.quantization import picture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stages.quantization import auto, search

_SIGNIFICANT = 6
_UNRANKED = "no rung came to choose between layers, so none was tried alone"


def unsearched(engine: str, precision: str) -> dict[str, bytes]:
    """The documents of an engine whose precision is not auto, by file name."""
    nothing = {"schema_version": 1, "searched": False, "decision": None}
    return {
        "decision.json": files.canonical_json(nothing),
        "path.svg": picture.unsearched(engine, precision),
    }


def document(found: auto.Found, settings: Mapping[str, Any], described: Mapping[str, Any]) -> Any:
    """decision.json of a search that met its budget.

    Args:
        found: the search.
        settings: `engines.<e>.auto`.
        described: engine, method, remainder, the user's own overrides, samples, ops (by node name)
            and work (multiply-accumulates by node name).
    """
    point = found.outcome.point
    if point is None:
        raise AssertionError(found)
    kept = len(found.kept()) if point.setting.precision == "int8" else None
    nodes = len(found.dear) + sum(len(names) for names in found.members.values())
    return {
        "schema_version": 1,
        "searched": True,
        "decision": {
            "engine": described["engine"],
            "rung": _rung(point),
            "precision": point.setting.precision,
            "smoothing": point.setting.smoothing,
            "int8": {"nodes": 0 if kept is None else nodes - kept, "of": nodes},
            "figures": dict(point.worth.figures),
            "int8_share": round(point.worth.share, 6),
            "cost": _short(point.worth.cost),
            "budget": dict(settings["budget"]),
            "objective": settings["objective"],
            "ladder": list(settings["ladder"]),
            "reasons": found.outcome.reasons,
            "ranking": _ranking(found, described),
            "unranked": _UNRANKED if found.ranked is None else None,
            "dear": found.dear,
            "samples": described["samples"],
            "passes": found.passes,
            "params": pasteable(point, found.kept(), described),
        },
    }


def _ranking(found: auto.Found, described: Mapping[str, Any]) -> list[dict[str, Any]]:
    work, kept = described["work"], set(found.kept())
    total = sum(work.values()) or 1
    low = found.outcome.point is not None and found.outcome.point.setting.precision == "int8"
    return [
        {
            "nodes": found.members[one.node],
            "op": described["ops"][one.node],
            "noise_db": _decibel(one.noise),
            "saved": _short(one.saved),
            "share": round(sum(work[name] for name in found.members[one.node]) / total, 6),
            "kept": not low or one.node in kept,
        }
        for one in found.ranked or ()
    ]


def pasteable(point: search.Point, kept: Sequence[str], described: Mapping[str, Any]) -> str:
    """YAML text that takes the place of these keys of the engine in params.yaml."""
    setting, own = point.setting, list(described["overrides"])
    low = setting.precision == "int8"
    if low:
        own += [{"nodes": _literal(n), "precision": described["remainder"]} for n in kept]
    else:
        own = [
            {**one, "precision": setting.precision} if one["precision"] == "int8" else one
            for one in own
        ]
    values = {
        "precision": setting.precision,
        "method": described["method"] if low else "none",
        "overrides": None,
        "remainder": described["remainder"] if low else None,
        "smoothing": setting.smoothing,
        "auto": None,
    }
    lines = []
    for key, value in values.items():
        if key == "overrides":
            lines.append("overrides:" if own else "overrides: []")
            # A JSON text is YAML too, whatever the name holds.
            lines += [f"  - {json.dumps(one, ensure_ascii=False)}" for one in own]
        else:
            lines.append(f"{key}: {'null' if value is None else value}")
    return "\n".join([*lines, ""])


def path(found: auto.Found) -> list[dict[str, Any]]:
    """path.json: every measured point, in order."""
    return [
        {
            "step": index,
            "rung": point.rung,
            "smoothing": point.setting.smoothing,
            "kept": list(point.setting.kept),
            "int8_share": round(point.worth.share, 6),
            "cost": _short(point.worth.cost),
            **point.worth.figures,
            "met": point.met,
            "chosen": point is found.outcome.point,
        }
        for index, point in enumerate(found.outcome.path, 1)
    ]


def closest(found: auto.Found) -> str:
    """The closest point in words, for the error of a budget that cannot be met."""
    point = found.outcome.point
    if point is None:
        return "no point could be measured"
    figures = ", ".join(
        f"{name} {value}" for name, value in point.worth.figures.items() if value is not None
    )
    kept = f" with {len(point.setting.kept)} layers kept" if point.setting.kept else ""
    return f"{_rung(point)}{kept}: {figures or 'overflow'}"


def _rung(point: search.Point) -> str:
    return "mixed" if point.setting.kept else point.setting.precision


def _decibel(noise: float) -> float | None:
    return round(10 * math.log10(noise), 1) if noise and math.isfinite(noise) else None


def _literal(name: str) -> str:
    """A glob that matches this name and no other."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _short(value: float) -> float:
    return float(f"{value:.{_SIGNIFICANT}g}")
