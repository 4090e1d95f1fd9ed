# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Each pass on a graph that shows what it does, and what the sequence says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from stages.passes import checks, sequence, strip_metadata
from stages.passes.api import Context
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    import onnx

ALL = list(sequence.PASSES)
NOWHERE = Path("no/rewrites")
QUIET = {"removed": {}, "added": {}, "removed_initializers": 0, "added_initializers": 0}


def run(
    proto: onnx.ModelProto, *names: str, limit: int = 1 << 20
) -> tuple[ir.Model, list[dict[str, Any]]]:
    model, changes = sequence.run(
        ir.from_proto(proto),
        list(names),
        context=Context(fold_limit_bytes=limit, opset=None),
        user=NOWHERE,
    )
    zoo.check(model)
    return model, changes


def same(model: ir.Model, proto: onnx.ModelProto, feeds: zoo.Arrays) -> None:
    before, after = zoo.infer(proto, feeds), zoo.infer(model, feeds)
    assert list(before) == list(after)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
    checks.same_interface(ir.from_proto(proto), model)


def test_the_names_are_those_of_the_schema() -> None:
    rules = json.loads((Path(__file__).parents[2] / "schemas/params.schema.json").read_bytes())
    passes = rules["$defs"]["sanitize"]["properties"]["passes"]["items"]["enum"]
    assert sorted(passes) == sorted(ALL)


@pytest.mark.parametrize("name", ALL)
def test_each_pass_states_what_it_requires_and_ensures(name: str) -> None:
    text = sequence.PASSES[name].__doc__ or ""
    assert 0 < text.find("\nRequires: ") < text.find("\nEnsures: ")


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("proto", "feeds"),
    [
        (zoo.tiny(), {"x": zoo.values(2, 3, 8, 8)}),
        (zoo.attention(), {"x": zoo.values(2, 3, 8), "mask": np.array([[0, 1, 1]] * 2, bool)}),
        (zoo.branch(), {"x": zoo.values(2, 4)}),
        (zoo.branch(identity=True), {"x": -np.abs(zoo.values(2, 4))}),
        (zoo.loop(), {"x": zoo.values(2, 4)}),
        (zoo.halved(zoo.loop()), {"x": zoo.values(2, 4).astype(np.float16)}),
    ],
    ids=["tiny", "attention", "branch", "branch-identity", "loop", "loop-half"],
)
def test_no_pass_changes_what_a_graph_computes(
    name: str, proto: onnx.ModelProto, feeds: zoo.Arrays
) -> None:
    for names in ([name], [name, *ALL], ALL):
        model, _ = run(proto, *names)
        same(model, proto, feeds)


def test_shape_inference_types_inner_values_and_counts_them() -> None:
    model, (change,) = run(zoo.tiny(), "infer-shapes")
    inner = [value for item in model.graph for value in item.outputs]
    assert all(value.dtype and value.shape for value in inner)
    assert change == {"pass": "infer-shapes", **QUIET, "typed": 10, "stripped": 0}


@pytest.mark.parametrize("names", [["infer-shapes"], ALL])
def test_the_outputs_declare_what_they_declared(names: list[str]) -> None:
    proto = zoo.tiny()
    proto.graph.output[0].CopyFrom(zoo.face("logits", "who", "knows"))
    proto.graph.node.append(zoo.node("Identity", ["g"], ["features"], name="last"))
    proto.graph.output.append(zoo.face("features", None, None))  # type: ignore[arg-type]
    model, _ = run(proto, *names)
    same(model, proto, {"x": zoo.values(2, 3, 8, 8)})
    assert [str(value.shape) for value in model.graph.outputs] == ["[who,knows]", "[None,None]"]


