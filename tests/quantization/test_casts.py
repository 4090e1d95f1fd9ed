# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""FP16 and BF16 by casts: where they stand, and what keeps its type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from stages.backends import emulation
from stages.quantization import op_types
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    import onnx

FP16, BF16, FP32 = ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.FLOAT
BOTH = pytest.mark.parametrize("low", [FP16, BF16], ids=["fp16", "bf16"])
X = {"x": zoo.values(2, 3, 8, 8)}


def lower(
    proto: onnx.ModelProto, low: ir.DataType = FP16, *kept: str
) -> tuple[ir.Model, dict[str, Any]]:
    model = zoo.typed(proto)
    details = zoo.lower(model, low, *kept)
    zoo.check(model)
    return model, details


def emulated(model: ir.Model, feeds: zoo.Arrays) -> zoo.Arrays:
    emulation.emulate(model)
    zoo.check(model)
    return zoo.infer(model, feeds)


def types(model: ir.Model) -> dict[str, str]:
    return {
        value.name or "": value.dtype.name
        for item in model.graph
        for value in item.outputs
        if value.dtype is not None
    }


def chain(*nodes: onnx.NodeProto, constants: tuple[onnx.TensorProto, ...] = ()) -> onnx.ModelProto:
    return zoo.model(nodes, [zoo.face("x", "batch", 4)], [zoo.face("y", "batch", 4)], constants)


@BOTH
def test_the_face_stays_float32_and_all_else_is_low(low: ir.DataType) -> None:
    model, details = lower(zoo.tiny(), low)
    for value in (*model.graph.inputs, *model.graph.outputs):
        assert value.dtype == FP32
    assert [value.name for value in model.graph.outputs] == ["logits"]
    assert {v.dtype for v in model.graph.initializers.values()} == {low}
    assert details["casts"] == 2
    assert details["kept"] == []
    assert details["low"]["Conv"] == 2
    assert zoo.ops(model)["Cast"] == 2
    high = {name for name, kind in types(model).items() if kind == "FLOAT"}
    assert high == {"logits"}


@BOTH
def test_the_result_is_near_the_float32_one(low: ir.DataType) -> None:
    model, _ = lower(zoo.tiny(), low)
    before, after = zoo.infer(zoo.tiny(), X)["logits"], emulated(model, X)["logits"]
    error = np.abs(before - after).max() / np.abs(before).max()
    assert 0 < error < {FP16: 2e-3, BF16: 2e-2}[low]


@BOTH
def test_kept_nodes_are_float32_with_one_cast_for_each_border(low: ir.DataType) -> None:
    model, details = lower(zoo.tiny(), low, "conv_2", "residual")
    kinds = types(model)
    assert (kinds["c"], kinds["d"]) == ("FLOAT", "FLOAT")
    assert kinds["e"] == kinds["b"] == low.name
    # b is read by both kept nodes, and cast once for them.
    assert zoo.named(model, "conv_2").inputs[0] is zoo.named(model, "residual").inputs[1]
    assert details["casts"] == 4
    assert [entry["node"] for entry in details["kept"]] == ["conv_2", "residual"]
    assert {entry["reason"] for entry in details["kept"]} == {"an override keeps it"}
    assert model.graph.initializers["w2"].dtype == FP32


def test_a_value_with_low_and_float32_readers_is_there_in_both() -> None:
    model, details = lower(zoo.tiny(), FP16, "relu_2", "dead")
    # a is read by relu_1 in fp16 and by the kept node `dead` in float32.
    readers = {item.name: item.inputs[0] for item in model.graph if item.name in ("relu_1", "dead")}
    low, high = readers["relu_1"], readers["dead"]
    assert low is not None
    assert high is not None
    assert (low.dtype, high.dtype) == (FP16, FP32)
    producer = high.producer()
    assert producer is not None
    assert producer.inputs[0] is low
    assert details["casts"] == 5  # x, a, d, e, logits


