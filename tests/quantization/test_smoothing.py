# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""SmoothQuant as a rewrite: outputs stay, outliers go, ranges are those of the new graph."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.calibration import extremes, tap
from stages.quantization import levelling, recipe, smoothing
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

WIDTH = 8
X = {"x": zoo.values(4, 5, WIDTH)}
# A power of sqrt 2 is at most this far from what it rounds.
NEAREST = 2**0.25 * (1 + 1e-6)

Channels = dict[str, np.ndarray[Any, Any]]


def norm(x: str, y: str, *, decomposed: bool) -> list[onnx.NodeProto]:
    """Layer normalization with scale `gamma` and bias `beta`, in one node or decomposed."""
    if not decomposed:
        node = zoo.node("LayerNormalization", [x, "gamma", "beta"], [y], name=f"norm_{y}", axis=-1)
        return [node]
    steps = [
        ("ReduceMean", [x, "last"], "mean"),
        ("Sub", [x, "mean"], "centred"),
        ("Pow", ["centred", "two"], "squares"),
        ("ReduceMean", ["squares", "last"], "variance"),
        ("Add", ["variance", "epsilon"], "safe"),
        ("Sqrt", ["safe"], "deviation"),
        ("Div", ["centred", "deviation"], "normal"),
        ("Mul", ["normal", "gamma"], "scaled"),
        ("Add", ["scaled", "beta"], y),
    ]
    return [zoo.node(op, inputs, [out], name=f"norm_{out}") for op, inputs, out in steps]


def graph(
    nodes: Sequence[onnx.NodeProto], *constants: onnx.TensorProto, outputs: Sequence[str] = ("y",)
) -> onnx.ModelProto:
    known = [
        zoo.const("gamma", [1, 2, 40, 1, 0.5, 1, 3, 1]),
        zoo.weight("beta", WIDTH, scale=0.1),
        zoo.const("last", [-1], np.int64),
        zoo.const("two", 2.0),
        zoo.const("half", 0.5),
        zoo.const("one", 1.0),
        zoo.const("epsilon", 1e-5),
        zoo.weight("wq", WIDTH, WIDTH, scale=0.3),
        zoo.weight("wk", WIDTH, WIDTH, scale=0.3),
        zoo.weight("bias", WIDTH, scale=0.1),
        zoo.const("scales", np.arange(1, WIDTH + 1)),
    ]
    wanted = {name for node in nodes for name in node.input}
    used = [c for c in known if c.name in wanted and c.name not in {own.name for own in constants}]
    faces = [zoo.face(name, "n", "s", WIDTH) for name in outputs]
    return zoo.model(nodes, [zoo.face("x", "n", "s", WIDTH)], faces, [*used, *constants])


def product(x: str, y: str, weight: str = "wq") -> onnx.NodeProto:
    return zoo.node("MatMul", [x, weight], [y], name=f"product_{y}")


def observed_values(model: ir.Model, feeds: zoo.Arrays) -> zoo.Arrays:
    """Every activation."""
    opened = model.clone()
    values = [value for node in opened.graph for value in node.outputs]
    opened.graph.outputs.extend(value for value in values if not value.is_graph_output())
    return {**zoo.infer(opened, feeds), **feeds}


def observed(model: ir.Model, feeds: zoo.Arrays) -> Channels:
    """Largest |x| of each channel of every activation."""
    found = observed_values(model, feeds)
    return {n: np.abs(each).reshape(-1, each.shape[-1]).max(0) for n, each in found.items()}


def smooth(
    proto: onnx.ModelProto, strength: float = 0.5, **options: Any
) -> tuple[ir.Model, smoothing.Smoothed, Channels]:
    """Smooth, and hold what must hold of every graph: it computes the same, and ranges are true."""
    model = zoo.typed(proto)
    before, channels = zoo.infer(model, X), observed(model, X)
    given = options.pop("channels", channels)
    maxima = {name: float(each.max()) for name, each in given.items()}
    done = smoothing.smooth(model, strength, given, maxima, **options)
    zoo.check(model)
    after, now = zoo.infer(model, X), observed(model, X)
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, rtol=1e-5, atol=1e-5 * np.abs(array).max())
    for name, maximum in done.maxima.items():
        assert maximum == pytest.approx(float(now[name].max()), rel=1e-5)
    for name, scale in done.scales.items():
        assert 1 <= scale * 127 / float(now[name].max()) < 1.001 + 1e-5
    # Whatever does not carry a factor is as it was.
    for name in channels.keys() - done.maxima.keys():
        np.testing.assert_allclose(now[name], channels[name], rtol=1e-4)
    return model, done, now


