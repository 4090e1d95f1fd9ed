# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Old graphs become newer ones that compute the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from stages.passes import convert_opset
from stages.passes.api import Context
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

X = zoo.values(2, 3, 4, 5)
SQUARE = zoo.values(3, 3, 3, 3)
CHANNELS = zoo.values(3, seed=1)
CONTEXT = Context(fold_limit_bytes=1 << 20, opset=20)


def one(
    op: str,
    opset: int,
    feeds: zoo.Arrays,
    constants: Sequence[onnx.TensorProto] = (),
    outputs: int = 1,
    **attributes: Any,
) -> onnx.ModelProto:
    """A graph of one node."""
    names = [f"y{index}" for index in range(outputs)]
    inputs = [*feeds, *(constant.name for constant in constants)]
    graph = helper.make_graph(
        [zoo.node(op, inputs, names, name="only", **attributes)],
        "graph",
        [zoo.face(name, *array.shape) for name, array in feeds.items()],
        [helper.make_tensor_value_info(name, zoo.FLOAT, None) for name in names],
        list(constants),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def converted(proto: onnx.ModelProto, target: int | None = 20) -> ir.Model:
    model = ir.from_proto(proto)
    convert_opset.run(model, Context(fold_limit_bytes=1 << 20, opset=target))
    return model


def selu(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return 1.0507 * np.where(x > 0, x, 1.6732 * (np.exp(x) - 1))


@pytest.mark.parametrize(
    ("proto", "feeds", "expected"),
    [
        (
            one("Add", 6, {"x": X}, [zoo.const("c", CHANNELS)], broadcast=1, axis=1),
            {"x": X},
            X + CHANNELS[:, None, None],
        ),
        (  # the library alone adds along another axis here, without a word
            one("Add", 6, {"x": SQUARE}, [zoo.const("c", CHANNELS)], broadcast=1, axis=1),
            {"x": SQUARE},
            SQUARE + CHANNELS[:, None, None],
        ),
        (
            one("Sub", 6, {"x": X}, [zoo.const("c", X[0, :, :, 0])], broadcast=1, axis=-3),
            {"x": X},
            X - X[0, :, :, :1],
        ),
        (
            one("Mul", 6, {"x": X}, [zoo.const("c", X[0, 0])], broadcast=1),
            {"x": X},
            X * X[0, 0],
        ),
        (
            one("PRelu", 6, {"x": SQUARE}, [zoo.const("c", CHANNELS)]),
            {"x": SQUARE},
            np.where(SQUARE < 0, SQUARE * CHANNELS[:, None, None], SQUARE),
        ),
        (
            one("PRelu", 6, {"x": X}, [zoo.const("c", [0.5])]),
            {"x": X},
            np.where(X < 0, X / 2, X),
        ),
        (
            one("Concat", 1, {"x": X, "z": X}),
            {"x": X, "z": X},
            np.concatenate([X, X], 1),
        ),
        (one("Selu", 1, {"x": X}), {"x": X}, selu(X)),
        (one("Relu", 1, {"x": X}, consumed_inputs=[0]), {"x": X}, np.maximum(X, 0)),
        (one("Reshape", 1, {"x": X}, shape=[0, -1]), {"x": X}, X.reshape(2, -1)),
        (one("Dropout", 6, {"x": X}, is_test=1), {"x": X}, X),
        (
            one(
                "Gemm",
                6,
                {"x": X[0, 0]},
                [zoo.const("b", X[0, 0].T), zoo.const("c", X[0, 0, :, 0])],
                broadcast=1,
            ),
            {"x": X[0, 0]},
            X[0, 0] @ X[0, 0].T + X[0, 0, :, 0],
        ),
    ],
)
def test_what_onnx_runtime_is_too_young_for(
    proto: onnx.ModelProto, feeds: zoo.Arrays, expected: np.ndarray[Any, Any]
) -> None:
    found = zoo.infer(converted(proto), feeds)["y0"]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("op", "opset", "shape", "constants", "attributes"),
    [
        *(
            (op, 12, (2, 3, 4, 5), [], {"axis": axis})
            for op in ("Hardmax", "Softmax", "LogSoftmax")
            for axis in (0, 1, 3)
        ),
        ("Softmax", 12, (2, 3, 4), [], {}),
        ("Upsample", 7, (1, 1, 3, 4), [], {"mode": "nearest", "scales": [1.0, 1.0, 3.0, 2.5]}),
        *(
            (op, opset, (1, 1, 3, 4), [zoo.const("s", [1, 1, 3, 2.5])], {"mode": mode})
            for op, opset in (("Upsample", 9), ("Resize", 10))
            for mode in ("linear", "nearest")
        ),
        ("Resize", 10, (1, 1, 6, 8), [zoo.const("s", [1, 1, 0.5, 0.6])], {"mode": "linear"}),
        ("Clip", 6, (2, 3), [], {"min": -0.5}),
        ("Pad", 2, (2, 3), [], {"pads": [0, 1, 0, 2], "mode": "reflect"}),
        ("Slice", 1, (4, 5), [], {"starts": [1, 0], "ends": [-1, 3]}),
        ("Split", 13, (2, 4), [], {"axis": 1}),
        ("ReduceMean", 11, (2, 3, 4), [], {"axes": [1, -1], "keepdims": 0}),
        ("ReduceSum", 11, (2, 3, 4), [], {"axes": [1]}),
        ("Squeeze", 11, (1, 3, 1), [], {"axes": [-1]}),
        ("Unsqueeze", 11, (2, 3), [], {"axes": [0, -1]}),
        ("AveragePool", 7, (1, 2, 5, 5), [], {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER"}),
        ("MeanVarianceNormalization", 9, (1, 2, 4, 4), [], {}),
        ("DepthToSpace", 1, (1, 8, 2, 2), [], {"blocksize": 2}),
        ("BatchNormalization", 9, (2, 3, 4), [zoo.const(n, [1, 2, 3]) for n in "sbmv"], {}),
    ],
)
def test_an_old_operator_computes_the_same(
    op: str,
    opset: int,
    shape: tuple[int, ...],
    constants: list[onnx.TensorProto],
    attributes: dict[str, Any],
) -> None:
    feeds = {"x": zoo.values(*shape)}
    proto = one(op, opset, feeds, constants, 2 if op == "Split" else 1, **attributes)
    model = converted(proto)
    assert (model.opset_imports[""], model.ir_version) == (20, 9)
    before, after = zoo.infer(proto, feeds), zoo.infer(model, feeds)
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, rtol=1e-5, atol=1e-6)


def test_names_places_and_weights_stay() -> None:
    proto = zoo.model(
        [
            zoo.node("ReduceMean", ["x"], ["m"], name="mean", axes=[1]),
            zoo.node("MatMul", ["m", "w"], ["y"], name="product"),
        ],
        [zoo.face("x", "batch", 3, 4)],
        [zoo.face("y", "batch", 1, 4)],
        [zoo.weight("w", 4, 4)],
        opset=11,
    )
    proto.graph.node[0].metadata_props.add(key="place", value="net.py:7")
    model = converted(proto)
    assert zoo.named(model, "mean").metadata_props["place"] == "net.py:7"
    assert zoo.ops(model) == {"ReduceMean": 1, "MatMul": 1, "Constant": 1}
    np.testing.assert_array_equal(
        model.graph.initializers["w"].const_value.numpy(),  # type: ignore[union-attr] # it is there
        ir.from_proto(proto).graph.initializers["w"].const_value.numpy(),  # type: ignore[union-attr]
    )
    assert str(model.graph.inputs[0].shape) == "[batch,3,4]"


def test_weights_stay_on_disk(tmp_path: Path) -> None:
    proto = zoo.model(
        [
            zoo.node("MatMul", ["x", "w"], ["m"], name="product"),
            zoo.node("ReduceMean", ["m"], ["y"], name="mean", axes=[1]),
        ],
        [zoo.face("x", "batch", 64)],
        [zoo.face("y", "batch", 1)],
        [zoo.weight("w", 64, 64)],
        opset=11,
    )
    ir.save(ir.from_proto(proto), tmp_path / "a.onnx", external_data="a.data")
    model = ir.load(tmp_path / "a.onnx")
    weights = model.graph.initializers["w"].const_value
    assert isinstance(weights, ir.ExternalTensor)
    convert_opset.run(model, CONTEXT)
    assert model.opset_imports[""] == 20
    assert model.graph.initializers["w"].const_value is weights


def test_branches_are_converted_too() -> None:
    inner = [zoo.node("ReduceSum", ["x"], ["o"], name="inner", axes=[1])]
    other = [zoo.node("ReduceMean", ["x"], ["p"], name="other", axes=[1])]
    face = zoo.face("o", "batch", 1)
    proto = zoo.model(
        [
            zoo.node("ReduceMax", ["x"], ["m"], name="most", keepdims=0),
            zoo.node("Greater", ["m", "zero"], ["c"], name="test"),
            zoo.node(
                "If",
                ["c"],
                ["y"],
                name="if",
                then_branch=helper.make_graph(inner, "then", [], [face]),
                else_branch=helper.make_graph(other, "else", [], [zoo.face("p", "batch", 1)]),
            ),
        ],
        [zoo.face("x", "batch", 4)],
        [zoo.face("y", "batch", 1)],
        [zoo.const("zero", 0.0)],
        opset=12,
    )
    model = converted(proto)
    for sign in (1, -1):
        feeds = {"x": sign * np.abs(zoo.values(2, 4))}
        np.testing.assert_allclose(
            zoo.infer(model, feeds)["y"], zoo.infer(proto, feeds)["y"], rtol=1e-6
        )


@pytest.mark.parametrize(("opset", "target"), [(20, 20), (22, 20), (11, None)])
def test_a_newer_graph_stays_and_none_is_asked_for(opset: int, target: int | None) -> None:
    proto = one("Relu", opset, {"x": X})
    assert converted(proto, target).opset_imports[""] == opset


@pytest.mark.parametrize(
    ("proto", "words"),
    [
        (one("Resize", 10, {"x": X}, [zoo.const("s", [1, 1, 0.6, 1])]), "may shrink"),
        (one("Upsample", 9, {"x": X, "s": np.ones(4, np.float32)}), "may shrink"),
        (one("Pad", 1, {"x": X}, paddings=[0] * 8), "cannot bring this graph from opset 1 to 20"),
        (
            one("BatchNormalization", 6, {"x": X}, [zoo.const(n, CHANNELS) for n in "sbmv"]),
            "one for training",
        ),
        (one("Dropout", 6, {"x": X}), "one for training"),
        (
            one("BatchNormalization", 9, {"x": X}, [zoo.const(n, CHANNELS) for n in "sbmv"], 5),
            "one for training",
        ),
    ],
)
def test_what_has_no_newer_form_is_refused(proto: onnx.ModelProto, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        convert_opset.run(ir.from_proto(proto), CONTEXT)


def test_an_unknown_rank_is_refused() -> None:
    proto = one("Add", 6, {"x": X}, [zoo.const("c", CHANNELS)], broadcast=1, axis=1)
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ValueError, match="input 0 of Add 'only' has no known rank"):
        convert_opset.run(ir.from_proto(proto), CONTEXT)
