# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The emulation of FP16 and BF16 against numpy, which rounds after each step too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from stages.backends import emulation
from stages.quantization import recipe
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    import onnx

LOW = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}
NUMPY: dict[str, Any] = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}
BOTH = pytest.mark.parametrize("kind", LOW)
FLOATS = st.floats(width=32)
EDGES = [0.0, -0.0, np.inf, -np.inf, np.nan, 2.0**-149, 2.0**-24, 2.0**-25, 65504.0, 65520.0]
EDGES += [1 + 2.0**-11, 1 + 3 * 2.0**-11, 1 + 2.0**-8, 1 + 3 * 2.0**-8, 3.39e38, 3.4028234e38]


def chain() -> onnx.ModelProto:
    """y = (x + x) * k - x, which rounds three times, and a way out after each."""
    return zoo.model(
        [
            zoo.node("Add", ["x", "x"], ["twice"]),
            zoo.node("Mul", ["twice", "k"], ["scaled"]),
            zoo.node("Sub", ["scaled", "x"], ["y"]),
        ],
        [zoo.face("x", "batch")],
        [zoo.face("twice", "batch"), zoo.face("scaled", "batch"), zoo.face("y", "batch")],
        [zoo.const("k", 0.3)],
    )


def low(proto: onnx.ModelProto, kind: str) -> ir.Model:
    model = zoo.typed(proto)
    zoo.lower(model, LOW[kind])
    return model


def emulated(model: ir.Model) -> ir.Model:
    emulation.emulate(model)
    zoo.check(model)
    return model


CHAINS = {kind: ir.to_proto(emulated(low(chain(), kind))) for kind in LOW}


def test_an_overflow_that_onnx_runtime_alone_does_not_see() -> None:
    proto = zoo.model(
        [zoo.node("Add", ["x", "x"], ["a"]), zoo.node("Mul", ["a", "half"], ["y"])],
        [zoo.face("x", 1)],
        [zoo.face("y", 1)],
        [zoo.const("half", 0.5)],
    )
    model, x = low(proto, "fp16"), {"x": np.array([60000], np.float32)}
    assert zoo.infer(model, x)["y"].tolist() == [60000]  # FP32 in disguise
    assert zoo.infer(emulated(model), x)["y"].tolist() == [np.inf]
    with np.errstate(over="ignore"):
        assert (np.float16(60000) + np.float16(60000)) * np.float16(0.5) == np.inf


@BOTH
@given(values=st.lists(FLOATS | st.sampled_from(EDGES), min_size=1, max_size=20))
@example(values=EDGES)
def test_every_node_rounds_as_numpy_does(kind: str, values: list[float]) -> None:
    kept = NUMPY[kind]

    def rounded(array: Any) -> Any:
        return array.astype(kept).astype(np.float32)

    with np.errstate(all="ignore"):
        x = np.array(values, np.float32)
        start = rounded(x)
        twice = rounded(start + start)
        scaled = rounded(twice * rounded(np.float32(0.3)))
        wanted = {"twice": twice, "scaled": scaled, "y": rounded(scaled - start)}
    found = zoo.infer(CHAINS[kind], {"x": x})
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
        np.testing.assert_array_equal(np.signbit(found[name]), np.signbit(array))


@BOTH
def test_every_half_way_value_goes_to_the_even_neighbour(kind: str) -> None:
    proto = zoo.model(
        [zoo.node("Neg", ["x"], ["n"]), zoo.node("Neg", ["n"], ["y"])],
        [zoo.face("x", "n")],
        [zoo.face("y", "n")],
    )
    model = emulated(low(proto, kind))
    every = np.arange(1 << 16, dtype=np.uint16).view(NUMPY[kind]).astype(np.float32)
    every = np.unique(every[np.isfinite(every)])
    between = ((every[1:].astype(np.float64) + every[:-1]) / 2).astype(np.float32)
    near = np.concatenate([between, np.nextafter(between, np.float32(np.inf))])
    found = zoo.infer(model, {"x": near})["y"]
    np.testing.assert_array_equal(found, near.astype(NUMPY[kind]).astype(np.float32))


@BOTH
def test_no_low_type_is_left_but_in_casts(kind: str) -> None:
    model = low(zoo.tiny(), kind)
    values = [value for item in model.graph for value in item.outputs]
    count = sum(value.dtype == LOW[kind] for value in values)
    assert emulation.emulate(model) == count == 12
    for item in model.graph:
        made = item.outputs[0].dtype == LOW[kind]
        assert made <= (item.op_type == "Cast")
    assert [value.dtype for value in model.graph.outputs] == [ir.DataType.FLOAT]
    assert {v.dtype for v in model.graph.initializers.values()} == {ir.DataType.FLOAT}


def test_a_float32_graph_is_left_as_it_is() -> None:
    for proto in (zoo.tiny(), zoo.loop()):
        model = zoo.typed(proto)
        before = ir.to_proto(model)
        assert emulation.emulate(model) == 0
        assert ir.to_proto(model) == before


@pytest.mark.parametrize("proto", [zoo.tiny(), zoo.loop(), zoo.branch(), zoo.branch(identity=True)])
def test_inputs_and_outputs_of_a_low_type_stay(proto: onnx.ModelProto) -> None:
    half = zoo.halved(proto)
    model = zoo.typed(half)
    shape = (3, 3, 8, 8) if proto.graph.output[0].name == "logits" else (3, 4)
    feeds = {"x": zoo.values(*shape).astype(np.float16)}
    before, after = zoo.infer(half, feeds), zoo.infer(emulated(model), feeds)
    for name, array in before.items():
        assert after[name].dtype == np.float16
        np.testing.assert_allclose(after[name], array, rtol=4e-3, atol=1e-3)


