# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Functions become the nodes that they are made of, and TensorRT builds what it refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from stages.passes import expand_functions, inline_functions, remove_dead
from tests import building
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LABELS = np.array([[1, 0], [2, 2]])
SCORES = zoo.values(2, 3, 2)


def one(
    op: str,
    feeds: zoo.Arrays,
    outputs: Sequence[tuple[int, ...]],
    opset: int,
    constants: Sequence[onnx.TensorProto] = (),
    **attributes: Any,
) -> onnx.ModelProto:
    """A graph of one node; an output of no shape is left out."""
    names = [f"y{index}" if shape else "" for index, shape in enumerate(outputs)]
    inputs = [*feeds, *(constant.name for constant in constants)]
    kinds = {np.dtype(np.int64): zoo.INT64, np.dtype(np.float16): zoo.FLOAT16}
    return zoo.model(
        [zoo.node(op, inputs, names, name="only", **attributes)],
        [zoo.face(n, *a.shape, dtype=kinds.get(a.dtype, zoo.FLOAT)) for n, a in feeds.items()],
        [zoo.face(name, *shape) for name, shape in zip(names, outputs, strict=True) if shape],
        constants,
        opset=opset,
    )


HEADS = {name: zoo.values(1, 2, 4, 8, seed=seed) for seed, name in enumerate("qkv")}


@pytest.mark.parametrize(
    ("proto", "feeds", "words"),
    [
        pytest.param(
            one("Attention", HEADS, [(1, 2, 4, 8)], 23, softcap=2.0, is_causal=1),
            HEADS,
            "softcap",
            id="attention",
        ),
        pytest.param(
            one("Attention", HEADS, [(1, 2, 4, 8), (), (), (1, 2, 4, 4)], 23),
            HEADS,
            "one output",
            id="attention-scores",
        ),
        pytest.param(
            one("LayerNormalization", {"x": SCORES}, [(2, 3, 2), (2, 3, 1)], 17,
                [zoo.const("s", [1, 2])]),
            {"x": SCORES},
            "LayerNormalization",
            id="layer-normalization",
        ),
        pytest.param(
            one("NegativeLogLikelihoodLoss", {"x": SCORES, "t": LABELS}, [(2, 2)], 13,
                reduction="none", ignore_index=2),
            {"x": SCORES, "t": LABELS},
            "does not have this operator",
            id="nll",
        ),
        pytest.param(
            one("SoftmaxCrossEntropyLoss", {"x": SCORES, "t": LABELS}, [(2, 2), (2, 3, 2)], 13,
                reduction="none"),
            {"x": SCORES, "t": LABELS},
            "does not have this operator",
            id="cross-entropy",
        ),
    ],
)  # fmt: skip
def test_what_tensorrt_lacks_is_expanded(
    proto: onnx.ModelProto, feeds: zoo.Arrays, words: str, tmp_path: Path
) -> None:
    model = building.gained(
        proto, feeds, tmp_path, expand_functions, words=words, rtol=1e-4, atol=1e-5
    )
    assert proto.graph.node[0].op_type not in zoo.ops(model)
    assert not model.functions
    assert set(model.opset_imports) == {""}


def test_the_body_of_a_body_is_expanded() -> None:
    feeds = {"x": SCORES, "t": LABELS}
    proto = one("SoftmaxCrossEntropyLoss", feeds, [(2, 2)], 20, reduction="none")
    assert not {"SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"} & set(
        zoo.ops(building.passed(proto, expand_functions))
    )


def test_two_of_a_kind_do_not_share_names() -> None:
    nodes = [
        zoo.node("Attention", ["q", "k", "v"], ["a"], name="first"),
        zoo.node("Attention", ["a", "k", "v"], ["b"], name="second", scale=0.5),
    ]
    proto = zoo.model(
        nodes,
        [zoo.face(name, 1, 2, 4, 8) for name in "qkv"],
        [zoo.face("b", 1, 2, 4, 8)],
        opset=23,
    )
    model = building.passed(proto, expand_functions)
    before, after = zoo.infer(proto, HEADS), zoo.infer(model, HEADS)
    np.testing.assert_allclose(after["b"], before["b"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "proto",
    [
        one("LayerNormalization", {"x": SCORES}, [(2, 3, 2)], 17, [zoo.const("s", [1, 2])]),
        one("Clip", {"x": SCORES}, [(2, 3, 2)], 13, [zoo.const("low", 0)]),
        one("Gelu", {"x": SCORES}, [(2, 3, 2)], 20),
        one("Bernoulli", {"x": np.abs(SCORES)}, [(2, 3, 2)], 15),
    ],
    ids=["one output in use", "a type it has", "an operator it has", "random"],
)
def test_others_stay(proto: onnx.ModelProto) -> None:
    ops = zoo.ops(building.passed(proto, expand_functions))
    assert ops == {proto.graph.node[0].op_type: 1}


def test_another_domain_stays() -> None:
    proto = one("Attention", HEADS, [(1, 2, 4, 8)], 23)
    proto.graph.node[0].domain = "com.microsoft"
    proto.opset_import.add(domain="com.microsoft", version=1)
    model = ir.from_proto(proto)
    expand_functions.run(model, building.CONTEXT)
    assert zoo.ops(model) == {"Attention": 1}


def test_unknown_types_stay() -> None:
    model = ir.from_proto(one("Attention", HEADS, [(1, 2, 4, 8)], 23))
    model.graph.inputs[0].type = None
    expand_functions.run(model, building.CONTEXT)
    assert zoo.ops(model) == {"Attention": 1}


def local(*, outputs: Sequence[str] = ("b",)) -> onnx.ModelProto:
    """y = twice(twice(x)); twice(a) = a * 2."""
    body = [
        zoo.node("Constant", [], ["two"], value_float=2.0),
        zoo.node("Mul", ["a", "two"], ["b"]),
    ]
    twice = helper.make_function(
        "own", "Twice", ["a"], outputs, body, [helper.make_opsetid("", 20)]
    )
    graph = helper.make_graph(
        [
            helper.make_node("Twice", ["x"], ["m"], name="one", domain="own"),
            helper.make_node("Twice", ["m"], ["y"], name="two", domain="own"),
        ],
        "graph",
        [zoo.face("x", 2, 3)],
        [zoo.face("y", 2, 3)],
    )
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=imports, functions=[twice], ir_version=9)


def test_calls_of_own_functions_are_inlined() -> None:
    proto, feeds = local(), {"x": zoo.values(2, 3)}
    model = building.passed(proto, inline_functions, remove_dead)
    assert zoo.ops(model) == {"Constant": 2, "Mul": 2}
    assert not model.functions
    np.testing.assert_array_equal(zoo.infer(model, feeds)["y"], zoo.infer(proto, feeds)["y"])


def test_a_function_of_an_older_opset_is_inlined_where_that_changes_nothing() -> None:
    proto = local()
    proto.functions[0].opset_import[0].version = 13
    assert zoo.ops(building.passed(proto, inline_functions)) == {"Constant": 2, "Mul": 2}


def test_a_function_of_another_opset_is_refused() -> None:
    proto = local()
    proto.functions[0].opset_import[0].version = 6
    with pytest.raises(ValueError, match="Opset mismatch"):
        inline_functions.run(ir.from_proto(proto), building.CONTEXT)