def places(done: smoothing.Smoothed) -> dict[str, str]:
    return {group["activation"]: group["place"] for group in done.groups}


@pytest.mark.parametrize("decomposed", [False, True])
def test_products_behind_a_normalization_share_a_factor_in_its_scale_and_bias(
    decomposed: bool,
) -> None:
    nodes = [*norm("x", "a", decomposed=decomposed), product("a", "y"), product("a", "k", "wk")]
    model, done, _ = smooth(graph(nodes, outputs=("y", "k")))
    (group,) = done.groups
    assert group["products"] == ["product_y", "product_k"]
    assert group["place"] == "folded"
    assert group["after"] < group["before"] / 4
    assert list(done.scales) == ["a"]
    assert zoo.ops(model) == zoo.ops(zoo.typed(graph(nodes, outputs=("y", "k"))))


def test_a_shortcut_reads_what_it_read_before() -> None:
    add = zoo.node("Add", ["a", "p"], ["y"], name="shortcut")
    model, done, _ = smooth(graph([*norm("x", "a", decomposed=False), product("a", "p"), add]))
    assert places(done) == {"a": "mul"}
    assert [value.name for value in zoo.named(model, "shortcut").inputs if value] == ["a", "p"]
    assert list(done.scales) == ["a_smoothed"]


def test_a_graph_output_keeps_its_values() -> None:
    nodes = [*norm("x", "a", decomposed=False), product("a", "y")]
    _, done, _ = smooth(graph(nodes, outputs=("y", "a")))
    assert places(done) == {"a": "mul"}


@pytest.mark.parametrize(
    "between",
    [
        [],
        [("Add", ["p", "bias"])],
        [("Add", ["bias", "p"]), ("Relu", [])],
        [("Mul", ["p", "half"]), ("LeakyRelu", [])],
        [("Sub", ["p", "bias"]), ("Identity", [])],
        [("Div", ["p", "scales"])],
    ],
)
def test_a_factor_goes_up_to_the_constants_of_the_layer_before(
    between: list[tuple[str, list[str]]],
) -> None:
    nodes, last = [product("x", "p")], "p"
    for op, inputs in between:
        nodes.append(zoo.node(op, inputs or [last], [f"{op}_out"], name=op))
        last = f"{op}_out"
    model, done, now = smooth(graph([*nodes, product(last, "y", "wk")]), 1.0)
    assert places(done) == {last: "folded"}
    assert (np.abs(np.log2(now[last])) <= math.log2(NEAREST)).all()
    assert len(model.graph) == len(nodes) + 1
    assert [left["activation"] for left in done.left] == ["x"]


def test_a_graph_output_on_the_way_up_keeps_its_values() -> None:
    relu = zoo.node("Relu", ["p"], ["r"], name="relu")
    proto = graph([product("x", "p"), relu, product("r", "y", "wk")], outputs=("y", "p"))
    _, done, _ = smooth(proto)
    assert places(done) == {"r": "mul"}


