# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The picture of one engine: what it says, and that its bytes follow from the figures."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from stages.checks import card

FIGURES: dict[str, Any] = {
    "accuracy": 0.75,
    "accuracy_drop": 0.25,
    "sqnr_db": 60.0,
    "identical": False,
    "plan_kib": 4096.0,
}
SVG = "{http://www.w3.org/2000/svg}"


def drawn(**changes: Any) -> ET.Element:
    return ET.fromstring(card.draw("a-b1", "fp16", FIGURES | changes))  # noqa: S314


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def bars(root: ET.Element) -> list[float]:
    """Length of each coloured bar, as a share of its track."""
    widths = [float(element.attrib["width"]) for element in root.iter(f"{SVG}rect")][1:]
    return [bar / track for track, bar in zip(widths[::2], widths[1::2], strict=True)]


def test_words_and_bars() -> None:
    root = drawn()
    assert texts(root) == [
        "a-b1",
        "fp16",
        "task metric",
        "0.7500 of 1.0000",
        "SQNR",
        "60.0 dB",
        "plan (log)",
        "4096 KiB",
    ]
    assert bars(root) == [0.75, 0.5, 0.5]


@pytest.mark.parametrize(
    ("changes", "text", "bar", "share"),
    [
        ({"accuracy": None, "accuracy_drop": None}, "none", 0, 0),
        ({"accuracy": 0.0, "accuracy_drop": 0.0}, "0.0000 of 0.0000", 0, 0),
        ({"accuracy": -0.5, "accuracy_drop": 0.1}, "-0.5000 of -0.4000", 0, 0),
        ({"accuracy": 0.9, "accuracy_drop": -0.1}, "0.9000 of 0.8000", 0, 1),
        ({"identical": True, "sqnr_db": None}, "identical", 1, 1),
        ({"sqnr_db": None}, "overflow", 1, 0),
        ({"sqnr_db": -6.0}, "-6.0 dB", 1, 0),
        ({"sqnr_db": 150.0}, "150.0 dB", 1, 1),
        ({"plan_kib": 0.2}, "0 KiB", 2, 0),
        ({"plan_kib": 65536.0}, "64 MiB", 2, 2 / 3),
    ],
)
def test_every_figure_has_its_words(
    changes: dict[str, Any], text: str, bar: int, share: float
) -> None:
    root = drawn(**changes)
    assert text in texts(root)
    assert bars(root)[bar] == pytest.approx(share)


def test_the_bytes_follow_from_the_figures() -> None:
    assert card.draw("a", "int8", FIGURES) == card.draw("a", "int8", dict(FIGURES))
    assert card.draw("a", "int8", FIGURES) != card.draw("a", "int8", FIGURES | {"sqnr_db": 60.1})


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16", "int8"])
def test_every_precision_has_a_colour(precision: str) -> None:
    assert card.draw("a", precision, FIGURES).startswith(b"<svg ")
