# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The parity check on hand-made outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from stages.exporters import parity
from stages.lib import errors

if TYPE_CHECKING:
    from stages.exporters.api import Arrays, Framework

BATCHES = [{"x": np.zeros((3, 2), np.float32)}, {"x": np.ones((1, 2), np.float32)}]


def giving(**outputs: Any) -> Framework:
    def run(_: Arrays) -> Arrays:
        return {name: np.asarray(value) for name, value in outputs.items()}

    return run


def check(framework: Framework, runtime: Framework, atol: float = 0.5) -> dict[str, Any]:
    return parity.check(framework, runtime, BATCHES, atol=atol, rtol=0.0)


def test_the_largest_difference_of_each_output_is_told() -> None:
    found = check(giving(a=[1.0, 2.0], b=[3]), giving(a=[1.25, 1.9], b=[3]))
    assert found["outputs"] == {
        "a": {"max_abs": 0.25},
        "b": {"max_abs": 0.0},
    }


def test_the_reference_scales_the_relative_tolerance() -> None:
    wide = {"atol": 0.0, "rtol": 0.1}
    parity.check(giving(a=[10.0]), giving(a=[10.9]), BATCHES, **wide)
    with pytest.raises(errors.ParityError, match=r"1 of 1 values differ .* difference is 1\.1"):
        parity.check(giving(a=[10.0]), giving(a=[11.1]), BATCHES, **wide)


def test_an_output_that_the_framework_does_not_give() -> None:
    with pytest.raises(errors.ParityError, match="the framework gives no output 'b'"):
        check(giving(a=[1.0]), giving(a=[1.0], b=[2.0]))


def test_an_output_beyond_the_tolerance() -> None:
    with pytest.raises(errors.ParityError, match="output 'b': 2 of 3 values differ") as caught:
        check(giving(a=[1.0], b=[0.0, 1.0, 2.0]), giving(a=[1.0], b=[0.6, 1.0, 5.0]))
    assert "more than 0.5 + 0.0 * |value|; the largest difference is 3" in caught.value.what
    assert "models.<m>.parity" in caught.value.mend
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("found", [np.nan, np.inf, -np.inf])
def test_what_the_graph_makes_of_a_number_may_not_be_none(found: float) -> None:
    with pytest.raises(errors.ParityError, match=r"1 of 2 values .* largest difference is inf"):
        check(giving(a=[1.0, 2.0]), giving(a=[1.0, found]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_framework_that_gives_no_number_itself(value: float) -> None:
    with pytest.raises(errors.ParityError, match="the framework itself gives NaN or infinity"):
        check(giving(a=[1.0, value]), giving(a=[1.0, value]))


def test_another_shape() -> None:
    with pytest.raises(errors.ParityError, match=r"gives shape \(2,\), the graph \(2, 1\)"):
        check(giving(a=[1.0, 2.0]), giving(a=[[1.0], [2.0]]))


def test_integers_booleans_and_nothing_at_all() -> None:
    empty = np.zeros((0, 3), np.float32)
    same = giving(a=[1, 2], b=[True, False], c=empty)
    assert check(same, same)["outputs"] == {name: {"max_abs": 0.0} for name in "abc"}
    with pytest.raises(errors.ParityError, match="output 'b': 1 of 2 values"):
        check(same, giving(a=[1, 2], b=[True, True], c=empty))
