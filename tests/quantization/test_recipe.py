# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes: what each node computes in, where every scale comes from, and what overflows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.backends import emulation
from stages.quantization import formats, reading
from stages.quantization.recipe import apply
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    import onnx

X = {"x": zoo.values(4, 3, 8, 8)}
SCALES = {name: top / 127 for name, top in zoo.observed(zoo.tiny(), X).items()}
BOTH = pytest.mark.parametrize("precision", ["int8", "fp8"])
REMAINDERS = pytest.mark.parametrize("remainder", ["fp32", "fp16", "bf16"])


def typed(precision: str, scales: dict[str, float] | None = None, **others: Any) -> ir.Model:
    model = zoo.typed(zoo.tiny())
    apply(model, zoo.recipe(precision, SCALES if scales is None else scales, **others))
    zoo.check(model)
    return model


def constants(model: ir.Model) -> dict[str, bytes]:
    return {
        name: value.const_value.numpy().tobytes()
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }


def chain(*nodes: onnx.NodeProto, constants: tuple[onnx.TensorProto, ...] = ()) -> ir.Model:
    ends = [zoo.face("x", "batch", 4)], [zoo.face("y", "batch", 4)]
    return zoo.typed(zoo.model(nodes, *ends, constants))


@BOTH
@REMAINDERS
def test_one_changed_value_of_the_cache_changes_one_scale(precision: str, remainder: str) -> None:
    before = constants(typed(precision, remainder=remainder))
    doubled = SCALES | {"g": 2 * SCALES["g"]}
    after = constants(typed(precision, doubled, remainder=remainder))
    assert {name for name in before if before[name] != after[name]} == {"g_scale"}
    assert list(before) == list(after)


@BOTH
@REMAINDERS
def test_scales_are_float32_and_those_of_our_ranges(precision: str, remainder: str) -> None:
    model = typed(precision, remainder=remainder)
    form = formats.QUANTIZED[precision]
    for node in model.graph:
        if node.op_type != "QuantizeLinear":
            continue
        value, scale, zero = node.inputs
        assert value is not None
        assert scale is not None
        assert zero is not None
        assert scale.const_value is not None
        assert (scale.dtype, zero.dtype) == (ir.DataType.FLOAT, form.dtype)
        expected = SCALES[value.name or ""] * 127 / form.largest
        assert float(scale.const_value.numpy()) == pytest.approx(expected, rel=1e-7)


@REMAINDERS
def test_float8_weights_reach_448_in_each_channel(remainder: str) -> None:
    model = typed("fp8", remainder=remainder)
    found = model.graph.initializers["fc_quantized"].const_value
    assert found is not None
    assert found.dtype == ir.DataType.FLOAT8E4M3FN
    levels = np.abs(found.numpy().astype(np.float32)).max(axis=1)
    np.testing.assert_array_equal(levels, np.full(5, 448, np.float32))


@BOTH
@REMAINDERS
def test_what_is_left_over_runs_in_the_remainder(precision: str, remainder: str) -> None:
    model = zoo.typed(zoo.tiny())
    details = apply(model, zoo.recipe(precision, SCALES, remainder=remainder))
    found = reading.precisions(model.graph)
    assert {name for name, kind in found.items() if kind == precision} == {"conv_2", "head"}
    assert {kind for name, kind in found.items() if name not in ("conv_2", "head")} == {remainder}
    assert details["layers"] == {precision: 2, remainder: len(found) - 2}
    assert details["compute"][precision] == pytest.approx(1 - details["compute"][remainder])
    assert details["opset"]["to"] == (22 if remainder == "fp32" else 23)
    faces = [value.dtype for value in (*model.graph.inputs, *model.graph.outputs)]
    assert faces == [ir.DataType.FLOAT] * 2


def test_a_quantized_backbone_with_a_half_head() -> None:
    model = typed("int8", chosen={"head": "fp16"})
    found = reading.precisions(model.graph)
    assert (found["conv_2"], found["head"], found["relu_1"]) == ("int8", "fp16", "fp32")


def test_a_half_backbone_with_one_quantized_node() -> None:
    names = [node.name or "" for node in zoo.typed(zoo.tiny()).graph]
    chosen = dict.fromkeys(names, "fp16") | {"head": "int8"}
    found = reading.precisions(typed("int8", chosen=chosen).graph)
    assert found.pop("head") == "int8"
    assert set(found.values()) == {"fp16"}


def test_three_types_in_one_graph() -> None:
    model = typed("fp8", remainder="fp16", chosen={"relu_2": "bf16", "pool": "fp32"})
    found = reading.precisions(model.graph)
    assert {found[name] for name in ("conv_2", "relu_1", "relu_2", "pool")} == {
        "fp8",
        "fp16",
        "bf16",
        "fp32",
    }
    emulation.emulate(model)
    reference = zoo.infer(zoo.tiny(), X)["logits"]
    assert np.abs(zoo.infer(model, X)["logits"] - reference).max() < 0.2 * np.abs(reference).max()


