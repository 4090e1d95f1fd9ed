# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs and outputs of two graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from stages.checks import interface
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from collections.abc import Callable


def measure(change: Callable[[Any], Any]) -> dict[str, Any]:
    other = zoo.attention()
    change(other.graph)
    return interface.measure(zoo.typed(zoo.attention()), zoo.typed(other))


def test_equal_faces() -> None:
    assert measure(lambda _: None) == {"equal": True, "differences": []}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda g: setattr(g.output[0], "name", "p"), "outputs"),
        (lambda g: setattr(g.input[0].type.tensor_type, "elem_type", zoo.FLOAT16), "inputs"),
        (lambda g: setattr(g.input[0].type.tensor_type.shape.dim[0], "dim_value", 1), "inputs"),
        (lambda g: g.input.reverse(), "inputs"),
        (lambda g: g.input.pop(), "inputs"),
    ],
    ids=["name", "type", "shape", "order", "number"],
)
def test_each_difference_is_told_with_both_sides(change: Callable[[Any], Any], what: str) -> None:
    found = measure(change)
    assert found["equal"] is False
    (difference,) = found["differences"]
    assert difference.startswith(f"{what}: exported ['")
    assert "'], typed [" in difference
