# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""One small picture of an engine's figures, for `dvc plots`.

It is an SVG, because DVC draws data plots with scripts from the network and shows nothing without
one. All engines have the same scales, so that pictures compare side by side.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

_WIDTH, _HEIGHT = 640, 168
_LEFT, _TRACK = 120, 360
_FIRST, _STEP, _BAR = 62, 36, 18
_MOST_DB = 120.0
_MOST_LOG2_KIB = 24  # 16 GiB
_COLOURS = {
    "fp32": "#4c566a",
    "tf32": "#7b88a1",
    "fp16": "#2a6fb0",
    "bf16": "#4f9d69",
    "int8": "#c2722d",
    "fp8": "#a3475b",
    "auto": "#6b5b95",
}


def draw(engine: str, precision: str, figures: Mapping[str, Any]) -> bytes:
    """The picture as SVG.

    Args:
        engine: its name.
        precision: its precision, which chooses the colour.
        figures: the engine's metrics: accuracy and accuracy_drop (or None), sqnr_db (or None),
            identical (None where nothing was run), plan_kib.
    """
    colour = _COLOURS[precision]
    rows = (_accuracy(figures), _sqnr(figures), _size(figures))
    body = [_row(index, *row, colour) for index, row in enumerate(rows)]
    head = (
        f'<text x="16" y="30" font-size="17" font-weight="600">{escape(engine)}</text>'
        f'<text x="{_WIDTH - 16}" y="30" text-anchor="end" fill="{colour}">{precision}</text>'
    )
    root = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}"'
        f' viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="13">'
    )
    paper = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>'
    return "\n".join([root, paper, head, *body, "</svg>", ""]).encode()


def _accuracy(figures: Mapping[str, Any]) -> tuple[str, float, str]:
    """Of the exported model's metric, which is the full bar."""
    if figures["accuracy"] is None:
        return "task metric", 0.0, "not run" if figures["identical"] is None else "none"
    reference = figures["accuracy"] + figures["accuracy_drop"]
    share = figures["accuracy"] / reference if reference > 0 else 0.0
    return "task metric", share, f"{figures['accuracy']:.4f} of {reference:.4f}"


def _sqnr(figures: Mapping[str, Any]) -> tuple[str, float, str]:
    if figures["identical"]:
        return "SQNR", 1.0, "identical"
    if figures["identical"] is None:
        return "SQNR", 0.0, "not run"
    if figures["sqnr_db"] is None:
        return "SQNR", 0.0, "overflow"
    return "SQNR", figures["sqnr_db"] / _MOST_DB, f"{figures['sqnr_db']:.1f} dB"


def _size(figures: Mapping[str, Any]) -> tuple[str, float, str]:
    kib = figures["plan_kib"]
    text = f"{kib:.0f} KiB" if kib < 1 << 13 else f"{kib / 1024:.0f} MiB"
    return "plan (log)", math.log2(max(kib, 1.0)) / _MOST_LOG2_KIB, text


def _row(index: int, label: str, share: float, text: str, colour: str) -> str:
    top, middle = _FIRST + index * _STEP - 14, _FIRST + index * _STEP
    length = _TRACK * min(max(share, 0.0), 1.0)
    return (
        f'<text x="16" y="{middle}">{label}</text>'
        f'<rect x="{_LEFT}" y="{top}" width="{_TRACK}" height="{_BAR}" fill="#eceff4"/>'
        f'<rect x="{_LEFT}" y="{top}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>'
        f'<text x="{_LEFT + _TRACK + 10}" y="{middle}">{escape(text)}</text>'
    )
