# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The graph's inputs and outputs against those that params.yaml declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx_ir as ir
import pytest

from stages.exporters import contract
from stages.lib import errors
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    import onnx

X = {"dtype": "float32", "shape": ["batch", 3, 8, 8]}
MASK = {"dtype": "bool", "shape": ["batch", "seq"]}


def check(proto: onnx.ModelProto, inputs: dict[str, Any], outputs: list[str]) -> None:
    contract.check(ir.from_proto(proto), inputs, outputs, "models.tiny")


def test_what_is_declared_fits() -> None:
    check(zoo.tiny(), {"x": X}, ["logits"])
    attention = {"x": {"dtype": "float32", "shape": ["n", "length", 8]}, "mask": MASK}
    check(zoo.attention(), attention, ["y"])  # symbols may have other names


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        ({"image": X}, r"params.yaml: image float32"),
        ({"x": X | {"dtype": "float16"}}, r"params.yaml: x float16"),
        ({"x": X | {"shape": ["batch", 1, 8, 8]}}, r"params.yaml: x float32 \['batch', 1, 8, 8\]"),
        ({"x": X | {"shape": ["batch", 3, 8]}}, r"params.yaml: x float32 \['batch', 3, 8\]"),
        ({"x": X | {"shape": [1, 3, 8, 8]}}, r"params.yaml: x float32 \[1, 3, 8, 8\]"),
        ({"x": X | {"shape": ["batch", 3, "h", 8]}}, r"params.yaml: x float32 \['batch', 3, 'h'"),
        ({"x": X, "y": X}, r"params.yaml: x float32 .*, y float32"),
    ],
)
def test_inputs_that_differ(inputs: dict[str, Any], found: str) -> None:
    with pytest.raises(errors.SourceModelError, match=found) as caught:
        check(zoo.tiny(), inputs, ["logits"])
    assert "the model's inputs are not what params.yaml says" in caught.value.what
    assert "\n  model:       x float32 ['batch', 3, 8, 8]\n" in caught.value.what
    assert caught.value.mend == "set models.tiny.inputs to what the model has"


def test_the_order_of_inputs_counts() -> None:
    x = {"dtype": "float32", "shape": ["batch", "seq", 8]}
    with pytest.raises(errors.SourceModelError, match=r"model: +x float32 .*, mask bool"):
        check(zoo.attention(), {"mask": MASK, "x": x}, ["y"])


@pytest.mark.parametrize("outputs", [["scores"], [], ["logits", "extra"]])
def test_outputs_that_differ(outputs: list[str]) -> None:
    with pytest.raises(errors.SourceModelError, match=r"model: +logits\n") as caught:
        check(zoo.tiny(), {"x": X}, outputs)
    assert caught.value.mend == "set models.tiny.outputs to what the model has"
