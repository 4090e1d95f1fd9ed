# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The path of a search as one SVG, for `dvc plots`: a panel for each limit of the budget.

Across goes the share of compute in INT8, and up is better; points are numbered in the
order in which they were measured, those that meet the whole budget are filled, and the chosen one
has a ring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WIDTH, _HEAD, _PANEL, _FOOT = 640, 56, 210, 44
_LEFT, _RIGHT, _INSET = 84, 30, 22
_INK, _FAINT, _MET, _MISSED = "#2e3440", "#d8dee9", "#2a6fb0", "#c2722d"
_LIMITS = {
    "max_accuracy_drop": ("accuracy_drop", "loss of task metric"),
    "min_sqnr_db": ("sqnr_db", "SQNR, dB"),
    "min_cosine": ("cosine", "cosine"),
}


def draw(
    engine: str, budget: Mapping[str, float | None], path: Sequence[Mapping[str, Any]]
) -> bytes:
    """The picture as SVG.

    Args:
        engine: its name.
        budget: max_accuracy_drop, min_sqnr_db, min_cosine; None: no limit, and no panel.
        path: points in order: step, rung, int8_share, met, chosen, and the figures by name.
    """
    panels = [name for name in _LIMITS if budget[name] is not None]
    height = _HEAD + _PANEL * len(panels) + _FOOT
    chosen = next((row for row in path if row["chosen"]), None)
    text = f"{chosen['rung']}, {chosen['int8_share']:.0%} of compute in INT8" if chosen else "none"
    body = _title(height, engine, text)
    for index, name in enumerate(panels):
        key, label = _LIMITS[name]
        body += _panel(_HEAD + index * _PANEL, key, label, float(budget[name] or 0.0), path)
    body += _axis(_HEAD + _PANEL * len(panels))
    return "\n".join([*body, "</svg>", ""]).encode()


def unsearched(engine: str, precision: str) -> bytes:
    """One line for an engine of a given precision: DVC warns of a folder without a picture."""
    text = f"{precision}, as params.yaml asks for; nothing was searched"
    return "\n".join([*_title(_HEAD, engine, text), "</svg>", ""]).encode()


def _title(height: int, engine: str, text: str) -> list[str]:
    return [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"'
            f' viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12"'
            f' fill="{_INK}">'
        ),
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="30" font-size="17" font-weight="600">{escape(engine)}</text>',
        f'<text x="{_WIDTH - 16}" y="30" text-anchor="end" fill="{_MET}">{escape(text)}</text>',
    ]


def _panel(
    top: int, key: str, label: str, limit: float, path: Sequence[Mapping[str, Any]]
) -> list[str]:
    bottom = top + _PANEL - 30
    known = [row[key] for row in path if row[key] is not None]
    worst, best = min([limit, *known]), max([limit, *known])
    if key == "accuracy_drop":
        worst, best = best, worst

    def height(value: float) -> float:
        share = (value - worst) / (best - worst) if best != worst else 0.5
        return bottom - 18 - share * (bottom - top - 36)

    line = height(limit)
    body = [
        (
            f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH - _LEFT - _RIGHT}" height="{bottom - top}"'
            f' fill="none" stroke="{_FAINT}"/>'
        ),
        f'<text x="16" y="{top - 6}">{label}</text>',
        (
            f'<line x1="{_LEFT}" y1="{line:.1f}" x2="{_WIDTH - _RIGHT}" y2="{line:.1f}"'
            f' stroke="{_INK}" stroke-dasharray="5 4"/>'
        ),
        f'<text x="{_LEFT - 6}" y="{line + 4:.1f}" text-anchor="end">{limit:.4g}</text>',
    ]
    for value in sorted({worst, best} - {limit}):
        y = height(value)
        if abs(y - line) > 14:  # noqa: PLR2004 (a line of text)
            body.append(
                f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>'
            )
    for row in sorted(path, key=lambda row: bool(row["chosen"])):
        # No SQNR: identical outputs, or an overflow, which has no cosine either.
        unknown = worst if row["cosine"] is None else best
        value = unknown if row[key] is None else row[key]
        body += _dot(_across(row["int8_share"]), height(value), row)
    return body


def _dot(x: float, y: float, row: Mapping[str, Any]) -> list[str]:
    fill = _MET if row["met"] else "#ffffff"
    stroke = _MET if row["met"] else _MISSED
    side, anchor = (9, "start") if row["step"] % 2 else (-9, "end")
    dot = [
        (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{stroke}"'
            ' stroke-width="1.5"/>'
        ),
        (
            f'<text x="{x + side:.1f}" y="{y - 5:.1f}" text-anchor="{anchor}" font-size="10">'
            f"{row['step']}</text>"
        ),
    ]
    ring = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="8" fill="none" stroke="{_MET}" stroke-width="2"/>'
    return [*dot, ring] if row["chosen"] else dot


def _axis(top: int) -> list[str]:
    marks = [
        f'<text x="{_across(share):.1f}" y="{top - 12}" text-anchor="middle">{share:.0%}</text>'
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    text = "share of compute in INT8; dashed: the budget; filled: meets it; ring: chosen"
    return [*marks, f'<text x="{_LEFT}" y="{top + 14}">{text}</text>']


def _across(share: float) -> float:
    return _LEFT + _INSET + share * (_WIDTH - _LEFT - _RIGHT - 2 * _INSET)