@pytest.mark.parametrize(
    ("inputs", "place"),
    [(["sigmoid", "d"], "mul"), (["d", "sigmoid"], "folded"), (["scales", "d"], "folded")],
)
def test_of_a_quotient_the_numerator_carries_the_factor(inputs: list[str], place: str) -> None:
    nodes = [
        zoo.node("Sigmoid", ["x"], ["sigmoid"], name="sigmoid"),
        product("x", "p"),
        zoo.node("Add", ["p", "far"], ["d"], name="positive"),
        zoo.node("Div", inputs, ["q"], name="quotient"),
        product("q", "y", "wk"),
    ]
    _, done, _ = smooth(graph(nodes, zoo.const("far", np.full(WIDTH, 20))))
    assert places(done) == {"q": place}


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemms_of_either_layout(transposed: int) -> None:
    nodes = [
        zoo.node("Gemm", ["x", "w1", "bias"], ["h"], name="first", transB=transposed),
        zoo.node("Relu", ["h"], ["r"], name="relu"),
        zoo.node("Gemm", ["r", "w2"], ["y"], name="second", transB=transposed),
    ]
    shapes = ((WIDTH, 6), (6, 3))
    weights = [
        zoo.weight(f"w{i}", *(shape[::-1] if transposed else shape))
        for i, shape in enumerate(shapes, start=1)
    ]
    proto = zoo.model(
        nodes,
        [zoo.face("x", "n", WIDTH)],
        [zoo.face("y", "n", 3)],
        [*weights, zoo.const("bias", [9, 1, 0.1, -0.1, 5, -3])],
    )
    model = zoo.typed(proto)
    feeds = {"x": zoo.values(50, WIDTH)}
    before, channels = zoo.infer(model, feeds)["y"], observed(model, feeds)
    done = smoothing.smooth(model, 0.5, channels, {n: c.max() for n, c in channels.items()})
    assert places(done) == {"r": "folded"}
    np.testing.assert_allclose(zoo.infer(model, feeds)["y"], before, rtol=1e-4, atol=1e-5)
    assert done.maxima["h"] == pytest.approx(observed(model, feeds)["h"].max(), rel=1e-5)


@pytest.mark.parametrize("half", [0.5, [0.5]])
def test_a_scalar_of_a_known_pattern_stays_one(half: Any) -> None:
    nodes = [
        product("x", "p"),
        zoo.node("Erf", ["p"], ["e"], name="erf"),
        zoo.node("Add", ["e", "one"], ["f"], name="plus"),
        zoo.node("Mul", ["p", "f"], ["g"], name="times"),
        zoo.node("Mul", ["g", "half"], ["gelu"], name="halve"),
        product("gelu", "y", "wk"),
    ]
    model, done, _ = smooth(graph(nodes, zoo.const("half", half)))
    assert places(done) == {"gelu": "mul"}
    assert [value.name for value in zoo.named(model, "halve").inputs if value] == ["g", "half"]


def test_of_a_gated_layer_one_branch_carries_the_factor() -> None:
    nodes = [
        product("x", "up"),
        product("x", "gate", "wk"),
        zoo.node("Sigmoid", ["gate"], ["open"], name="sigmoid"),
        zoo.node("Mul", ["open", "up"], ["gated"], name="gating"),
        product("gated", "y", "down"),
    ]
    _, done, _ = smooth(graph(nodes, zoo.weight("down", WIDTH, WIDTH)), 1.0)
    assert places(done) == {"gated": "folded"}


def test_a_weight_that_another_node_reads_keeps_its_values_there() -> None:
    nodes = [*norm("x", "a", decomposed=False), product("a", "k"), product("x", "y")]
    _, done, _ = smooth(graph(nodes, outputs=("y", "k")))
    assert places(done) == {"a": "folded"}


def test_strength_0_levels_the_weights_and_1_the_activation() -> None:
    proto = graph([*norm("x", "a", decomposed=False), product("a", "y")])
    model, _, _ = smooth(proto, 0.0)
    weight = zoo.named(model, "product_y").inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    rows = np.abs(weight.const_value.numpy()).max(axis=1)
    assert (np.abs(np.log2(rows)) <= math.log2(NEAREST)).all()
    _, _, now = smooth(proto, 1.0)
    assert (np.abs(np.log2(now["a"])) <= math.log2(NEAREST)).all()


def test_a_layer_between_two_groups_takes_the_factor_of_the_later_one_first() -> None:
    relu = zoo.node("Relu", ["p"], ["r"], name="relu")
    nodes = [*norm("x", "a", decomposed=False), product("a", "p"), relu, product("r", "y", "wk")]
    model, done, _ = smooth(graph(nodes), 0.0)
    assert places(done) == {"a": "folded", "r": "folded"}
    for name in ("product_p", "product_y"):
        weight = zoo.named(model, name).inputs[1]
        assert weight is not None
        assert weight.const_value is not None
        rows = np.abs(weight.const_value.numpy()).max(axis=1)
        assert (np.abs(np.log2(rows)) <= math.log2(NEAREST)).all()


def test_a_group_with_one_product_in_float_is_smoothed() -> None:
    nodes = [*norm("x", "a", decomposed=False), product("a", "y"), product("a", "k", "wk")]
    _, done, _ = smooth(graph(nodes, outputs=("y", "k")), kept={"product_k"})
    assert places(done) == {"a": "folded"}


