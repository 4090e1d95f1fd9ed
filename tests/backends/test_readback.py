# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Every precision beside every remainder is built for real: silently, and as was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx_ir as ir
import pytest

from stages.backends import fusion, listing, readback
from stages.backends.build_api import Order
from stages.backends.tensorrt_rtx import build as rtx
from stages.lib import errors
from stages.quantization.recipe import apply
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

BUILDER = {"workspace_mib": 64, "optimization_level": 3, "compute_capabilities": ["sm89"]}
CNN = (zoo.tiny(), {"x": zoo.values(4, 3, 8, 8)})
TRANSFORMER = (zoo.block(), {"x": zoo.values(4, 6, 16)})
# Nodes of the network that compute, and those of them that are quantized.
GRAPHS = [pytest.param(*CNN, 11, 2, id="cnn"), pytest.param(*TRANSFORMER, 18, 8, id="transformer")]
MIXTURES = [
    *((kind, remainder) for kind in ("int8", "fp8") for remainder in ("fp32", "fp16", "bf16")),
    *((kind, kind) for kind in ("fp32", "fp16", "bf16")),
]


def ordered(model: ir.Model, feeds: zoo.Arrays, precision: str, folder: Path) -> Order:
    path = folder / "model.onnx"
    path.write_bytes(ir.to_proto(model).SerializeToString())
    shape = list(feeds["x"].shape)
    profile = {"x": {"min": shape, "opt": shape, "max": shape}}
    return Order(graph=path, precision=precision, profiles=[profile], builder=BUILDER)


@pytest.mark.parametrize(("precision", "remainder"), MIXTURES)
@pytest.mark.parametrize(("proto", "feeds", "layers", "quantized"), GRAPHS)
def test_a_typed_graph_builds_without_a_warning_and_holds_what_was_asked(
    proto: onnx.ModelProto,
    feeds: zoo.Arrays,
    layers: int,
    quantized: int,
    precision: str,
    remainder: str,
    tmp_path: Path,
) -> None:
    scales = {name: top / 127 for name, top in zoo.observed(proto, feeds).items()}
    model = zoo.typed(proto)
    apply(model, zoo.recipe(precision, scales, remainder=remainder))
    zoo.check(model)
    log: list[str] = []
    engine = rtx.build(ordered(model, feeds, precision, tmp_path), log.append)
    assert not [line for line in log if not line.startswith("[info]")]
    if precision == remainder:
        assert engine.precisions == {precision: layers}
    else:
        assert engine.precisions == {precision: quantized, remainder: layers - quantized}
    # As compiled, too: what the plan itself lists. The builder joins the three projections.
    assert engine.compiled is not None
    assert precision in engine.compiled
    if precision != remainder:
        assert engine.compiled[precision] == {11: 2, 18: 6}[layers]
        assert engine.compiled == {precision: 2, remainder: 1} or layers == 18


@pytest.mark.parametrize("precision", ["int8", "fp8", "fp16", "bf16"])
def test_an_engine_that_holds_none_of_it_is_no_engine(precision: str, tmp_path: Path) -> None:
    order = ordered(zoo.typed(CNN[0]), CNN[1], precision, tmp_path)
    told = rf"no layer of the parsed network is {precision}, .* its layers: 11 fp32"
    with pytest.raises(errors.BuildError, match=told) as caught:
        rtx.build(order, lambda _: None)
    assert "precision.facts.json" in caught.value.mend


@pytest.mark.parametrize(
    ("precision", "found"),
    [("tf32", {"fp32": 1}), ("auto", {"bf16": 1}), ("fp32", {}), ("int8", {"fp32": 9, "int8": 1})],
)
def test_one_layer_is_enough(precision: str, found: dict[str, int]) -> None:
    readback.require(precision, found)


def one(op: str, *shape: int, kernel: tuple[int, ...], **attributes: Any) -> onnx.ModelProto:
    return zoo.model(
        [zoo.node(op, ["x", "w"], ["y"], name="node", **attributes)],
        [zoo.face("x", "batch", *shape)],
        [zoo.face("y", *(f"d{axis}" for axis in range(len(shape) + 1)))],
        [zoo.weight("w", *kernel)],
    )


@pytest.mark.parametrize("precision", ["int8", "fp8"])
@pytest.mark.parametrize(
    ("proto", "compiled"),
    [
        (one("Conv", 16, 12, kernel=(16, 16, 3)), "precision"),
        (one("Conv", 16, 6, 6, kernel=(16, 1, 3, 3), group=16), "precision"),
        (one("MatMul", 8, 16, kernel=(16, 24)), "precision"),
        (one("ConvTranspose", 16, 6, 6, kernel=(16, 16, 2, 2)), "fp32"),
    ],
    ids=["conv-1d", "conv-grouped", "product", "conv-transpose"],
)
def test_what_the_plan_says_of_each_kind_of_node(
    proto: onnx.ModelProto, compiled: str, precision: str, tmp_path: Path
) -> None:
    """The table of `fusion` is what the pinned builder does: a new version may change it."""
    shape = [d.dim_value or 2 for d in proto.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": zoo.values(*shape)}
    scales = {name: top / 127 for name, top in zoo.observed(proto, feeds).items()}
    model = zoo.typed(proto)
    apply(model, zoo.recipe(precision, scales))
    order = ordered(model, feeds, "auto", tmp_path)
    if compiled == "precision":
        engine = rtx.build(order, lambda _: None)
        assert engine.precisions == engine.compiled == {precision: 1}
    else:
        with pytest.raises(errors.BuildError, match=f"no convolution or product in {precision}"):
            rtx.build(order, lambda _: None)
    useless = fusion.useless("tensorrt_rtx", {"node": proto.graph.node[0].op_type})
    assert bool(useless) == (compiled == "fp32")


def test_a_plan_that_dequantizes_all_is_no_quantized_engine() -> None:
    readback.require_compiled("int8", {"int8": 3}, {"fp32": 3, "int8": 1})
    readback.require_compiled("int8", {"int8": 3}, None)
    readback.require_compiled("fp16", {"fp16": 3}, {"fp32": 3})
    readback.require_compiled("auto", {"fp16": 3}, {"fp32": 3})
    for asked in ("int8", "auto"):
        with pytest.raises(errors.BuildError, match=r"no convolution or product in int8; .* 3 fp"):
            readback.require_compiled(asked, {"fp32": 2, "int8": 3}, {"fp32": 3})


@pytest.mark.parametrize(
    "plan",
    [
        b"",
        b"vtrt no text",
        b'header {\n  version = 6\n  corrltn={ name="c" output={"y" } input={"x" "w" } }\n\0',
    ],
)
def test_a_plan_that_is_not_understood_says_nothing(plan: bytes) -> None:
    assert listing.products(plan) is None


def test_what_a_backend_does_not_publish_is_said() -> None:
    ops = {"int8": {"Conv": 9, "Gemm": 1}, "fp8": {"MatMul": 2}, "fp32": {"Relu": 4}}
    found = fusion.notes("tensorrt_rtx", ops)
    assert [line.partition(":")[0] for line in found] == ["9 Conv in int8", "1 Gemm in int8"]
    assert all("its speed is unknown until `device` measures it" in line for line in found)
    assert fusion.notes("tensorrt", ops) == []
