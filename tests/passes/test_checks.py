# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What a graph must still be after each pass."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir
import pytest

from stages.lib import errors
from stages.passes import checks
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    import onnx


def face(change: str) -> onnx.ModelProto:
    proto = zoo.attention()
    inputs, outputs = proto.graph.input, proto.graph.output
    if change == "name":
        outputs[0].name = "z"
    elif change == "order":
        first, second = list(inputs)
        del inputs[:]
        inputs.extend([second, first])
    elif change == "type":
        inputs[0].type.tensor_type.elem_type = zoo.FLOAT16
    elif change == "fixed":
        inputs[0].type.tensor_type.shape.dim[0].dim_value = 1
    elif change == "symbol":
        inputs[0].type.tensor_type.shape.dim[0].dim_param = "n"
    elif change == "rank":
        del outputs[0].type.tensor_type.shape.dim[-1]
    elif change == "fewer":
        del inputs[1]
    return proto


def test_the_same_interface() -> None:
    checks.same_interface(ir.from_proto(face("")), ir.from_proto(face("")))


@pytest.mark.parametrize("change", ["name", "order", "type", "fixed", "symbol", "rank", "fewer"])
def test_another_interface(change: str) -> None:
    what = "outputs" if change in ("name", "rank") else "inputs"
    with pytest.raises(errors.ProofError, match=f"changed the graph's {what}: .* became "):
        checks.same_interface(ir.from_proto(face("")), ir.from_proto(face(change)))


@pytest.mark.parametrize("proto", [zoo.tiny(), zoo.branch(), zoo.loop(), zoo.attention()])
def test_valid_graphs_are_valid(proto: onnx.ModelProto) -> None:
    checks.valid(ir.from_proto(proto), ir.from_proto(proto))


def test_an_op_that_onnx_lacks_is_seen_only_where_it_is_new() -> None:
    before, after = ir.from_proto(zoo.tiny()), ir.from_proto(zoo.tiny())
    zoo.named(after, "relu_1").op_type = "Relooo"
    with pytest.raises(errors.ProofError, match=r"not valid ONNX any more: No Op .*Relooo"):
        checks.valid(before, after)
    checks.valid(after, after)


def test_weights_are_not_what_is_checked() -> None:
    model = ir.from_proto(zoo.tiny())
    value = model.graph.initializers["w2"]
    value.const_value = ir.ExternalTensor(
        "nowhere", 0, 1 << 40, ir.DataType.FLOAT, shape=ir.Shape([4, 4, 3, 3]), name="w2"
    )
    checks.valid(ir.from_proto(zoo.tiny()), model)


def test_a_reason_is_one_line_without_addresses_and_places() -> None:
    inner = ValueError(f"<Node at 0x7f00a1b2> of {Path.cwd()}/models\nsecond line")
    outer = RuntimeError("a pass failed")
    outer.__cause__ = inner
    assert checks.reason(outer) == "ValueError: <Node at 0x...> of models"
    assert checks.reason(errors.GraphError("so it is", mend="")) == "so it is"
    assert len(checks.reason(ValueError("x" * 1000))) == 300
