# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What decomposition leaves alone, and what it does with any attributes, in branches and in FP8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from stages.passes import decompose
from tests import building
from tests import graphs_zoo as zoo
from tests.decomposing import compare, floats, graph, referenced, whole

if TYPE_CHECKING:
    from pathlib import Path

SPREAD = np.array([[-1e9, -3.5, -2.5, 0, 0.5, 1.5, 2.5, 1e9]], np.float32)
UNKNOWN = "float[n,3,h,w]"
STAYS = {
    "pooling": "(float[n,3,9,8] x) => (float[n,3,a,b] y) { y = MaxPool<kernel_shape = [2,2]>(x) }",
    "dilated-of-unknown-size": (
        f"({UNKNOWN} x) => ({UNKNOWN} y) {{"
        " y = MaxPool<kernel_shape = [2,2], dilations = [2,2]>(x) }"
    ),
    "window-of-padding-alone": (
        "(float[1,1,1] x) => (float[1,1,a] y) {"
        " y = MaxPool<kernel_shape = [2], dilations = [3], pads = [1,2]>(x) }"
    ),
    "lp-2": "(float[n,3,9,8] x) => (float[n,3,a,b] y) { y = LpPool<kernel_shape = [2,2]>(x) }",
    "symmetric-quantization": (
        "(float[n,8] x) => (float[n,8] y) {"
        " s = Constant<value_float = 0.25>() z = Constant<value = int8 {0}>()"
        " q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"
    ),
    "bytes-of-any-number": (
        "(float[n,8] x) => (float[n,8] y) { a = Cast<to = 2>(x) y = Cast<to = 1>(a) }"
    ),
    "known-axis": (
        "(float[2,3] x) => (float[2,3] y) { a = Constant<value_int = 1>() y = CumSum(x, a) }"
    ),
    "scatter-of-unknown-size": (
        "(float[4] x, int64[n] i, float[n] u) => (float[4] y) {"
        ' y = ScatterElements<reduction = "add">(x, i, u) }'
    ),
    "scatter-of-truth": (
        "(bool[4] x, int64[2,1] i, bool[2] u) => (bool[4] y) {"
        ' y = ScatterND<reduction = "max">(x, i, u) }'
    ),
    "scatter": (
        "(float[4] x, int64[2] i, float[2] u) => (float[4] y) { y = ScatterElements(x, i, u) }"
    ),
    "rois-of-two-images": (
        "(float[2,1,9,9] x, float[3,4] o, int64[3] i) => (float[3,1,1,1] y) {"
        " y = RoiAlign<sampling_ratio = 2>(x, o, i) }"
    ),
    "rois-of-any-sampling": (
        "(float[1,1,9,9] x, float[3,4] o, int64[3] i) => (float[3,1,1,1] y) {"
        " y = RoiAlign(x, o, i) }"
    ),
    "rois-of-maxima": (
        "(float[1,1,9,9] x, float[3,4] o, int64[3] i) => (float[3,1,1,1] y) {"
        ' y = RoiAlign<mode = "max", sampling_ratio = 2>(x, o, i) }'
    ),
    "determinant-of-four": "(float[n,4,4] x) => (float[n] y) { y = Det(x) }",
    "long-transform": "(float[1,2048,1] x) => (float[1,2048,2] y) { y = DFT(x) }",
    "matrices": "(float[2,3,4] x, float[4,5] w) => (float[2,3,5] y) { y = MatMul(x, w) }",
    "large-convolution": (
        "(uint8[1,64,5,5] x, uint8[1,64,3,3] w) => (int32[1,1,3,3] y) { y = ConvInteger(x, w) }"
    ),
    "sequence-given-place": (
        "(float[4] x, int64 p) => (float[4] y) { a = SequenceConstruct(x, x) y = SequenceAt(a, p) }"
    ),
    "sequence-of-unknown-length": (
        "(float[n] x) => (int64 l) { a = SplitToSequence(x) l = SequenceLength(a) }"
    ),
    "inference": (
        "(float[n,3,4] x, float[3] s, float[3] b, float[3] m, float[3] v) => (float[n,3,4] y) {"
        " y = BatchNormalization(x, s, b, m, v) }"
    ),
    "ngrams-of-text": (
        '(string[n,9] x) => (float[n,2] y) { y = TfIdfVectorizer<mode = "TF", min_gram_length = 1,'
        " max_gram_length = 1, max_skip_count = 0, ngram_counts = [0], ngram_indexes = [0,1],"
        ' pool_strings = ["a", "b"]>(x) }'
    ),
}


@pytest.mark.parametrize("name", STAYS)
def test_what_is_not_known_to_be_the_same_stays(name: str) -> None:
    made = graph(STAYS[name])
    before = [node.op_type for node in made.graph.node]
    assert [node.op_type for node in building.passed(made, decompose).graph] == before