def test_a_constant_shared_by_low_and_float32_nodes_is_there_in_both() -> None:
    proto = chain(
        zoo.node("Mul", ["x", "k"], ["a"], name="low"),
        zoo.node("Mul", ["a", "k"], ["y"], name="high"),
        constants=(zoo.const("k", 1.1),),
    )
    model, _ = lower(proto, FP16, "high")
    found = {name: value.dtype for name, value in model.graph.initializers.items()}
    assert found == {"k": FP32, "k_float16": FP16}


@pytest.mark.parametrize(
    ("low", "value", "kept"),
    [
        (FP16, 65504.0, False),
        (FP16, 65519.0, False),  # rounds down to the largest
        (FP16, 65520.0, True),
        (FP16, -70000.0, True),
        (FP16, 3e-8, False),  # rounds up to the least
        (FP16, 2e-8, True),  # a guard of a division that would become 0
        (FP16, -1e-12, True),
        (FP16, 0.0, False),
        (FP16, -np.inf, False),  # a mask: infinity is infinity in any type
        (FP16, np.nan, False),
        (BF16, 70000.0, False),
        (BF16, 1e-30, False),
        (BF16, -3.4028234e38, True),  # the least float32, as masks have it
        (BF16, 3.3895e38, False),
    ],
)
def test_a_constant_that_overflows_or_vanishes_keeps_its_node(
    low: ir.DataType, value: float, *, kept: bool
) -> None:
    for constant in (
        {"constants": (zoo.const("k", value),)},
        {"first": zoo.node("Constant", [], ["k"], value=zoo.const("k", value))},
    ):
        first = [constant["first"]] if "first" in constant else []
        nodes = [
            *first,
            zoo.node("Relu", ["x"], ["a"], name="relu"),
            zoo.node("Max", ["a", "k"], ["y"], name="max"),
        ]
        _, details = lower(chain(*nodes, constants=constant.get("constants", ())), low)  # type: ignore[arg-type]
        names = [e["node"] for e in details["kept"] if e["op"] != "Constant"]
        assert names == (["max"] if kept else [])
        if kept:
            harm = "exceeds" if abs(value) > 1 else "vanishes in"
            assert details["kept"][-1]["reason"] == f"a constant input {harm} {low.name.lower()}"


@pytest.mark.parametrize(
    ("op", "constant", "kept"),
    [
        ("Mul", [1.0, 1e-12, 1.0, 1.0], False),  # a weight that is next to nothing
        ("Div", [1.0, 1e-12, 1.0, 1.0], True),
        ("Div", [1.0, 1e-3, 1.0, 1.0], False),
        ("Mul", [1e-12] * 4, True),
        ("Mul", [0.0] * 4, False),
    ],
)
def test_of_a_constant_that_vanishes_in_part_only_a_divisor_matters(
    op: str, constant: list[float], *, kept: bool
) -> None:
    node = zoo.node(op, ["x", "k"], ["y"], name="node")
    _, details = lower(chain(node, constants=(zoo.const("k", constant),)), FP16)
    assert [entry["node"] for entry in details["kept"]] == (["node"] if kept else [])


def test_an_epsilon_that_fp16_cannot_hold_still_guards_its_division() -> None:
    """x / sqrt(x^2 + 1e-12), as exporters write a normalization: of zeros it is 0, not 0 / 0."""
    proto = chain(
        zoo.node("Mul", ["x", "x"], ["a"], name="square"),
        zoo.node("Add", ["a", "epsilon"], ["b"], name="guard"),
        zoo.node("Sqrt", ["b"], ["c"], name="root"),
        zoo.node("Div", ["x", "c"], ["d"], name="norm"),
        zoo.node("Mul", ["d", "d"], ["y"], name="behind"),
        constants=(zoo.const("epsilon", 1e-12),),
    )
    model, details = lower(proto, FP16)
    assert [entry["node"] for entry in details["kept"]] == ["guard", "root", "norm"]
    assert details["kept"][1]["reason"] == "it reads what vanishes in a lower type"
    x = np.array([[0.0, 1.0, -2.0, 0.0]], np.float32)
    np.testing.assert_array_equal(emulated(model, {"x": x})["y"], [[0, 1, 1, 0]])
    _, details = lower(proto, BF16)
    assert details["kept"] == []


