# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""INT8 by Q/DQ: where pairs stand, which scales they carry, and what stays float."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib import errors
from stages.quantization import planning
from stages.quantization.recipe import apply
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    import onnx

X = {"x": zoo.values(2, 3, 8, 8)}


def observed(proto: onnx.ModelProto, feeds: zoo.Arrays) -> dict[str, float]:
    """The scale of every activation by its largest value, as a float32 of a cache."""
    return {n: float(np.float32(top / 127)) for n, top in zoo.observed(proto, feeds).items()}


def quantize(
    proto: onnx.ModelProto,
    scales: dict[str, float] | None = None,
    *kept: str,
    precision: str = "int8",
) -> tuple[ir.Model, dict[str, Any]]:
    model = zoo.typed(proto)
    known = observed(proto, X) if scales is None else scales
    details = apply(model, zoo.recipe(precision, known, chosen=dict.fromkeys(kept, "fp32")))
    zoo.check(model)
    return model, details


def pair(model: ir.Model, name: str, index: int) -> tuple[ir.Node, ir.Node | None]:
    """The DequantizeLinear before an input of a node, and its QuantizeLinear if it has one."""
    value = zoo.named(model, name).inputs[index]
    assert value is not None
    dequantize = value.producer()
    assert dequantize is not None
    assert dequantize.op_type == "DequantizeLinear"
    first = dequantize.inputs[0]
    assert first is not None
    return dequantize, first.producer()


def constant(value: ir.Value | None) -> np.ndarray[Any, Any]:
    assert value is not None
    assert value.const_value is not None
    return value.const_value.numpy()


def plain(model: ir.Model, name: str, index: int) -> bool:
    value = zoo.named(model, name).inputs[index]
    producer = None if value is None else value.producer()
    return producer is None or producer.op_type != "DequantizeLinear"


def one(op: str, weight: tuple[int, ...], x: tuple[Any, ...], **attributes: Any) -> onnx.ModelProto:
    """One node with a constant weight."""
    rank = len(x) if op != "Gemm" else 2
    return zoo.model(
        [zoo.node(op, ["x", "w"], ["y"], name="node", **attributes)],
        [zoo.face("x", *x)],
        [zoo.face("y", *[f"d{axis}" for axis in range(rank)])],
        [zoo.weight("w", *weight)],
    )


def test_convolutions_products_and_the_residual_add_are_quantized() -> None:
    model, details = quantize(zoo.tiny())
    assert details["quantized"] == {"Add": 1, "Conv": 1, "Gemm": 1}  # one weight is computed
    reason = "its weight is not constant, or its activation is"
    assert details["kept"] == [{"node": "conv_1", "op": "Conv", "reason": reason}]
    assert (details["activations"], details["weights"]) == (2, 2)
    assert details["scales"] == {"observed": 12, "used": 2, "unused": 10, "smoothed": 0}
    assert zoo.ops(model)["QuantizeLinear"] == 2
    assert zoo.ops(model)["DequantizeLinear"] == 4


def test_a_shared_tensor_gets_one_pair() -> None:
    model, _ = quantize(zoo.tiny())
    # b_same feeds conv_2 and is the shortcut of the residual.
    assert zoo.named(model, "conv_2").inputs[0] is zoo.named(model, "residual").inputs[1]
    dequantize, quantizer = pair(model, "residual", 1)
    assert quantizer is not None
    source = quantizer.inputs[0]
    assert source is not None
    assert source.name == "b_same"
    assert dequantize.inputs[1] is quantizer.inputs[1]
    # The result of conv_2, the bias and what relu_2 reads stay as they were: they are fused.
    assert plain(model, "residual", 0)
    assert plain(model, "conv_2", 2)
    assert plain(model, "relu_2", 0)