def test_planted_outliers_are_undone() -> None:
    """INT8 of a graph with outliers is, when smoothed, as good as INT8 of the one without."""
    nodes = [*norm("x", "a", decomposed=False), product("a", "y")]
    calm, rough = np.ones(WIDTH, np.float32), np.ones(WIDTH, np.float32)
    rough[[1, 5]] = 64, 1 / 32

    def sqnr(spread: np.ndarray[Any, Any], strength: float | None) -> float:
        weight = zoo.values(WIDTH, WIDTH, seed=3) / spread[:, None]
        constants = (
            zoo.const("gamma", spread),
            zoo.const("beta", 0 * spread),
            zoo.const("wq", weight),
        )
        model = zoo.typed(graph(nodes, *constants))
        channels, wanted = observed(model, X), zoo.infer(model, X)["y"]
        maxima = {name: float(each.max()) for name, each in channels.items()}
        recipe.apply(
            model,
            recipe.Recipe(
                precision="int8",
                remainder="fp32",
                chosen={},
                scales={name: maximum / 127 for name, maximum in maxima.items()},
                maxima=maxima,
                channels=channels,
                smoothing=strength,
            ),
        )
        noise = zoo.infer(model, X)["y"] - wanted
        return float(10 * np.log10((wanted**2).sum() / (noise**2).sum()))

    assert sqnr(rough, None) < sqnr(calm, None) - 15
    assert sqnr(rough, 0.5) > sqnr(calm, None) - 3


def test_the_typed_graph_carries_the_new_range() -> None:
    model = zoo.typed(graph([*norm("x", "a", decomposed=False), product("a", "y")]))
    channels = observed(model, X)
    maxima = {name: float(each.max()) for name, each in channels.items()}
    wanted = smoothing.smooth(model.clone(), 0.7, channels, maxima)
    details = recipe.apply(
        model,
        recipe.Recipe(
            precision="int8",
            remainder="fp32",
            chosen={},
            scales=dict.fromkeys(maxima, 1.0),
            maxima=maxima,
            channels=channels,
            smoothing=0.7,
        ),
    )
    assert details["smoothed"]["groups"] == wanted.groups
    # The cache has a value for this tensor, which is not the one in the graph.
    assert "a" in maxima
    counted = {"observed": len(maxima), "used": 0, "unused": len(maxima), "smoothed": 1}
    assert details["scales"] == counted
    scale = next(node for node in model.graph if node.op_type == "QuantizeLinear").inputs[1]
    assert scale is not None
    assert scale.const_value is not None
    assert float(scale.const_value.numpy()) == wanted.scales["a"] != 1.0


def reasons(proto: onnx.ModelProto, **options: Any) -> dict[str, str]:
    _, done, _ = smooth(proto, **options)
    assert not done.groups
    return {left["activation"]: left["reason"] for left in done.left}


def test_what_is_left_is_told_with_the_reason() -> None:
    behind_norm = graph([*norm("x", "a", decomposed=False), product("a", "y")])
    assert reasons(graph([product("x", "y")])) == {"x": "it comes from an input"}
    assert reasons(behind_norm, kept={"product_y"}) == {"a": "its products are not quantized"}
    assert "not observed" in reasons(behind_norm, channels={"a": np.ones(1, np.float32)})["a"]
    infinite = np.ones(WIDTH, np.float32)
    infinite[3] = np.inf
    assert "infinite" in reasons(behind_norm, channels={"a": infinite})["a"]
    transposed = [
        zoo.node("Transpose", ["x"], ["t"], name="t", perm=[0, 2, 1]),
        zoo.node("Transpose", ["t"], ["u"], name="u", perm=[0, 2, 1]),
        product("u", "y"),
    ]
    assert reasons(graph(transposed)) == {"u": "it comes from Transpose, which fuses with no Mul"}


def test_a_graph_without_a_match_is_left_as_it_is() -> None:
    model = zoo.typed(zoo.tiny())
    before = ir.to_proto(model).SerializeToString()
    done = smoothing.smooth(model, 0.5, {}, {})
    assert not done.groups
    assert [left["products"] for left in done.left] == [["head"]]
    assert ir.to_proto(model).SerializeToString() == before


