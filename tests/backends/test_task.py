# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The task metric: top-1, and the user's own, good and bad."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from stages.backends import task
from stages.lib import errors

if TYPE_CHECKING:
    from pathlib import Path

SCORES = np.array([[1.0, 2, 0], [5, 1, 1], [0, 0, 1], [2, 1, 0]])
LABELS = np.array([1, 0, 1, 0])


def settings(kind: str, entry: str | None = None) -> dict[str, Any]:
    return {"kind": kind, "output": "y", "labels": "label", "entry": entry}


def own(folder: Path, text: str, name: str = "score") -> task.Metric:
    (folder / "own.py").write_text(f"import numpy\n{text}\n")
    function = task.metric(settings("python", f"own.py:{name}"), folder)
    assert function is not None
    return function


def measure(function: task.Metric, engine: Any = SCORES) -> dict[str, Any]:
    return task.measure(function, "own.py:score", SCORES, engine, LABELS)


def test_top1_by_hand(tmp_path: Path) -> None:
    function = task.metric(settings("top1"), tmp_path)
    assert function is task.top1
    worse = SCORES.copy()
    worse[0] = [9, 0, 0]
    assert task.measure(task.top1, "top1", SCORES, worse, LABELS) == {
        "name": "top1",
        "reference": 0.75,
        "engine": 0.5,
        "drop": 0.25,
    }


def test_top1_of_every_pixel() -> None:
    scores = np.moveaxis(np.eye(3)[[[0, 1], [2, 2]]], -1, 1)  # [samples, classes, pixels]
    assert task.top1(scores, np.array([[0, 1], [2, 0]])) == 0.75


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        (SCORES, LABELS[:, None]),  # numpy would compare all with all
        (SCORES, LABELS[:3]),
        (SCORES, SCORES),
        (SCORES[:, 0], LABELS),
        (SCORES[:, :, None], LABELS),
    ],
)
def test_shapes_that_do_not_fit(scores: Any, labels: Any) -> None:
    with pytest.raises(errors.MetricError, match=r"metric top1: scores .* do not fit") as caught:
        task.measure(task.top1, "top1", scores, scores, labels)
    assert "class numbers" in caught.value.mend
    assert caught.value.exit_code == 12


def test_kind_none_has_no_function(tmp_path: Path) -> None:
    assert task.metric(settings("none"), tmp_path) is None


def test_a_function_of_the_users(tmp_path: Path) -> None:
    function = own(tmp_path, "def score(output, labels): return -abs(output).mean()")
    assert measure(function, SCORES * 2)["drop"] == pytest.approx(np.abs(SCORES).mean(), abs=1e-6)
    zero_dim = own(tmp_path, "def score(output, labels): return numpy.array(0.5)")
    assert measure(zero_dim)["engine"] == 0.5


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "score", r"own\.py:score: AttributeError: .* has no 'score'"),
        ("def score(: pass", "score", r"own\.py:score: SyntaxError"),
        ("import not_there", "score", "ModuleNotFoundError: No module named 'not_there'"),
    ],
)
def test_entries_that_cannot_be_loaded(tmp_path: Path, text: str, name: str, message: str) -> None:
    with pytest.raises(errors.MetricError, match=message) as caught:
        own(tmp_path, text, name)
    assert "(output, labels) -> float" in caught.value.mend


def test_an_entry_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(errors.MetricError, match=r"gone\.py:score: FileNotFoundError"):
        task.metric(settings("python", "gone.py:score"), tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def score(output): return 1", "own.py:score failed: TypeError"),
        ("def score(output, labels): return labels[99]", "own.py:score failed: IndexError"),
        ("def score(output, labels): return 'good'", "own.py:score failed: ValueError"),
        ("def score(output, labels): return None", "own.py:score failed: TypeError"),
        ("def score(output, labels): return output", "own.py:score failed: TypeError"),
        ("score = 0.5", "own.py:score failed: TypeError"),
        ("def score(output, labels): return float('nan')", "own.py:score gave nan"),
        ("def score(output, labels): return -numpy.inf", "own.py:score gave -inf"),
    ],
)
def test_functions_that_give_no_figure(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(errors.MetricError, match=message):
        measure(own(tmp_path, text))