def test_scales_of_activations_are_the_caches_bit_for_bit() -> None:
    scales = observed(zoo.tiny(), X)
    model, _ = quantize(zoo.tiny(), scales)
    for name, index, tensor in (("conv_2", 0, "b_same"), ("head", 0, "g")):
        _, quantizer = pair(model, name, index)
        assert quantizer is not None
        found = constant(quantizer.inputs[1])
        assert found.dtype == np.float32
        assert found.shape == ()
        assert found.tobytes() == np.float32(scales[tensor]).tobytes()
        zero = constant(quantizer.inputs[2])
        assert (zero.dtype, int(zero)) == (np.int8, 0)


def test_one_changed_value_of_the_cache_changes_one_scale() -> None:
    scales = observed(zoo.tiny(), X)
    before, _ = quantize(zoo.tiny(), scales)
    after, _ = quantize(zoo.tiny(), scales | {"g": 2 * scales["g"]})
    changed = {
        name
        for name, value in before.graph.initializers.items()
        if not np.array_equal(constant(value), constant(after.graph.initializers[name]))
    }
    assert changed == {"g_scale"}
    assert list(before.graph.initializers) == list(after.graph.initializers)
    unused, _ = quantize(zoo.tiny(), scales | {"logits": 9.0})
    assert ir.to_proto(unused) == ir.to_proto(before)


@pytest.mark.parametrize(
    ("proto", "axis", "channels"),
    [
        (one("Conv", (4, 3, 3, 3), ("batch", 3, 8, 8)), 0, 4),
        (one("Conv", (6, 1, 3, 3), ("batch", 3, 8, 8), group=3), 0, 6),
        (one("Conv", (4, 3, 3), ("batch", 3, "length")), 0, 4),
        (one("ConvTranspose", (3, 4, 2, 2), ("batch", 3, 8, 8)), 1, 4),
        (one("Gemm", (8, 5), ("batch", 8)), 1, 5),
        (one("Gemm", (5, 8), ("batch", 8), transB=1), 0, 5),
        (one("MatMul", (8, 5), ("batch", 8)), 1, 5),
        (one("MatMul", (3, 8, 5), ("batch", 3, 2, 8)), 2, 5),
    ],
    ids=["conv", "grouped", "conv1d", "transposed", "gemm", "gemm-b", "matmul", "batched"],
)
def test_weights_have_one_scale_for_each_output_channel(
    proto: onnx.ModelProto, axis: int, channels: int
) -> None:
    model, details = quantize(proto, {"x": 0.01, "y": 0.01})
    assert (details["activations"], details["weights"]) == (1, 1)
    dequantize, quantizer = pair(model, "node", 1)
    assert quantizer is None  # stored as int8
    assert dequantize.attributes["axis"].as_int() == axis
    levels, scale, zero = (constant(value) for value in dequantize.inputs)
    weight = constant(zoo.typed(proto).graph.initializers["w"])
    assert levels.dtype == zero.dtype == np.int8
    assert scale.shape == zero.shape == (channels,)
    assert not zero.any()
    others = tuple(a for a in range(weight.ndim) if a != axis)
    np.testing.assert_array_equal(np.abs(levels).max(axis=others), 127)
    np.testing.assert_array_equal(scale, np.abs(weight).max(axis=others) / np.float32(127))
    wide = scale.reshape([-1 if a == axis else 1 for a in range(weight.ndim)])
    assert (np.abs(levels * wide - weight) <= wide * 0.5000001).all()
    assert sorted(model.graph.initializers) == [  # the float weight is gone
        "w_quantized",
        "w_scale",
        "w_zero_point",
        "x_scale",
        "x_zero_point",
    ]


@pytest.mark.parametrize(
    ("proto", "reason"),
    [
        (
            one("ConvTranspose", (4, 2, 2, 2), ("batch", 4, 8, 8), group=2),
            "no per-channel axis for its weight",
        ),
        (one("Gemm", (8, 5), (8, "batch"), transA=1), "no per-channel axis for its weight"),
        (one("MatMul", (8,), ("batch", 2, 8)), "no per-channel axis for its weight"),
    ],
)
def test_nodes_that_cannot_be_quantized_stay_float(proto: onnx.ModelProto, reason: str) -> None:
    if proto.graph.node[0].op_type == "MatMul":
        del proto.graph.output[0].type.tensor_type.shape.dim[-1]
    _, details = quantize(proto, {"x": 0.01, "y": 0.01})
    assert details["quantized"] == {}
    op = proto.graph.node[0].op_type
    assert details["kept"] == [{"node": "node", "op": op, "reason": reason}]