def test_fp8_that_overflows_to_nan_stays() -> None:
    text = "(float[n,8] x) => (float8e4m3fn[n,8] y) {{ y = Cast<to = 17, saturate = {}>(x) }}"
    for saturate, op in ((0, "Cast"), (1, "QuantizeLinear")):
        model = building.passed(graph(text.format(saturate), opset=21), decompose)
        assert [node.op_type for node in model.graph] == [op]


@pytest.mark.parametrize("saturates", [False, True])
def test_casts_of_fp8_are_quantization_by_one(saturates: bool, tmp_path: Path) -> None:
    text = (
        "(float[n,8] x) => (float8e4m3fn[n,8] y) { y = Cast<to = 17>(x) }"
        if saturates
        else "(float8e4m3fn[n,8] x) => (float[n,8] y) { y = Cast<to = 1>(x) }"
    )
    feeds = {"x": SPREAD if saturates else SPREAD.astype(ml_dtypes.float8_e4m3fn)}
    made = graph(text, opset=21)
    assert building.refusal(made, feeds, tmp_path) is not None
    model = building.passed(made, decompose)
    assert building.refusal(ir.to_proto(model), feeds, tmp_path) is None
    (old,), (new,) = (referenced(proto, feeds) for proto in (made, ir.to_proto(model)))
    assert old.tobytes() == new.tobytes()


def test_a_constant_that_a_caller_may_set_is_none() -> None:
    made = graph(
        "(float[n,8] x, int8 z) => (float[n,8] y) {"
        " s = Constant<value_float = 0.25>()"
        " q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"
    )
    made.graph.initializer.append(zoo.const("z", 0, np.int8))
    assert "QuantizeLinear" not in zoo.ops(building.passed(made, decompose))


def test_older_opsets_stay() -> None:
    made = graph("(uint8[n] x) => (uint8[n] y) { y = Add(x, x) }", opset=14)
    assert zoo.ops(building.passed(made, decompose)) == {"Add": 1}


def test_branches_are_decomposed_too(tmp_path: Path) -> None:
    made = graph(
        "(bool c, int32[4] x) => (int32[4] y) { y = If(c) <"
        " then_branch = a () => (int32[4] p) { p = BitwiseNot(x) },"
        " else_branch = b () => (int32[4] q) { q = BitwiseXor(x, x) }> }"
    )
    feeds = {"c": np.array(True), "x": whole("int32", 4)}
    assert building.refusal(made, feeds, tmp_path) is not None
    model = compare(made, feeds, None)
    assert building.refusal(ir.to_proto(model), feeds, tmp_path) is None


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
def test_dilated_pooling_of_any_attributes(op: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 4))
    kernel = rng.integers(1, 4, rank)
    dilations = rng.integers(1, 4, rank)
    dilations[0] = 2
    reach = (kernel - 1) * dilations + 1
    sizes = [int(n) for n in reach + rng.integers(0, 6, rank)]
    pads = [int(rng.integers(0, k)) for k in (*kernel, *kernel)]
    said: dict[str, Any] = {
        "kernel_shape": [int(k) for k in kernel],
        "dilations": [int(d) for d in dilations],
        "strides": [int(s) for s in rng.integers(1, 4, rank)],
        "pads": pads,
        "ceil_mode": int(rng.integers(0, 2)),
    }
    if op == "AveragePool":
        said["count_include_pad"] = int(rng.integers(0, 2))
    if op == "LpPool":
        said["p"] = 3
    made = zoo.model(
        [zoo.node(op, ["x"], ["y"], **said)],
        [zoo.face("x", "n", 2, *sizes)],
        [zoo.face("y", "n", 2, *"abc"[:rank])],
    )
    model = compare(made, {"x": rng.standard_normal((2, 2, *sizes)).astype("f4")}, 1e-5)
    assert op not in zoo.ops(model) or op == "MaxPool"


@pytest.mark.parametrize("number", range(-3, 3))
@pytest.mark.parametrize("flags", ["", "<reverse = 1>", "<exclusive = 1>"])
@pytest.mark.parametrize("op", ["CumSum", "CumProd"])
def test_a_given_axis_may_be_any(op: str, flags: str, number: int) -> None:
    made = graph(
        f"(float[2,3,4] x, int64 axis) => (float[2,3,4] y) {{ y = {op}{flags}(x, axis) }}",
        opset=26 if op == "CumProd" else 20,
    )
    made.ir_version = 13 if op == "CumProd" else 10
    model = building.passed(made, decompose)
    model.graph.opset_imports[""] = 20  # ONNX Runtime knows no later one
    model.ir_version = 10
    feeds = {"x": floats(2, 3, 4), "axis": np.array(number, np.int64)}
    (found,) = zoo.infer(model, feeds).values()
    np.testing.assert_allclose(found, referenced(made, feeds)[0], rtol=1e-5)