@given(
    precision=st.sampled_from(["int8", "fp8"]),
    remainder=st.sampled_from(["fp32", "fp16", "bf16"]),
    chosen=st.dictionaries(
        st.sampled_from(["conv_1", "conv_2", "residual", "relu_1", "relu_2", "pool", "head"]),
        st.sampled_from(["fp32", "fp16", "bf16", "quantized"]),
    ),
)
def test_any_mixture_is_a_valid_graph_with_the_same_face(
    precision: str, remainder: str, chosen: dict[str, str]
) -> None:
    own = {name: precision if kind == "quantized" else kind for name, kind in chosen.items()}
    model = typed(precision, remainder=remainder, chosen=own)
    found = reading.precisions(model.graph)
    for name, kind in own.items():
        if kind != precision:
            assert found[name] == kind
    assert [v.name for v in model.graph.outputs] == ["logits"]
    assert all(v.dtype == ir.DataType.FLOAT for v in (*model.graph.inputs, *model.graph.outputs))


@given(seed=st.integers(0, 99), bits=st.integers(6, 20))
def test_a_fine_enough_scale_changes_nothing(seed: int, bits: int) -> None:
    """Values that lie on the grid of their scale pass Q/DQ unchanged, bit for bit."""
    rng = np.random.default_rng(seed)
    scale = 2.0**-bits
    x = (rng.integers(-127, 128, (3, 6)) * scale).astype(np.float32)
    weight = rng.integers(-127, 128, (6, 5))
    weight[0] = 127  # each channel reaches its largest level
    proto = zoo.model(
        [zoo.node("MatMul", ["x", "w"], ["y"], name="product")],
        [zoo.face("x", "batch", 6)],
        [zoo.face("y", "batch", 5)],
        [zoo.const("w", weight * scale)],
    )
    model = zoo.typed(proto)
    details = apply(model, zoo.recipe("int8", {"x": scale}))
    assert details["layers"] == {"int8": 1}
    found, expected = zoo.infer(model, {"x": x})["y"], zoo.infer(proto, {"x": x})["y"]
    assert found.tobytes() == expected.tobytes()


@given(top=st.floats(1e-3, 1e3), bits=st.integers(0, 6))
def test_a_range_that_holds_all_moves_no_value_by_more_than_half_a_step(
    top: float, bits: int
) -> None:
    scale = np.float32(top * 2.0**bits / 127)
    form = formats.INT8
    values = np.linspace(-top, top, 1001, dtype=np.float32)
    moved = form.levels(values / scale).astype(np.float32) * scale - values
    assert np.abs(moved).max() <= 0.5001 * scale


def test_an_overflow_keeps_its_node_float32_with_its_maximum() -> None:
    model = chain(
        zoo.node("Mul", ["x", "k"], ["a"], name="large"),
        zoo.node("Relu", ["a"], ["b"], name="reads_large"),
        zoo.node("Mul", ["b", "small"], ["c"], name="back"),
        zoo.node("Neg", ["c"], ["y"], name="fine"),
        constants=(zoo.const("k", 1000.0), zoo.const("small", 1e-3)),
    )
    maxima = {"x": 70.0, "a": 70000.0, "b": 70000.0, "c": 70.0, "y": 70.0}
    details = apply(model, zoo.recipe("fp16", {}, maxima=maxima))
    zoo.check(model)
    assert [(e["node"], e["tensor"], e["maximum"]) for e in details["overflow"]] == [
        ("large", "a", 70000.0),
        ("reads_large", "a", 70000.0),
        ("back", "b", 70000.0),
    ]
    assert reading.precisions(model.graph) == {
        "large": "fp32",
        "reads_large": "fp32",
        "back": "fp32",
        "fine": "fp16",
    }
    told = reading.kept(model.graph)
    assert [entry["node"] for entry in told] == ["large", "reads_large", "back"]
    assert told[0]["reason"] == "a reached 70000, more than FP16 holds"
    feeds = {"x": np.full((1, 4), 70, np.float32)}
    emulation.emulate(model)
    np.testing.assert_allclose(zoo.infer(model, feeds)["y"], -70, rtol=1e-3)


@pytest.mark.parametrize(
    ("precision", "maximum", "kept"),
    [
        ("fp16", 65504.0, False),
        ("fp16", 65505.0, True),
        ("fp16", math.inf, False),  # a mask: infinity is infinity in any type
        ("bf16", 70000.0, False),
        ("fp32", 70000.0, False),
    ],
)
def test_what_counts_as_an_overflow(precision: str, maximum: float, *, kept: bool) -> None:
    model = chain(zoo.node("Relu", ["x"], ["y"], name="relu"))
    details = apply(model, zoo.recipe(precision, {}, maxima={"x": maximum, "y": maximum}))
    assert bool(details["overflow"]) == kept


def test_a_clipping_range_says_nothing_about_overflow() -> None:
    model = zoo.typed(zoo.tiny())
    recipe = zoo.recipe("int8", SCALES, remainder="fp16", maxima={"b_same": 1e5, "c": 1.0})
    details = apply(model, recipe)
    zoo.check(model)
    assert {entry["node"] for entry in details["overflow"]} >= {"conv_2", "residual"}
    # It is quantized all the same, from a float32 value and to one.
    assert reading.precisions(model.graph)["conv_2"] == "int8"
    assert zoo.named(model, "conv_2").outputs[0].dtype == ir.DataType.FLOAT


def test_fp32_keeps_the_graph() -> None:
    before = ir.to_proto(zoo.typed(zoo.tiny()))
    model = zoo.typed(zoo.tiny())
    details = apply(model, zoo.recipe("fp32", {}))
    assert ir.to_proto(model) == before
    assert set(details["layers"]) == {"fp32"}