@BOTH
@pytest.mark.parametrize("proto", [zoo.branch(), zoo.branch(identity=True), zoo.loop()])
def test_control_flow_stays_float32(proto: onnx.ModelProto, low: ir.DataType) -> None:
    model, details = lower(proto, low)
    flow = next(item for item in model.graph if item.op_type in ("If", "Loop"))
    assert {"node": flow.name, "op": flow.op_type, "reason": "control flow"} in details["kept"]
    assert flow.outputs[0].dtype == FP32
    assert details["low"]["MatMul"] == 1
    feeds = {"x": zoo.values(3, 4)}
    before, after = zoo.infer(proto, feeds)["z"], emulated(model, feeds)["z"]
    np.testing.assert_allclose(after, before, atol=0.05, rtol=0.05)


@BOTH
def test_scales_and_sizes_that_the_schema_fixes_stay_float32(low: ir.DataType) -> None:
    proto = zoo.model(
        [
            zoo.node("Relu", ["x"], ["a"]),
            zoo.node("Resize", ["a", "", "scales"], ["b"], name="resize", mode="nearest"),
            zoo.node("Shape", ["b"], ["size"], name="shape"),
            zoo.node("Cast", ["size"], ["y"], name="cast", to=zoo.FLOAT),
        ],
        [zoo.face("x", "batch", 1, 2, 2)],
        [zoo.face("y", 4)],
        [zoo.const("scales", [1, 1, 2, 2])],
    )
    model, details = lower(proto, low)
    resize = zoo.named(model, "resize")
    scales = resize.inputs[2]
    assert scales is not None
    assert scales.dtype == FP32
    assert resize.outputs[0].dtype == low
    assert zoo.named(model, "shape").inputs[0] is resize.outputs[0]  # reads no values: no cast
    assert details["low"] == {"Relu": 1, "Resize": 1}
    assert emulated(model, {"x": zoo.values(1, 1, 2, 2)})["y"].tolist() == [1, 1, 4, 4]


def test_ops_that_do_not_take_the_type_say_so() -> None:
    proto = zoo.model(
        [zoo.node("Conv", ["x", "w"], ["a"], name="conv"), zoo.node("Relu", ["a"], ["y"])],
        [zoo.face("x", "batch", 3, 8, 8)],
        [zoo.face("y", "batch", 4, 8, 8)],
        [zoo.weight("w", 4, 3, 1, 1)],
        opset=17,
    )
    _, details = lower(proto, BF16)
    reason = "Conv does not take bfloat16 at opset 17"
    assert details["kept"] == [{"node": "conv", "op": "Conv", "reason": reason}]
    assert details["low"] == {"Relu": 1}


def test_several_outputs_inputs_and_types() -> None:
    proto = zoo.model(
        [
            zoo.node("Gather", ["table", "ids"], ["rows"]),
            zoo.node("TopK", ["rows", "k"], ["best", "places"]),
            zoo.node("ReduceMean", ["rows"], ["mean"], keepdims=0),
            zoo.node("Where", ["mask", "rows", "never"], ["seen"]),
        ],
        [zoo.face("ids", "batch", dtype=zoo.INT64), zoo.face("mask", "batch", 4, dtype=zoo.BOOL)],
        [
            zoo.face("rows", "batch", 4),
            zoo.face("best", "batch", 2),
            zoo.face("places", "batch", 2, dtype=zoo.INT64),
            zoo.face("mean"),
            zoo.face("seen", "batch", 4),
        ],
        [zoo.weight("table", 9, 4), zoo.const("k", [2], np.int64), zoo.const("never", -np.inf)],
    )
    model, details = lower(proto)
    assert details["low"] == {"Gather": 1, "ReduceMean": 1, "TopK": 1, "Where": 1}
    feeds = {"ids": np.arange(3), "mask": np.arange(12).reshape(3, 4) % 2 == 0}
    before, after = zoo.infer(proto, feeds), emulated(model, feeds)
    assert [(n, a.dtype) for n, a in after.items()] == [(n, a.dtype) for n, a in before.items()]
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, rtol=2e-3)