def test_four_dimensions_are_smoothed_by_what_is_observed_of_them() -> None:
    """Windows of tokens, whose last axis is as long as that of the windows."""
    faces = [zoo.face(name, "n", WIDTH, 3, WIDTH) for name in ("x", "y")]
    constants = [zoo.const("gamma", [1, 2, 40, 1, 0.5, 1, 3, 1]), zoo.weight("beta", WIDTH)]
    nodes = [*norm("x", "a", decomposed=False), product("a", "y")]
    proto = zoo.model(nodes, faces[:1], faces[1:], [*constants, zoo.weight("wq", WIDTH, WIDTH)])
    model, feeds = zoo.typed(proto), {"x": zoo.values(5, WIDTH, 3, WIDTH)}
    found = observed_values(model, feeds)
    channels = {
        name: extremes.scan(found[name], axis).maxima for name, axis in tap.observed(model).items()
    }
    maxima = {name: float(each.max()) for name, each in channels.items()}
    done = smoothing.smooth(model, 0.8, channels, maxima)
    assert done.groups[0]["after"] < done.groups[0]["before"] / 8
    assert done.maxima["a"] == pytest.approx(
        np.abs(observed_values(model, feeds)["a"]).max(), rel=1e-5
    )
    np.testing.assert_allclose(zoo.infer(model, feeds)["y"], found["y"], rtol=1e-4, atol=1e-4)


def test_what_carries_a_factor_unobserved_by_channel_is_bounded() -> None:
    """FP16 decisions must not miss an overflow: no less than the largest can be now."""
    proto = graph([*norm("x", "a", decomposed=True), product("a", "y")])
    model = zoo.typed(proto)
    channels = observed(model, X)
    maxima = {name: float(each.max()) for name, each in channels.items()}
    known = {"a": channels["a"]}
    done = smoothing.smooth(model, 0.5, known, maxima)
    now = observed(model, X)
    assert "scaled" in done.maxima
    for name, maximum in done.maxima.items():
        assert maximum >= float(now[name].max()) * (1 - 1e-5)


def test_channels_of_another_number_are_left() -> None:
    proto = graph([*norm("x", "a", decomposed=False), product("a", "y")])
    peaks = {"a": np.ones(WIDTH + 1, np.float32)}
    done = smoothing.smooth(zoo.typed(proto), 0.5, peaks, {"a": 1.0})
    assert "not observed along its last axis" in done.left[0]["reason"]


def test_silent_channels_and_rows_of_zeros_do_no_harm() -> None:
    gamma, weight = np.ones(WIDTH), zoo.values(WIDTH, WIDTH)
    gamma[2], weight[5] = 0, 0
    constants = (zoo.const("gamma", gamma), zoo.const("beta", 0 * gamma), zoo.const("wq", weight))
    _, done, now = smooth(graph([*norm("x", "a", decomposed=False), product("a", "y")], *constants))
    assert now["a"][2] == 0
    assert done.groups[0]["after"] < 8
    peaks, rows = np.array([0, 4, 4], np.float32), np.array([1, 1, 0], np.float32)
    assert levelling.factors(peaks, rows, 0.5).tolist() == [2, 2, 2]


@given(strength=st.floats(0, 1), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_any_strength_leaves_the_outputs(strength: float, seed: int) -> None:
    spread = np.exp(3 * zoo.values(WIDTH, seed=seed))
    nodes = [*norm("x", "a", decomposed=False), product("a", "y"), product("a", "k", "wk")]
    smooth(graph(nodes, zoo.const("gamma", spread), outputs=("y", "k")), strength)


def test_a_last_bit_of_a_maximum_moves_nothing() -> None:
    peaks, rows = np.abs(zoo.values(64)) + 0.1, np.abs(zoo.values(64, seed=1)) + 0.1
    factors = levelling.factors(peaks, rows, 0.85)
    assert (factors == levelling.factors(np.nextafter(peaks, np.float32(9)), rows, 0.85)).all()
    assert levelling.above(1.0) == levelling.above(math.nextafter(1.0, 0)) > 1.0
    exact = peaks**0.85 / rows**0.15
    assert (np.maximum(factors / exact, exact / factors) <= NEAREST).all()
