# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What a graph calls its first axes, and which of them is the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from stages.bundle import batching

INPUTS: dict[str, Any] = {
    "x": {"dtype": "float32", "shape": ["batch", 4]},
    "z": {"dtype": "float32", "shape": ["items", 4]},
}


def graph(first: str | None, *nodes: onnx.NodeProto, rank: int = 2) -> ir.Model:
    """A graph of inputs x and z, whose exporter called the first axis of its output y `first`."""
    faces = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 4]) for n in ("x", "z")]
    output = helper.make_tensor_value_info("y", TensorProto.UNDEFINED, [first, *["?"] * (rank - 1)])
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    made = helper.make_graph(list(nodes), "graph", faces, [output], [weight])
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return ir.serde.deserialize_model(proto)


MATMUL = helper.make_node("MatMul", ["x", "w"], ["y"], name="m")
NONZERO = [
    helper.make_node("NonZero", ["x"], ["n"], name="n"),
    helper.make_node("Transpose", ["n"], ["y"], name="t"),
]


@pytest.mark.parametrize("called", ["N", "unk__7", None, "batch"])
def test_batch_is_the_batch_whatever_the_exporter_calls_it(called: str | None) -> None:
    assert batching.first_axes(graph(called, MATMUL), INPUTS)["y"] == "batch"


def test_batch_is_told_where_the_inference_of_names_ends() -> None:
    """ONNX's has no name for what a Resize makes, of an axis that it leaves alone."""
    scales = helper.make_node("Constant", [], ["s"], value_floats=[1.0, 2.0], name="s")
    model = graph("unk__7", scales, helper.make_node("Resize", ["x", "", "s"], ["y"], name="r"))
    assert batching.first_axes(model, INPUTS)["y"] == "batch"


def test_another_axis_that_varies_is_not_the_batch() -> None:
    scales = helper.make_node("Constant", [], ["s"], value_floats=[1.0, 1.0], name="s")
    model = graph("unk__7", scales, helper.make_node("Resize", ["z", "", "s"], ["y"], name="r"))
    assert batching.first_axes(model, INPUTS)["y"] != "batch"


@pytest.mark.parametrize("called", ["unk__7", None])
def test_length_that_depends_on_the_data_has_another_name_or_none(called: str | None) -> None:
    assert batching.first_axes(graph(called, *NONZERO), INPUTS)["y"] != "batch"


def test_words_of_params_count_for_inputs() -> None:
    model = graph("N", helper.make_node("MatMul", ["z", "w"], ["y"], name="m"))
    found = batching.first_axes(model, INPUTS)
    assert (found["x"], found["z"]) == ("batch", "items")
    assert [str(value.shape) for value in model.graph.inputs] == ["[N,4]", "[N,4]"]


def test_fixed_axis_has_no_name() -> None:
    """Two inputs that both begin with 8 do not share a batch by that."""
    fixed = {name: spec | {"shape": [8, 4]} for name, spec in INPUTS.items()}
    found = batching.first_axes(graph("8", MATMUL), fixed)
    assert (found["x"], found["z"]) == (None, None)
