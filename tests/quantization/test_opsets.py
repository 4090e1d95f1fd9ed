# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Opset floors: raised where that is harmless, refused where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from stages.lib import errors
from stages.quantization import opsets
from stages.quantization.recipe import apply
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    import onnx_ir as ir


def test_a_raised_graph_computes_the_same_bits() -> None:
    proto = zoo.attention()  # opset 17
    model = zoo.typed(proto)
    assert opsets.ensure(model, 23, "a test") == {"from": 17, "to": 23}
    zoo.check(model)
    feeds = {"x": zoo.values(2, 5, 8), "mask": np.ones((2, 5), np.bool_)}
    assert zoo.infer(model, feeds)["y"].tobytes() == zoo.infer(proto, feeds)["y"].tobytes()


def test_a_newer_graph_stays() -> None:
    model = zoo.typed(zoo.tiny())
    assert opsets.ensure(model, 13, "a test") == {"from": 22, "to": 22}
    assert model.opset_imports[""] == 22


def old(op: str = "ReduceMean") -> ir.Model:
    nodes = [
        zoo.node("MatMul", ["x", "w"], ["a"], name="product"),
        zoo.node(op, ["a"], ["y"], name="mean", axes=[1], keepdims=1),
    ]
    ends = [zoo.face("x", "batch", 4)], [zoo.face("y", "batch", 1)]
    return zoo.typed(zoo.model(nodes, *ends, [zoo.weight("w", 4, 4)], opset=17))


def test_a_graph_that_cannot_be_raised_is_refused_with_the_mending_edit() -> None:
    with pytest.raises(
        errors.GraphError, match=r"fp8 .* needs 19, but ReduceMean changed"
    ) as caught:
        apply(old(), zoo.recipe("fp8", {"x": 0.1}))
    assert "set models.<model>.opset to 19 or more" in caught.value.mend
    with pytest.raises(errors.GraphError, match="int8 beside FP16 or BF16 needs 23"):
        apply(old(), zoo.recipe("int8", {"x": 0.1}, remainder="fp16"))
    assert apply(old(), zoo.recipe("int8", {"x": 0.1}))["opset"] == {"from": 17, "to": 17}


def test_bfloat16_takes_what_an_old_opset_has() -> None:
    details = apply(old(), zoo.recipe("bf16", {}))
    assert details["opset"] == {"from": 17, "to": 17}
    assert details["layers"]["bf16"] >= 1


def test_bfloat16_convolutions_are_raised_to_22() -> None:
    proto = zoo.tiny()
    proto.opset_import[0].version = 18
    model = zoo.typed(proto)
    details = apply(model, zoo.recipe("bf16", {}))
    zoo.check(model)
    assert details["opset"] == {"from": 18, "to": 22}
    assert details["ops"]["bf16"]["Conv"] == 2