def test_low_values_that_are_read_and_given_out() -> None:
    proto = zoo.model(
        [zoo.node("Add", ["x", "x"], ["a"]), zoo.node("Mul", ["a", "x"], ["y"])],
        [zoo.face("x", 2, dtype=zoo.FLOAT16)],
        [
            zoo.face("a", 2, dtype=zoo.FLOAT16),
            zoo.face("y", 2, dtype=zoo.FLOAT16),
        ],
    )
    found = zoo.infer(emulated(zoo.typed(proto)), {"x": np.array([60000, 3], np.float16)})
    assert list(found) == ["a", "y"]
    assert found["a"].tolist() == [np.inf, 6]
    assert found["y"].tolist() == [np.inf, 18]


def test_low_constants_and_types_in_attributes() -> None:
    proto = zoo.model(
        [
            zoo.node("Constant", [], ["k"], value=zoo.const("k", [0.1], np.float16)),
            zoo.node("EyeLike", ["square"], ["eye"], dtype=zoo.FLOAT16),
            zoo.node("Mul", ["eye", "k"], ["scaled"]),
            zoo.node("CastLike", ["x", "k"], ["low"]),
            zoo.node("MatMul", ["low", "scaled"], ["product"]),
            zoo.node("Cast", ["product"], ["y"], to=zoo.FLOAT),
        ],
        [zoo.face("x", "batch", 2)],
        [zoo.face("y", "batch", 2)],
        [zoo.const("square", np.zeros((2, 2)))],
    )
    x = np.array([[1.0001, 3]], np.float32)
    found = zoo.infer(emulated(zoo.typed(proto)), {"x": x})["y"]
    wanted = (x.astype(np.float16) * np.float16(0.1)).astype(np.float32)
    np.testing.assert_array_equal(found, wanted)


def test_outputs_that_are_left_out() -> None:
    proto = zoo.model(
        [zoo.node("LSTM", ["x", "w", "r"], ["", "y"], hidden_size=2)],
        [zoo.face("x", 3, "batch", 4)],
        [zoo.face("y", 1, "batch", 2)],
        [zoo.weight("w", 1, 8, 4), zoo.weight("r", 1, 8, 2)],
    )
    model = low(proto, "fp16")
    found = zoo.infer(emulated(model), {"x": zoo.values(3, 5, 4)})["y"]
    np.testing.assert_allclose(found, zoo.infer(proto, {"x": zoo.values(3, 5, 4)})["y"], atol=5e-3)


SINGLE = "float32 by ONNX Runtime, optimizations off"


@pytest.mark.parametrize(
    ("precision", "remainder", "text"),
    [
        ("fp16", "fp16", "emulation: float32 arithmetic, rounded to fp16 after each node"),
        ("bf16", "bf16", "emulation: float32 arithmetic, rounded to bf16 after each node"),
        ("tf32", "fp32", "float32 by ONNX Runtime; TF32's shorter mantissa is not emulated"),
        ("fp32", "fp32", SINGLE),
        ("int8", "fp32", f"{SINGLE}; operands rounded to int8 by Q/DQ"),
        (
            "fp8",
            "bf16",
            (
                "emulation: float32 arithmetic, rounded to bf16 after each node;"
                " operands rounded to fp8 by Q/DQ"
            ),
        ),
    ],
)
def test_the_report_says_how_it_was_computed(precision: str, remainder: str, text: str) -> None:
    model = zoo.typed(zoo.tiny())
    scales = dict.fromkeys(("x", "b_same", "g"), 0.1)
    recipe.apply(model, zoo.recipe(precision, scales, remainder=remainder))
    assert emulation.describe(precision, model) == text


@BOTH
@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_a_low_remainder_is_rounded_beside_q_and_dq(precision: str, kind: str) -> None:
    feeds = {"x": zoo.values(2, 3, 8, 8)}
    scales = {name: top / 127 for name, top in zoo.observed(zoo.tiny(), feeds).items()}
    model = zoo.typed(zoo.tiny())
    recipe.apply(model, zoo.recipe(precision, scales, remainder=kind))
    found, reference = zoo.infer(emulated(model), feeds)["logits"], zoo.infer(zoo.tiny(), feeds)
    assert 0 < np.abs(found - reference["logits"]).max() < 0.2 * np.abs(reference["logits"]).max()


def test_float8_of_onnx_runtime_is_that_of_the_specification() -> None:
    eight = helper.make_tensor("zero", TensorProto.FLOAT8E4M3FN, [], [0])
    proto = zoo.model(
        [
            zoo.node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
            zoo.node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
        ],
        [zoo.face("x", "batch")],
        [zoo.face("y", "batch")],
        [zoo.const("scale", 0.25), eight],
    )
    x = np.concatenate([zoo.values(4096) * 20, np.array([112, 115.9, 116.1, 1e9, -1e9, 0, 5e-4])])
    expected = np.clip(x.astype(np.float32) / 0.25, -448, 448).astype(ml_dtypes.float8_e4m3fn)
    found = zoo.infer(proto, {"x": x.astype(np.float32)})["y"]
    np.testing.assert_array_equal(found, expected.astype(np.float32) * 0.25)
