# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Names of an exported graph, and what it loses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime

from stages.exporters import canonical, contract
from stages.exporters.api import Order

ORDER = Order(
    source=Path("models/m/source"),
    entry="x",
    inputs={
        "image": {"dtype": "float32", "shape": ["batch", "length"]},
        "mask": {"dtype": "float32", "shape": ["batch", "length"]},
    },
    outputs=["logits", "score"],
    opset=None,
)
# An inner value and an initializer have names that the ends shall get; a subgraph uses an input.
GRAPH = """
<ir_version: 10, opset_import: ["": 20, "local": 1]>
g (float[N, unk__1] serving_default_x, float[N, unk__1] other)
=> (float[N, unk__1] Identity, float[N] Y)
<float image = {2.0}, float[1] axes_like = {1.0}, int64[1] logits = {1}, bool yes = {1}>
{
    score = Mul(serving_default_x, image)
    both = local.twice(score)
    Identity = If(yes) <
        then_branch = t () => (float[N, unk__1] mask) { mask = Add(both, other) },
        else_branch = e () => (float[N, unk__1] no) { no = Identity(other) }
    >
    Y = ReduceSum <keepdims = 0> (Identity, logits)
}
<domain: "local", opset_import: ["": 20]>
twice (a) => (b) { b = Add(a, a) }
"""


def graph() -> ir.Model:
    model = ir.from_proto(onnx.parser.parse_model(GRAPH))
    model.producer_name, model.producer_version = "tool", "1.2+cpu"
    model.metadata_props["user"] = "ann"
    function = next(iter(model.functions.values()))
    inner = next(iter(next(iter(list(model.graph)[2].attributes.values())).as_graph()))
    for owner in (model.graph, model.graph.inputs[0], next(iter(model.graph)), inner, function):
        owner.doc_string = "/home/ann/net.py:3"
        owner.metadata_props["pkg.torch.onnx.stack_trace"] = "File /home/ann/net.py"
    next(iter(function.all_nodes())).metadata_props["where"] = "/home/ann/net.py"
    next(iter(model.graph)).metadata_props["pkg.torch.onnx.name_scopes"] = "['net.layer']"
    return model


def run(model: onnx.ModelProto) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    return list(session.run(None, {one.name: x + n for n, one in enumerate(session.get_inputs())}))


def test_ends_are_named_by_position_and_nothing_else_changes() -> None:
    model = graph()
    before = run(ir.to_proto(model))
    assert canonical.apply(model, ORDER)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    assert [value.name for value in proto.graph.input] == list(ORDER.inputs)
    assert [value.name for value in proto.graph.output] == ORDER.outputs
    for found, expected in zip(run(proto), before, strict=True):
        assert np.array_equal(found, expected)
    contract.check(model, ORDER.inputs, ORDER.outputs, "models.m")
    dims = {value.name: list(value.shape or ()) for value in model.graph.inputs}
    assert {name: [str(d) for d in shape] for name, shape in dims.items()} == {
        "image": ["batch", "length"],
        "mask": ["batch", "length"],
    }
    assert [str(d) for d in model.graph.outputs[0].shape or ()] == ["batch", "length"]


def test_nothing_names_the_exporting_machine() -> None:
    model = graph()
    canonical.apply(model, ORDER)
    text = ir.to_proto(model).SerializeToString()
    for word in (b"ann", b"stack_trace", b"+cpu", b"where"):
        assert word not in text
    assert b"['net.layer']" in text
    assert b"1.2" in text


def test_what_is_canonical_is_left_alone() -> None:
    model = graph()
    canonical.apply(model, ORDER)
    before = ir.to_proto(model).SerializeToString()
    assert not canonical.apply(model, ORDER)
    assert ir.to_proto(model).SerializeToString() == before


def test_a_fixed_dimension_is_not_made_symbolic() -> None:
    """Who declares it as varying is told so by `contract.check`."""
    model = ir.from_proto(
        onnx.parser.parse_model(GRAPH.replace("float[N, unk__1] s", "float[1, 3] s"))
    )
    canonical.apply(model, ORDER)
    assert list(model.graph.inputs[0].shape or ()) == [1, 3]