def test_names_that_are_taken_already() -> None:
    proto = chain(
        zoo.node("Relu", ["x"], ["y_float16"], name="cast_x_float16"),
        zoo.node("Neg", ["y_float16"], ["x_float16"], name="neg"),
        zoo.node("Abs", ["x_float16"], ["y"], name="abs"),
    )
    model, _ = lower(proto)
    names = [value.name for item in model.graph for value in item.outputs]
    assert len(set(names)) == len(names)
    assert names[-1] == "y"
    assert emulated(model, {"x": zoo.values(2, 4)})["y"].shape == (2, 4)


def test_a_source_in_the_low_type_stays_as_it_is() -> None:
    half = zoo.halved(zoo.tiny())
    model, details = lower(half)
    assert details == {"low": {}, "kept": [], "casts": 0}
    assert ir.to_proto(model).graph == ir.to_proto(zoo.typed(half)).graph
    model, details = lower(half, BF16)
    assert details == {"low": {}, "kept": [], "casts": 0}


def test_a_mixed_source_gets_no_cast_twice() -> None:
    proto = chain(
        zoo.node("Cast", ["x"], ["half"], to=zoo.FLOAT16, name="down"),
        zoo.node("Relu", ["half"], ["positive"], name="relu"),
        zoo.node("Cast", ["positive"], ["single"], to=zoo.FLOAT, name="up"),
        zoo.node("Neg", ["single"], ["y"], name="neg"),
    )
    model, details = lower(proto)
    assert details["low"] == {"Neg": 1}
    assert [entry["node"] for entry in details["kept"]] == ["up"]
    assert emulated(model, {"x": zoo.values(2, 4)})["y"].dtype == np.float32


@BOTH
def test_constants_are_rounded_to_nearest_even(low: ir.DataType) -> None:
    model, _ = lower(zoo.tiny(), low)
    numpy_type = np.float16 if low == FP16 else ml_dtypes.bfloat16
    for name in ("w2", "fc"):
        found = model.graph.initializers[f"{name}_{low.name.lower()}"].const_value
        source = zoo.typed(zoo.tiny()).graph.initializers[name].const_value
        assert found is not None
        assert source is not None
        assert found.numpy().tobytes() == source.numpy().astype(numpy_type).tobytes()


def test_what_the_source_quantizes_itself_keeps_its_type() -> None:
    proto = chain(
        zoo.node("Relu", ["x"], ["a"], name="relu"),
        zoo.node("QuantizeLinear", ["a", "scale", "zero"], ["q"], name="quantize"),
        zoo.node("DequantizeLinear", ["q", "scale", "zero"], ["d"], name="dequantize"),
        zoo.node("Neg", ["d"], ["y"], name="neg"),
        constants=(zoo.const("scale", 0.1), zoo.const("zero", 0, np.int8)),
    )
    model, details = lower(proto)
    assert details["low"] == {"Neg": 1, "Relu": 1}
    assert details["kept"][0] == {
        "node": "dequantize",
        "op": "DequantizeLinear",
        "reason": "it quantizes",
    }
    assert model.graph.initializers["scale"].dtype == FP32
    feeds = {"x": zoo.values(2, 4)}
    before, after = zoo.infer(proto, feeds)["y"], emulated(model, feeds)["y"]
    np.testing.assert_allclose(after, before, atol=0.11)  # one step, where a rounding moves it


def test_an_op_of_another_domain_is_kept() -> None:
    node = zoo.node("Gelu", ["x"], ["y"], domain="com.microsoft", name="gelu")
    proto = chain(zoo.node("Relu", ["x"], ["y"]))
    proto.graph.node[0].CopyFrom(node)
    proto.opset_import.add(domain="com.microsoft", version=1)
    model = zoo.typed(proto)
    found = op_types.slots(model.graph[0], 1, FP16)
    assert (found.outputs, found.reason) == ((), "no ONNX schema for com.microsoft::Gelu")
    details = zoo.lower(model, FP16)
    assert [entry["node"] for entry in details["kept"]] == ["gelu"]
