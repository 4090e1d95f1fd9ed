# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Figures on numbers worked out by hand, and a comparison that forgets what it has seen."""

from __future__ import annotations

import math
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.backends.onnxruntime import run as onnxruntime
from stages.checks import numerics
from stages.lib import errors
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from collections.abc import Iterator


def figures(reference: Any, candidate: Any, parts: int = 1) -> dict[str, Any]:
    found = numerics.Errors()
    a, b = np.asarray(reference, np.float32), np.asarray(candidate, np.float32)
    for one, other in zip(np.array_split(a, parts), np.array_split(b, parts), strict=True):
        found.add({"y": one}, {"y": other})
    return found.result()["y"]


def test_figures_by_hand() -> None:
    # error (0, 0.5), signal 3^2 + 4^2 = 25: 0.5 / 5 = 0.1, so 20 dB.
    assert figures([3, 4], [3, 4.5]) == {
        "identical": False,
        "max_abs": 0.5,
        "relative_l2": 0.1,
        "cosine": float(f"{(9 + 18) / (5 * math.sqrt(9 + 4.5**2)):.6g}"),
        "sqnr_db": 20.0,
    }


def test_small_outputs_have_figures_too() -> None:
    found = figures([3e-3, 0], [3e-3, 4e-3])
    assert (found["max_abs"], found["cosine"]) == (0.004, 0.6)
    assert found["sqnr_db"] == pytest.approx(20 * math.log10(3 / 4), rel=1e-5)


def test_identical_outputs() -> None:
    same = {"identical": True, "max_abs": 0, "relative_l2": 0, "cosine": 1, "sqnr_db": None}
    assert figures([3, -4, 0], [3, -4, -0.0]) == same
    assert figures([0, 0], [0, 0]) == same
    assert figures([], []) == same
    assert figures([np.inf, 1], [np.inf, 1])["identical"] is True


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("reference", [[1.0, 2.0], [0.0, 2.0], [0.0, 0.0]])
def test_an_overflow_has_no_figures(value: float, reference: list[float]) -> None:
    found = figures(reference, [value, 2.0])
    assert found["identical"] is False
    assert [found[key] for key in ("max_abs", "relative_l2", "cosine", "sqnr_db")] == [None] * 4


def test_a_reference_of_nan_is_equal_to_nothing() -> None:
    assert figures([np.nan], [np.nan])["identical"] is False


def test_an_error_where_there_should_be_nothing() -> None:
    found = figures([0, 0], [1, 0])
    assert (found["max_abs"], found["relative_l2"], found["sqnr_db"]) == (1, None, None)


def test_opposite_outputs() -> None:
    found = figures([1, 2], [-1, -2])
    assert (found["cosine"], found["relative_l2"]) == (-1, 2)
    assert found["sqnr_db"] == pytest.approx(-6.0206)


@given(
    pairs=st.lists(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 2), min_size=1, max_size=30),
    parts=st.integers(1, 7),
)
def test_batches_do_not_change_the_figures(pairs: list[tuple[float, float]], parts: int) -> None:
    a, b = zip(*pairs, strict=True)
    whole, cut = figures(a, b), figures(a, b, parts)
    assert whole["identical"] == cut["identical"] == (a == b)
    assert whole["max_abs"] == cut["max_abs"]
    for key in ("relative_l2", "cosine", "sqnr_db"):
        assert (whole[key] is None) == (cut[key] is None)
        assert whole[key] is None or whole[key] == pytest.approx(cut[key], rel=1e-4, abs=1e-4)


def test_every_output_is_told_and_integers_too() -> None:
    found = numerics.Errors()
    one = {"a": np.array([1, 2]), "b": np.array([True, False]), "c": np.ones(2, np.float16)}
    found.add(one, one | {"a": np.array([1, 4])})
    result = found.result()
    assert list(result) == ["a", "b", "c"]
    assert (result["a"]["max_abs"], result["b"]["identical"]) == (2, True)


@pytest.mark.parametrize("candidate", [{}, {"y": np.zeros((2, 1))}])
def test_outputs_that_are_missing_or_of_another_shape(candidate: Any) -> None:
    with pytest.raises(errors.GraphError, match=r"output 'y' has shape .*, the exported .* \(2,\)"):
        numerics.Errors().add({"y": np.zeros(2)}, candidate)


def runner(name: str) -> Any:
    proto = zoo.model(
        [zoo.node("Neg", ["x"], ["y"])], [zoo.face("x", "n", 50_000)], [zoo.face("y", "n", 50_000)]
    )
    return onnxruntime.runner(proto.SerializeToString(), threads=1, name=name)


def test_memory_does_not_grow_with_the_samples() -> None:
    def peak(batches: int) -> int:
        def feeds() -> Iterator[numerics.Arrays]:
            for _ in range(batches):
                yield {"x": np.ones((4, 50_000), np.float32)}

        seen = []
        tracemalloc.start()
        found = numerics.compare(
            runner("a"),
            runner("b"),
            feeds(),
            lambda a, b: seen.append((a["y"].sum(), b["y"].sum())),
        )
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found["y"]["identical"]
        assert seen == [(-200_000, -200_000)] * batches
        return most

    peak(1)
    assert peak(30) < 1.2 * peak(3)


def test_what_the_samples_raise_is_passed_on() -> None:
    def feeds() -> Iterator[numerics.Arrays]:
        yield {"x": np.ones((1, 50_000), np.float32)}
        raise errors.SamplesError("bad", mend="mend")

    with pytest.raises(errors.SamplesError, match="bad"):
        numerics.compare(runner("a"), runner("b"), feeds(), lambda *_: None)
