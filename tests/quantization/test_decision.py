# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What a search leaves for people: text to paste, the closest point in words, and the picture."""

from __future__ import annotations

import fnmatch
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stages.quantization import auto, decision, picture, search

DESCRIBED = {"method": "mse", "remainder": "fp16", "overrides": []}
SVG = "{http://www.w3.org/2000/svg}"


def point(precision: str, *kept: str, **figures: float | None) -> search.Point:
    worth = search.Worth(figures=figures, shortfall=0.0, missed="", share=0.5, cost=1.0)
    return search.Point(
        rung=precision, setting=search.Setting(precision=precision, kept=kept), worth=worth
    )


@example(name="/layer[0]/MatMul*?")
@given(name=st.text(min_size=1).filter(str.isprintable))
def test_any_node_name_survives_the_way_through_yaml_and_glob(name: str) -> None:
    text = decision.pasteable(point("int8", name), [name], DESCRIBED)
    found = YAML(typ="safe").load(text)
    pattern = found["overrides"][0]["nodes"]
    assert fnmatch.filter([name, name + "x", "x" + name], pattern) == [name]


def test_what_is_pasted_keeps_the_users_own_overrides_first() -> None:
    own = [{"ops": "Conv", "precision": "fp32"}, {"nodes": "a", "precision": "int8"}]
    text = decision.pasteable(point("int8", "b"), ["b"], {**DESCRIBED, "overrides": own})
    assert YAML(typ="safe").load(text) == {
        "precision": "int8",
        "method": "mse",
        "overrides": [*own, {"nodes": "b", "precision": "fp16"}],
        "remainder": "fp16",
        "smoothing": None,
        "auto": None,
    }
    # A float engine has no ranges, no remainder and nothing quantized.
    text = decision.pasteable(point("bf16"), [], {**DESCRIBED, "overrides": own})
    assert YAML(typ="safe").load(text) == {
        "precision": "bf16",
        "method": "none",
        "overrides": [own[0], {"nodes": "a", "precision": "bf16"}],
        "remainder": None,
        "smoothing": None,
        "auto": None,
    }


@pytest.mark.parametrize(
    ("closest", "told"),
    [
        (point("int8", "a", "b", sqnr_db=12.5, cosine=0.9), "mixed with 2 layers kept: sqnr_db 12"),
        (point("fp16", sqnr_db=None, cosine=None), "fp16: overflow"),
        (None, "no point could be measured"),
    ],
)
def test_the_closest_point_in_words(closest: search.Point | None, told: str) -> None:
    outcome = search.Outcome(point=closest, path=[])
    found = auto.Found(outcome=outcome, ranked=[], members={}, dear=[], passes={})
    assert decision.closest(found).startswith(told)


def row(step: int, share: float, sqnr: float | None, **others: Any) -> dict[str, Any]:
    figures = {"sqnr_db": sqnr, "cosine": 0.9, "accuracy_drop": 0.0}
    known = {"step": step, "rung": "mixed", "int8_share": share, "met": False, "chosen": False}
    return {**known, **figures, **others}


def circles(svg: bytes) -> list[tuple[float, float, float]]:
    found = ET.fromstring(svg).iter(f"{SVG}circle")  # noqa: S314 (our own)
    return [tuple(float(dot.attrib[key]) for key in ("cx", "cy", "r")) for dot in found]  # type: ignore[misc]


def test_the_picture_shows_each_point_where_it_lies() -> None:
    limits = {"max_accuracy_drop": None, "min_sqnr_db": 30.0, "min_cosine": None}
    path = [row(1, 1.0, 10.0), row(2, 0.5, 40.0, met=True, chosen=True), row(3, 0.8, 20.0)]
    dots = circles(picture.draw("a<b>&c", limits, path))
    low, mid, high, ring = dots[0], dots[1], dots[2], dots[3]
    assert low[0] > mid[0] > high[0]  # the chosen one is drawn last
    assert low[1] > mid[1] > high[1]
    assert ring[:2] == high[:2]
    assert [dot[2] for dot in dots] == [4, 4, 4, 8]
    assert b"a&lt;b&gt;&amp;c" in picture.draw("a<b>&c", limits, path)


def test_up_is_better_in_every_panel() -> None:
    limits = {"max_accuracy_drop": 0.1, "min_sqnr_db": None, "min_cosine": 0.5}
    path = [row(1, 1.0, None, accuracy_drop=0.2, cosine=0.4), row(2, 0.5, None)]
    dots = circles(picture.draw("e", limits, path))
    assert len(dots) == 4
    assert dots[0][1] > dots[1][1]
    assert dots[2][1] > dots[3][1]


def test_no_figure_is_an_overflow_or_no_noise_at_all() -> None:
    limits = {"max_accuracy_drop": None, "min_sqnr_db": 30.0, "min_cosine": None}
    over, same = row(1, 1.0, None, cosine=None), row(2, 0.0, None, cosine=1.0)
    dots = circles(picture.draw("e", limits, [over, same, row(3, 0.5, 40.0)]))
    assert dots[0][1] > dots[2][1] == dots[1][1]
