# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The judge of bench/conformance.py on graphs that are wrong, and its workers on work that dies."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from bench import conformance_elsewhere as elsewhere
from bench import conformance_suite, crew
from bench import conformance_verdict as verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def floats(values: list[Any]) -> np.ndarray[Any, Any]:
    return np.array(values, np.float32)


def model(op: str, **shapes: list[Any]) -> onnx.ModelProto:
    """One operator over inputs x and w of those shapes; x + w at most."""
    inputs = [helper.make_tensor_value_info(n, T.FLOAT, s) for n, s in shapes.items()]
    outputs = [helper.make_tensor_value_info("y", T.FLOAT, ["n", 2])]
    graph = helper.make_graph([helper.make_node(op, [*shapes], ["y"])], "g", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A model with its data, as in the suite."""
    place = tmp_path / "test_add" / "test_data_set_0"
    place.mkdir(parents=True)
    x, w = floats([[1, 2], [3, 4]]), floats([[5, 6], [7, 8]])
    for name, value in (("input_0", x), ("input_1", w), ("output_0", x + w)):
        (place / f"{name}.pb").write_bytes(numpy_helper.from_array(value).SerializeToString())
    path = place.parent / "model.onnx"
    onnx.save(model("Add", x=["n", 2], w=["n", 2]), path)
    return path


def test_a_result_that_moves_is_seen(case: Path) -> None:
    before = onnx.load(case)
    assert verdict.result(case, before, before) == verdict.SAME
    after = model("Mul", x=["n", 2], w=["n", 2])
    assert verdict.result(case, before, after).startswith("changed: output 0: (2, 2)")
    assert verdict.interface(before, after) == verdict.SAME


def test_a_graph_that_no_longer_runs_is_a_changed_one(case: Path) -> None:
    after = model("NoSuchOperator", x=["n", 2], w=["n", 2])
    assert "no longer runs" in verdict.result(case, onnx.load(case), after)


def test_a_value_that_was_baked_in_is_seen(case: Path) -> None:
    before = onnx.load(case)
    data = next(iter(conformance_suite.sets(case, before.graph)))
    after = onnx.load(case)
    after.graph.node[0].input[1] = "baked"
    after.graph.initializer.append(numpy_helper.from_array(data.inputs[1], "baked"))
    assert verdict.result(case, before, after) == verdict.SAME
    told: dict[str, str] = {}
    elsewhere.compare(told.__setitem__, before, after, data)
    assert told["elsewhere"].startswith("changed: inputs reversed: output 0")
    elsewhere.compare(told.__setitem__, before, before, data)
    assert told["elsewhere"] == verdict.SAME


@pytest.mark.parametrize(
    "after",
    [
        model("Add", x=["m", 2], w=["n", 2]),
        model("Add", x=[2, 2], w=["n", 2]),
        model("Add", w=["n", 2], x=["n", 2]),
        model("Add", x=["n", 2]),
    ],
    ids=["symbol", "fixed", "order", "gone"],
)
def test_an_interface_that_moves_is_seen(case: Path, after: onnx.ModelProto) -> None:
    assert verdict.interface(onnx.load(case), after).startswith("inputs: ")


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (floats([1, np.nan]), floats([1, np.nan]), True),
        (floats([1, np.inf]), floats([1, np.nan]), False),
        (floats([1, 2]), np.array([1.0, 2.0]), False),
        (floats([1, 2]), floats([[1, 2]]), False),
        (floats([1, 1e-6]), floats([1, 0]), True),
        (floats([1, 1e-4]), floats([1, 0]), False),
        (floats([1e-3, 1e-6]), floats([1e-3, 0]), False),
        (np.array([1]), np.array([2]), False),
        (np.array(["a"]), np.array(["a"], object), True),
        ([floats([1])], [floats([1]), floats([1])], False),
        (None, None, True),
        (None, floats([1]), False),
    ],
)
def test_what_counts_as_alike(one: Any, other: Any, alike: bool) -> None:
    assert verdict.alike(one, other) is alike


def task(tell: Callable[[str, Any], None], what: str) -> None:
    """Run in a worker."""
    tell("began", what)
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "hang":
        time.sleep(60)
    if what == "raise":
        raise ValueError(what)


def test_workers_that_crash_or_hang_end_nothing() -> None:
    whats = ["fine", "crash", "fine too", "hang", "raise", "fine again"]
    found = crew.run(task, [(what, (what,)) for what in whats], workers=1, seconds=5)
    assert {name: one["began"] for name, one in found.items()} == {what: what for what in whats}
    ended = {name: one["ended"] for name, one in found.items()}
    assert ended == {
        "fine": "well",
        "crash": "by signal 11",
        "fine too": "well",
        "hang": "after 5 s",
        "raise": "by an exception: ValueError: raise",
        "fine again": "well",
    }