def test_a_channel_of_zeros_has_a_scale() -> None:
    proto = one("Gemm", (8, 5), ("batch", 8))
    weight = np.random.default_rng(0).standard_normal((8, 5))
    weight[:, 2] = 0
    proto.graph.initializer[0].CopyFrom(zoo.const("w", weight))
    model, _ = quantize(proto, {"x": 0.05})
    scale = constant(pair(model, "node", 1)[0].inputs[1])
    assert scale[2] == 1
    found = zoo.infer(model, {"x": zoo.values(3, 8)})["y"]
    assert not found[:, 2].any()
    assert np.isfinite(found).all()


def test_two_activations_are_quantized_per_tensor() -> None:
    proto = zoo.attention()
    feeds = {"x": zoo.values(2, 5, 8), "mask": np.ones((2, 5), bool)}
    for number, item in enumerate(proto.graph.node):
        item.name = f"node_{number}"
    model, details = quantize(proto, observed(proto, feeds))
    assert details["quantized"] == {"MatMul": 4}
    assert (details["activations"], details["weights"]) == (4, 2)
    for index, tensor in ((0, "q"), (1, "kt")):
        dequantize, quantizer = pair(model, "node_3", index)
        assert "axis" not in dequantize.attributes
        assert quantizer is not None
        source = quantizer.inputs[0]
        assert source is not None
        assert source.name == tensor
    before, after = zoo.infer(proto, feeds)["y"], zoo.infer(model, feeds)["y"]
    assert np.abs(before - after).max() < 0.05 * np.abs(before).max()


def residual(*nodes: onnx.NodeProto, outputs: tuple[str, ...] = ("y",)) -> onnx.ModelProto:
    shape = ("batch", 3, 8, 8)
    return zoo.model(
        [zoo.node("Conv", ["x", "w"], ["c"], name="conv"), *nodes],
        [zoo.face("x", *shape)],
        [zoo.face(name, *shape) for name in outputs],
        [zoo.weight("w", 3, 3, 1, 1), zoo.weight("v", 3, 3, 1, 1), zoo.weight("k", 3, 1, 1)],
    )


ADD = zoo.node("Add", ["c", "x"], ["y"], name="add")


@pytest.mark.parametrize(
    ("proto", "quantized"),
    [
        (residual(ADD), True),
        (residual(zoo.node("Add", ["x", "c"], ["y"], name="add")), True),
        # A bias: there is no other tensor to read in int8.
        (residual(zoo.node("Add", ["c", "k"], ["y"], name="add")), False),
        (residual(zoo.node("Add", ["k", "c"], ["y"], name="add")), False),
        # Not the convolution's own result, or not for the Add alone: nothing to fuse into.
        (
            residual(
                zoo.node("Relu", ["c"], ["r"]), zoo.node("Add", ["r", "x"], ["y"], name="add")
            ),
            False,
        ),
        (residual(ADD, zoo.node("Relu", ["c"], ["z"]), outputs=("y", "z")), False),
        (residual(ADD, outputs=("y", "c")), False),
    ],
    ids=["right", "left", "bias", "bias-left", "relu-between", "read-twice", "an-output"],
)
def test_the_shortcut_of_an_add_is_quantized_where_the_add_is_fused(
    proto: onnx.ModelProto, *, quantized: bool
) -> None:
    _, details = quantize(proto)
    assert details["quantized"] == {"Conv": 1} | ({"Add": 1} if quantized else {})