def test_constants_are_folded_and_lifted() -> None:
    model, (change,) = run(zoo.tiny(), "fold-constants")
    assert change["removed"] == {"Mul": 1}
    assert (change["removed_initializers"], change["added_initializers"]) == (2, 1)
    stem = model.graph.initializers["stem"].const_value
    assert stem is not None
    raw = zoo.weight("stem_raw", 4, 3, 3, 3, scale=0.1)
    np.testing.assert_array_equal(stem.numpy(), 2 * numpy_helper.to_array(raw))


def test_a_quantized_bias_is_folded_and_a_quantized_weight_is_not() -> None:
    proto = zoo.model(
        [
            zoo.node("DequantizeLinear", ["w", "scale"], ["weight"]),
            zoo.node("DequantizeLinear", ["b", "scale"], ["bias"]),
            zoo.node("Gemm", ["x", "weight", "bias"], ["y"]),
        ],
        [zoo.face("x", "n", 2)],
        [zoo.face("y", "n", 3)],
        [
            zoo.const("w", [[1, -2, 3], [4, 5, -6]], np.int8),
            zoo.const("b", [1000, -2000, 3], np.int32),
            zoo.const("scale", 0.25),
        ],
    )
    model, (change,) = run(proto, "fold-constants")
    assert change["removed"] == {"DequantizeLinear": 1}
    assert [item.op_type for item in model.graph] == ["DequantizeLinear", "Gemm"]
    same(model, proto, {"x": zoo.values(4, 2)})


def test_constant_nodes_of_every_size_become_initializers() -> None:
    proto = zoo.model(
        [
            zoo.node("Constant", [], ["w"], value=zoo.weight("w", 4, 4)),
            zoo.node("Constant", [], ["one"], value_float=1.0),
            zoo.node("Constant", [], ["axes"], value_ints=[1]),
            zoo.node("MatMul", ["x", "w"], ["a"]),
            zoo.node("Add", ["a", "one"], ["b"]),
            zoo.node("ReduceSum", ["b", "axes"], ["y"]),
        ],
        [zoo.face("x", "batch", 4)],
        [zoo.face("y", "batch", 1)],
    )
    model, (change,) = run(proto, "fold-constants")
    assert change["removed"] == {"Constant": 3}
    assert sorted(model.graph.initializers) == ["axes", "one", "w"]
    same(model, proto, {"x": zoo.values(2, 4)})


@pytest.mark.parametrize(("limit", "folded"), [(399, False), (400, True), (0, False)])
def test_no_constant_larger_than_the_limit_is_made(limit: int, *, folded: bool) -> None:
    proto = zoo.model(
        [
            zoo.node("Expand", ["small", "shape"], ["big"]),  # 100 floats out of one
            zoo.node("Add", ["x", "big"], ["y"]),
        ],
        [zoo.face("x", "batch", 100)],
        [zoo.face("y", "batch", 100)],
        [zoo.const("small", [1.0]), zoo.const("shape", [100], np.int64)],
    )
    model, (change,) = run(proto, "fold-constants", limit=limit)
    assert change["removed"] == ({"Expand": 1} if folded else {})
    assert max(
        v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value
    ) <= (400 if folded else 8)
    same(model, proto, {"x": zoo.values(2, 100)})


def test_a_transposed_weight_is_folded_whatever_the_limit() -> None:
    proto = zoo.model(
        [zoo.node("Transpose", ["w"], ["wt"]), zoo.node("MatMul", ["x", "wt"], ["y"])],
        [zoo.face("x", "batch", 32)],
        [zoo.face("y", "batch", 16)],
        [zoo.weight("w", 16, 32)],
    )
    model, (change,) = run(proto, "fold-constants", limit=100)
    assert change["removed"] == {"Transpose": 1}  # the graph does not grow by it
    same(model, proto, {"x": zoo.values(2, 32)})


def test_identities_go() -> None:
    model, (change,) = run(zoo.tiny(), "remove-identity")
    assert change == {
        "pass": "remove-identity",
        **QUIET,
        "removed": {"Identity": 1},
        "typed": 0,
        "stripped": 0,
    }
    assert zoo.named(model, "conv_2").inputs[0] is zoo.named(model, "relu_1").outputs[0]


