# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The proof that a clean-up changed nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest

from stages.lib import errors
from stages.passes import proof
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    import onnx

BATCHES = [{"x": np.zeros((3, 2), np.float32)}, {"x": np.ones((1, 2), np.float32)}]


def prove(old: Any, new: Any, atol: float = 0.1, rtol: float = 0.0) -> dict[str, Any]:
    return proof.same_outputs(
        lambda _: {"y": np.asarray(old, np.float32)},
        lambda _: {"y": np.asarray(new, np.float32)},
        BATCHES,
        atol=atol,
        rtol=rtol,
    )


def test_equal_bytes_are_identical_nan_included() -> None:
    found = prove([1.0, np.nan, np.inf], [1.0, np.nan, np.inf])
    assert found == {"samples": 4, "identical": True, "max_abs": 0.0}


def test_the_largest_difference_is_told() -> None:
    found = prove([1.0, 2.0], [1.0625, 2.0])
    assert found == {"samples": 4, "identical": False, "max_abs": 0.0625}


def test_a_sign_of_zero_is_no_difference_but_not_identical() -> None:
    assert prove([0.0], [-0.0]) == {"samples": 4, "identical": False, "max_abs": 0.0}


@pytest.mark.parametrize(
    ("old", "new"),
    [([1.0], [1.2]), ([1.0], [np.nan]), ([1.0], [np.inf]), ([np.inf], [1.0]), ([1.0], [[1.0]])],
)
def test_what_moved_too_far(old: Any, new: Any) -> None:
    with pytest.raises(
        errors.ProofError, match="changed output 'y' on the probe samples"
    ) as caught:
        prove(old, new)
    assert "models.<m>.sanitize.passes" in caught.value.mend
    assert caught.value.exit_code == 7


def test_the_old_value_scales_the_relative_tolerance() -> None:
    assert prove([10.0], [10.9], atol=0.0, rtol=0.1)["max_abs"] == pytest.approx(0.9, rel=1e-6)
    with pytest.raises(errors.ProofError, match=r"more than 0.0"):
        prove([10.0], [11.1], atol=0.0, rtol=0.1)


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
    proof.same_interface(ir.from_proto(face("")), ir.from_proto(face("")))


@pytest.mark.parametrize("change", ["name", "order", "type", "fixed", "symbol", "rank", "fewer"])
def test_another_interface(change: str) -> None:
    what = "outputs" if change in ("name", "rank") else "inputs"
    with pytest.raises(errors.ProofError, match=f"changed the graph's {what}: .* became "):
        proof.same_interface(ir.from_proto(face("")), ir.from_proto(face(change)))
