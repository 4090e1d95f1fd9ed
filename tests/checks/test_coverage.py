# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Shares of activations outside their range."""

from __future__ import annotations

import numpy as np
import pytest

from stages.backends import emulation
from stages.checks import coverage
from stages.quantization import recipe
from tests import graphs_zoo as zoo


def test_shares_by_hand() -> None:
    found = coverage.Coverage({"a": 10.0, "b": 1.0, "c": 5.0})
    nothing = np.zeros((0, 2), np.float32)
    found.add({"a": np.array([10, -10, 9]), "b": np.array([2, -2, 0, 1]), "c": nothing})
    found.add({"a": np.array([10.5]), "b": np.array([0, 0, 0, -9]), "c": nothing})
    worst_first = [("b", 0.375), ("a", 0.25), ("c", 0.0)]
    tensors = [{"name": name, "outside": share} for name, share in worst_first]
    assert found.result() == {"worst": 0.375, "tensors": tensors}


def test_nan_is_inside_no_range() -> None:
    found = coverage.Coverage({"a": 10.0})
    found.add({"a": np.array([np.nan, 1.0, np.inf, -2.0], np.float32)})
    assert found.result()["worst"] == 0.5


def test_nothing_quantized() -> None:
    assert coverage.open_up(zoo.typed(zoo.tiny())) == {}
    assert coverage.Coverage({}).result() == {"worst": 0.0, "tensors": []}


def test_limits_are_those_of_the_scales_in_the_graph() -> None:
    model = zoo.typed(zoo.tiny())
    scales = {"b_same": 0.5, "g": 0.25}
    recipe.apply(model, zoo.recipe("int8", scales))
    assert coverage.open_up(model) == {"b_same": 0.5 * 127.5, "g": 0.25 * 127.5}
    zoo.check(model)
    found = zoo.infer(model, {"x": zoo.values(2, 3, 8, 8)})
    assert list(found) == ["logits", "b_same", "g"]


@pytest.mark.parametrize("remainder", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize(("precision", "steps"), [("int8", 127.5), ("fp8", 464 * 127 / 448)])
def test_any_format_beside_any_remainder(precision: str, steps: float, remainder: str) -> None:
    model = zoo.typed(zoo.tiny())
    scales = {"b_same": 0.5, "g": 0.25}
    recipe.apply(model, zoo.recipe(precision, scales, remainder=remainder))
    emulation.emulate(model)
    limits = coverage.open_up(model)
    names = {emulation.original(name): limit for name, limit in limits.items()}
    assert names == pytest.approx({name: scale * steps for name, scale in scales.items()})
    measured = coverage.Coverage(dict.fromkeys(limits, 0.001))
    measured.add(zoo.infer(model, {"x": zoo.values(2, 3, 8, 8)}))
    found = measured.result()
    assert {tensor["name"] for tensor in found["tensors"]} == {"b_same", "g"}
    assert found["worst"] > 0.1


def test_an_input_that_is_quantized_is_fed_not_fetched() -> None:
    proto = zoo.model(
        [zoo.node("MatMul", ["x", "w"], ["y"])],
        [zoo.face("x", "batch", 4)],
        [zoo.face("y", "batch", 4)],
        [zoo.weight("w", 4, 4)],
    )
    model = zoo.typed(proto)
    recipe.apply(model, zoo.recipe("int8", {"x": 0.01}))
    assert list(coverage.open_up(model)) == ["x"]
    assert [value.name for value in model.graph.outputs] == ["y"]


def test_half_a_step_beyond_the_last_level_is_inside() -> None:
    proto = zoo.model(
        [
            zoo.node("Relu", ["x"], ["a"]),
            zoo.node("QuantizeLinear", ["a", "scale", "zero"], ["q"]),
            zoo.node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
        ],
        [zoo.face("x", "batch")],
        [zoo.face("y", "batch")],
        [zoo.const("scale", 2.0), zoo.const("zero", 0, np.int8)],
    )
    model = zoo.typed(proto)
    limit = coverage.open_up(model)["a"]
    x = np.array([254.9, 255.1, 300], np.float32)
    moved = np.abs(zoo.infer(model, {"x": x})["y"] - x) > 1
    np.testing.assert_array_equal(moved, x > limit)


def test_weights_that_the_source_quantizes_itself_are_no_activations() -> None:
    proto = zoo.model(
        [
            zoo.node("QuantizeLinear", ["w", "scales", "zeros"], ["wq"], axis=0),
            zoo.node("DequantizeLinear", ["wq", "scales", "zeros"], ["wd"], axis=0),
            zoo.node("QuantizeLinear", ["k", "scale", "zero"], ["kq"]),
            zoo.node("DequantizeLinear", ["kq", "scale", "zero"], ["kd"]),
            zoo.node("MatMul", ["x", "wd"], ["a"]),
            zoo.node("Add", ["a", "kd"], ["y"]),
        ],
        [zoo.face("x", "batch", 2)],
        [zoo.face("y", "batch", 3)],
        [
            zoo.weight("w", 2, 3),
            zoo.const("scales", [0.1, 0.2]),
            zoo.const("zeros", [0, 0], np.int8),
            zoo.weight("k", 3),
            zoo.const("scale", 0.1),
            zoo.const("zero", 0, np.int8),
        ],
    )
    assert coverage.open_up(zoo.typed(proto)) == {}


def test_a_scale_that_is_computed_bounds_nothing() -> None:
    proto = zoo.model(
        [
            zoo.node("Relu", ["x"], ["a"]),
            zoo.node("ReduceMax", ["a"], ["scale"], keepdims=0),
            zoo.node("QuantizeLinear", ["a", "scale", "zero"], ["q"]),
            zoo.node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
        ],
        [zoo.face("x", "batch")],
        [zoo.face("y", "batch")],
        [zoo.const("zero", 0, np.int8)],
    )
    assert coverage.open_up(zoo.typed(proto)) == {}