def test_identities_that_a_graph_needs_stay() -> None:
    proto = zoo.model(
        [
            zoo.node("Identity", ["x"], ["again"]),  # an input as an output
            zoo.node("Identity", ["k"], ["constant"]),  # a constant as one
            zoo.node("Relu", ["x"], ["a"]),
            zoo.node("Identity", ["a"], ["once"]),
            zoo.node("Identity", ["a"], ["twice"]),  # one value as two outputs
        ],
        [zoo.face("x", "batch", 4)],
        [
            zoo.face("again", "batch", 4),
            zoo.face("constant", 4),
            zoo.face("once", "batch", 4),
            zoo.face("twice", "batch", 4),
        ],
        [zoo.weight("k", 4)],
    )
    model, (change,) = run(proto, "remove-identity")
    assert change["removed"] == {"Identity": 1, "Relu": 1}  # Relu computes `once` now
    assert change["added"] == {"Relu": 1}
    assert zoo.ops(model) == {"Identity": 3, "Relu": 1}
    same(model, proto, {"x": zoo.values(2, 4)})


def test_what_no_output_needs_goes() -> None:
    proto = zoo.tiny()
    proto.graph.initializer.append(zoo.weight("forgotten", 3))
    proto.graph.input.append(zoo.face("unused_input", 4))
    model, (change,) = run(proto, "remove-dead")
    assert change["removed"] == {"Neg": 1}
    assert change["removed_initializers"] == 1
    assert [value.name for value in model.graph.inputs] == ["x", "unused_input"]


def test_a_node_that_loses_an_output_is_not_told_as_removed() -> None:
    proto = zoo.model(
        [zoo.node("LSTM", ["x", "w", "r"], ["all", "last"], name="lstm", hidden_size=2)],
        [zoo.face("x", 5, "batch", 4)],
        [zoo.face("last", 1, "batch", 2)],
        [zoo.weight("w", 1, 8, 4), zoo.weight("r", 1, 8, 2)],
    )
    model, (change,) = run(proto, "remove-dead")
    assert [value.name for value in zoo.named(model, "lstm").outputs] == ["", "last"]
    assert (change["removed"], change["added"]) == ({}, {})


def noted() -> onnx.ModelProto:
    """A branch with a note on everything that can carry one."""
    proto = zoo.branch()
    then = proto.graph.node[4].attribute[1].g
    inner = zoo.face("m", "batch", 4)
    proto.graph.value_info.append(inner)
    carriers = [proto, proto.graph, *proto.graph.node, *proto.graph.input, *proto.graph.output]
    for carrier in [*carriers, proto.graph.value_info[0], then, then.node[0]]:
        carrier.doc_string = "/home/somebody/net.py"
        carrier.metadata_props.add(key="trace", value="/home/somebody/net.py")
    proto.producer_name, proto.producer_version = "somebody", "1.0+local"
    return proto


def test_notes_go_and_are_counted() -> None:
    proto = noted()
    model, (change,) = run(proto, "strip-metadata")
    data = ir.to_proto(model).SerializeToString()
    assert b"somebody" not in data
    assert b"local" not in data
    assert change["stripped"] == proto.SerializeToString().count(b"/home/somebody") + 1
    assert not [item for item in strip_metadata.carriers(model) if item.metadata_props]
    same(model, proto, {"x": zoo.values(2, 4)})


def test_notes_that_stay_are_not_counted() -> None:
    _, (change,) = run(noted(), "infer-shapes")
    assert change["stripped"] == 0


def test_no_passes_change_nothing() -> None:
    model, changes = run(zoo.tiny())
    assert changes == []
    assert ir.to_proto(model).graph.node[0].name == "scale_weight"


def test_the_order_is_the_declared_one() -> None:
    _, changes = run(zoo.tiny(), "remove-dead", "infer-shapes")
    assert [change["pass"] for change in changes] == ["remove-dead", "infer-shapes"]