def test_of_two_branches_one_is_fused_and_the_other_quantized() -> None:
    other = zoo.node("Conv", ["x", "v"], ["d"], name="other")
    proto = residual(other, zoo.node("Add", ["c", "d"], ["y"], name="add"))
    model, details = quantize(proto)
    assert details["quantized"] == {"Add": 1, "Conv": 2}
    assert plain(model, "add", 0)
    assert not plain(model, "add", 1)


def test_an_override_keeps_a_node_and_its_add() -> None:
    model, details = quantize(zoo.tiny(), None, "conv_2")
    assert details["quantized"] == {"Gemm": 1}
    assert details["kept"][1] == {
        "node": "conv_2",
        "op": "Conv",
        "reason": "an override or the search keeps it",
    }
    assert plain(model, "conv_2", 0)
    _, details = quantize(zoo.tiny(), None, "residual")
    assert details["quantized"] == {"Conv": 1, "Gemm": 1}


def test_a_tensor_without_a_range_leaves_its_node_float() -> None:
    model, details = quantize(zoo.tiny(), observed(zoo.tiny(), X) | {"g": 0.0})
    assert details["quantized"] == {"Add": 1, "Conv": 1}
    assert details["kept"][-1]["node"] == "head"
    assert "on the calibration samples" in details["kept"][-1]["reason"]
    assert plain(model, "head", 0)
    assert plain(model, "head", 1)


def test_a_missing_tensor_is_told_with_counts_and_near_names() -> None:
    scales = observed(zoo.tiny(), X)
    scales["b_some"] = scales.pop("b_same")
    with pytest.raises(errors.CalibrationError, match="no scale for 1 of 2 tensors") as caught:
        quantize(zoo.tiny(), scales)
    assert "the first is 'b_same', nearest in the cache: b_some" in caught.value.what
    assert "dvc repro calibrate" in caught.value.mend
    with pytest.raises(errors.CalibrationError, match="no scale for 2 of 2 tensors"):
        quantize(zoo.tiny(), {})


def test_an_opset_without_axes_is_raised() -> None:
    proto = one("Gemm", (8, 5), ("batch", 8))
    proto.opset_import[0].version = 12
    model, details = quantize(proto, {"x": 1.0})
    assert details["opset"] == {"from": 12, "to": 13}
    assert model.opset_imports[""] == 13


def test_opset_13_will_do() -> None:
    proto = copy.deepcopy(one("Gemm", (8, 5), ("batch", 8)))
    proto.opset_import[0].version = 13
    model, _ = quantize(proto, {"x": 0.05})
    assert zoo.infer(model, {"x": zoo.values(3, 8)})["y"].shape == (3, 5)


def test_inner_graphs_and_other_types_are_left_alone() -> None:
    model, details = quantize(zoo.loop(), observed(zoo.loop(), {"x": zoo.values(2, 4)}))
    assert details["quantized"] == {"MatMul": 1}
    assert plain(model, "body_product", 1)
    assert "w" in model.graph.initializers  # the body reads it still
    half = zoo.halved(zoo.tiny())
    _, details = quantize(half, {})
    assert details["quantized"] == {}
    assert {"an input is not float32"} <= {entry["reason"] for entry in details["kept"]}


def test_a_weight_made_by_a_constant_node() -> None:
    proto = one("MatMul", (8, 5), ("batch", 8))
    tensor = proto.graph.initializer.pop()
    proto.graph.node.insert(0, zoo.node("Constant", [], ["w"], value=tensor))
    _, details = quantize(proto, {"x": 0.05})
    assert (details["quantized"], details["weights"]) == ({"MatMul": 1}, 1)


def test_a_product_of_another_domain_is_no_product() -> None:
    proto = one("MatMul", (8, 5), ("batch", 8))
    proto.graph.node[0].domain = "own"
    proto.opset_import.add(domain="own", version=1)
    plan = planning.plan(ir.from_proto(proto), {"x": 0.05}, {}, {})
    assert (plan.points, plan.left) == ([], [])


