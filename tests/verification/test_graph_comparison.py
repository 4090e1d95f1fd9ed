# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Two graphs: nodes, weights and what they compute on ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stages.verification import graphs
from stages.verification.verdicts import DIFFERENT, EQUIVALENT, Verdict

if TYPE_CHECKING:
    from pathlib import Path

FEEDS = [{"x": np.array([[1, -2, 3]], np.float32)}]


def write(
    folder: Path, scale: float = 2.0, *, ops: tuple[str, ...] = ("Mul",), **more: Any
) -> Path:
    """A graph that multiplies, then does `ops[1:]`; more: names of nodes or of the output."""
    weight = numpy_helper.from_array(np.array([scale, 2.0], np.float32)[:1], "w")
    out = more.get("output", "y")
    ends = ["x", *(f"t{i}" for i in range(len(ops) - 1)), out]
    nodes = [helper.make_node(ops[0], [ends[0], "w"], [ends[1]], name=more.get("name", "mul"))]
    for index, op in enumerate(ops[1:], start=1):
        nodes.append(helper.make_node(op, [ends[index]], [ends[index + 1]], name=f"n{index}"))
    shape: list[str | int | None] = ["batch", 3]
    face = [helper.make_tensor_value_info(end, TensorProto.FLOAT, shape) for end in ("x", out)]
    graph = helper.make_graph(nodes, "g", face[:1], face[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    return folder


@pytest.mark.parametrize(
    ("changes", "kind", "lines"),
    [
        (
            {"scale": 2.0 * (1 + 2e-7)},
            EQUIVALENT,
            ("weights (1): w by 2.4e-07", "outputs on the probe samples move by 2.4e-07"),
        ),
        (
            {"scale": 3.0},
            DIFFERENT,
            ("weights (1): w by 5.0e-01", "outputs on the probe samples move by 5.0e-01"),
        ),
        (
            {"name": "other"},
            EQUIVALENT,
            ("only names of nodes, or notes", "outputs on the probe samples move by 0.0e+00"),
        ),
        (
            {"ops": ("Mul", "Identity")},
            EQUIVALENT,
            ("other nodes", "outputs on the probe samples move by 0.0e+00"),
        ),
        (
            {"ops": ("Mul", "Relu")},
            DIFFERENT,
            ("other nodes", "outputs on the probe samples move by 6.7e-01"),
        ),
    ],
)
def test_verdicts(
    tmp_path: Path, changes: dict[str, Any], kind: str, lines: tuple[str, ...]
) -> None:
    pair = write(tmp_path / "a"), write(tmp_path / "b", **changes)
    assert graphs.compare(*pair, 1e-5, feeds=FEEDS, threads=1) == Verdict(kind, lines)


@pytest.mark.parametrize("change", [0.0, 1000.0])
def test_the_middle_of_a_large_constant(tmp_path: Path, change: float) -> None:
    values = np.arange(4000, dtype=np.float32)
    for name, by in (("a", 0.0), ("b", change)):
        values[2000] += by
        nodes = [
            helper.make_node(
                "Constant", [], ["c"], name=name, value=numpy_helper.from_array(values)
            ),
            helper.make_node("Add", ["x", "c"], ["y"]),
        ]
        face = [helper.make_tensor_value_info(end, TensorProto.FLOAT, [4000]) for end in "xy"]
        graph = helper.make_graph(nodes, "g", face[:1], face[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        (tmp_path / name).mkdir()
        onnx.save(model, tmp_path / name / "model.onnx")
    feeds = [{"x": np.zeros(4000, np.float32)}]
    found = graphs.compare(tmp_path / "a", tmp_path / "b", 1e-5, feeds=feeds, threads=1)
    assert found.kind == (DIFFERENT if change else EQUIVALENT)
    assert found.what[0] == ("other nodes" if change else "only names of nodes, or notes")


def test_another_interface_is_different_though_it_computes_the_same(tmp_path: Path) -> None:
    pair = write(tmp_path / "a"), write(tmp_path / "b", output="z")
    found = graphs.compare(*pair, 1e-5, feeds=FEEDS, threads=1)
    assert found.kind == DIFFERENT
    assert found.what[0] == "other interface, nodes"
    assert found.what[1].startswith("not run: ")