def test_names_that_are_taken_already() -> None:
    proto = zoo.model(
        [
            zoo.node("MatMul", ["x", "w"], ["x_scale"], name="quantize_x"),
            zoo.node("MatMul", ["x_scale", "w"], ["w_scale"], name="dequantize_w"),
        ],
        [zoo.face("x", "batch", 4)],
        [zoo.face("w_scale", "batch", 4)],
        [zoo.weight("w", 4, 4)],
    )
    scales = observed(proto, {"x": zoo.values(2, 4)})
    model, details = quantize(proto, scales)
    assert (details["activations"], details["weights"]) == (2, 1)
    values = [v.name for item in model.graph for v in item.outputs] + [*model.graph.initializers]
    assert len(set(values)) == len(values)
    assert [value.name for value in model.graph.outputs] == ["w_scale"]
    assert "x_scale_2" in model.graph.initializers


def test_the_int8_graph_runs_near_the_float_one() -> None:
    model, _ = quantize(zoo.tiny())
    before, after = zoo.infer(zoo.tiny(), X)["logits"], zoo.infer(model, X)["logits"]
    error = np.abs(before - after).max() / np.abs(before).max()
    assert 0 < error < 0.03


@given(factor=st.floats(0.02, 50))
def test_the_scale_decides_what_is_clipped(factor: float) -> None:
    proto = one("MatMul", (1, 1), ("batch", 1))
    proto.graph.initializer[0].CopyFrom(zoo.const("w", [[1.0]]))
    scale = np.float32(factor / 127)
    model, _ = quantize(proto, {"x": float(scale)})
    x = np.linspace(-100, 100, 401, dtype=np.float32)[:, None]
    found = zoo.infer(model, {"x": x})["y"]
    weight = np.float32(127) * (np.float32(1) / np.float32(127))
    wanted = np.clip(np.rint(x / scale), -128, 127) * scale * weight
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


GRIDS: dict[str, tuple[tuple[int, ...], tuple[Any, ...], int]] = {
    "MatMul": ((6, 4), ("batch", 6), 1),
    "Gemm": ((6, 4), ("batch", 6), 1),
    "Conv": ((4, 3, 1, 1), ("batch", 3, 2, 2), 0),
    "ConvTranspose": ((3, 4, 1, 1), ("batch", 3, 2, 2), 1),
}


@given(
    op=st.sampled_from(sorted(GRIDS)),
    precision=st.sampled_from(["int8", "fp8"]),
    exponents=st.tuples(st.integers(-12, 12), st.integers(-12, 12)),
    seed=st.integers(0, 99),
)
def test_a_scale_as_fine_as_the_values_changes_nothing(
    op: str, precision: str, exponents: tuple[int, int], seed: int
) -> None:
    """All values are whole steps of their scale, none beyond the last level: not a bit moves."""
    shape, face, axis = GRIDS[op]
    levels = (np.arange(-127, 128), 127) if precision == "int8" else (np.arange(-16, 17), 448)
    draw = np.random.default_rng(seed)
    step, weight_step = (np.float32(2.0**exponent) for exponent in exponents)
    weight = draw.choice(levels[0], shape)
    # Each output channel has the largest level, so that its scale is the step.
    weight[tuple(slice(None) if place == axis else 0 for place in range(len(shape)))] = levels[1]
    x = (draw.choice(levels[0], (5, *face[1:])) * step).astype(np.float32)
    proto = one(op, shape, face)
    proto.graph.initializer[0].CopyFrom(zoo.const("w", weight * weight_step))
    # A cache holds range / 127; FP8 takes the same range over 448 levels.
    scale = float(step) if precision == "int8" else float(step) * 448 / 127
    model, details = quantize(proto, {"x": scale}, precision=precision)
    assert details["quantized"] == {op: 1}
    np.testing.assert_array_equal(zoo.infer(model, {"x": x})["y"], zoo.infer(proto, {"x": x})["y"])
