# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The proof that a clean-up changed nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from stages.lib import errors, graphs
from stages.passes.proof import Proof
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

FACES = ([zoo.face("x", "batch", 2)], [zoo.face("y", "batch", 2)])
BATCHES = [{"x": np.zeros((3, 2), np.float32)}, {"x": np.ones((1, 2), np.float32)}]


def plus(*values: float, op: str = "Add") -> onnx.ModelProto:
    return zoo.model([zoo.node(op, ["x", "k"], ["y"])], *FACES, [zoo.const("k", values)])


def proof(folder: Path, old: onnx.ModelProto, **settings: Any) -> Proof:
    """Begun with `old`, whose bits a graph must give, or be within 0.1."""
    zoo.put(old, folder / "exported")
    made = Proof(
        exported=folder / "exported",
        clean=folder / "clean",
        **{
            "batches": lambda: BATCHES,
            "threads": 1,
            "atol": 0.1,
            "rtol": 0.0,
            "limit_bytes": 1 << 20,
            **settings,
        },
    )
    made.begin(graphs.load(folder / "exported"))
    return made


def judge(made: Proof, folder: Path, new: onnx.ModelProto, *, exact: bool = False) -> None:
    path = folder / "new.onnx"
    path.write_bytes(new.SerializeToString())
    made(graphs.load_file(path), exact=exact)


def test_equal_bytes_are_exact_nan_included(tmp_path: Path) -> None:
    made = proof(tmp_path, plus(np.nan, np.inf))
    judge(made, tmp_path, plus(np.nan, np.inf), exact=True)
    assert made.worst is None
    assert made.told() == {"state": "passed", "samples": 4}
    assert (tmp_path / "clean/model.onnx").is_file()


def test_the_largest_difference_is_told(tmp_path: Path) -> None:
    made = proof(tmp_path, plus(1.0, 2.0))
    judge(made, tmp_path, plus(1.0625, 2.0))
    assert made.worst == 0.0625
    assert made.told() == {"state": "passed", "samples": 4}


def test_a_sign_of_zero_is_no_difference_but_not_exact(tmp_path: Path) -> None:
    made = proof(tmp_path, plus(0.0, 1.0, op="Mul"))
    judge(made, tmp_path, plus(-0.0, 1.0, op="Mul"))
    assert made.worst == 0.0
    other = proof(tmp_path / "other", plus(0.0, 1.0, op="Mul"))
    with pytest.raises(errors.ProofError, match="changed bits of output 'y'"):
        judge(other, tmp_path, plus(-0.0, 1.0, op="Mul"), exact=True)


@pytest.mark.parametrize(("old", "new"), [(1.0, 1.2), (1.0, np.nan), (1.0, np.inf), (np.inf, 1.0)])
def test_what_moved_too_far(tmp_path: Path, old: float, new: float) -> None:
    made = proof(tmp_path, plus(old, 0.0))
    with pytest.raises(
        errors.ProofError, match=r"changed output 'y' on the probe samples by more than 0\.1"
    ) as caught:
        judge(made, tmp_path, plus(new, 0.0))
    assert caught.value.exit_code == 7


def test_another_shape_is_too_far(tmp_path: Path) -> None:
    made = proof(tmp_path, plus(0.0, 0.0))
    reshaped = zoo.model(
        [zoo.node("Flatten", ["x"], ["y"], axis=0)], FACES[0], [zoo.face("y", "a", "b")]
    )
    with pytest.raises(errors.ProofError, match="changed output 'y'"):
        judge(made, tmp_path, reshaped)


def test_the_old_value_scales_the_relative_tolerance(tmp_path: Path) -> None:
    made = proof(tmp_path, plus(10.0, 0.0), atol=0.0, rtol=0.1)
    judge(made, tmp_path, plus(10.9, 0.0))
    assert made.worst == pytest.approx(0.9, rel=1e-5)
    with pytest.raises(errors.ProofError, match=r"more than 0\.0 "):
        judge(made, tmp_path, plus(11.2, 0.0))


def test_differences_do_not_add_up(tmp_path: Path) -> None:
    made = proof(tmp_path, plus(1.0, 0.0))
    judge(made, tmp_path, plus(1.0625, 0.0))
    judge(made, tmp_path, plus(1.0625, 0.0), exact=True)  # the bits of the one accepted last
    with pytest.raises(errors.ProofError, match="changed output 'y'"):
        judge(made, tmp_path, plus(1.125, 0.0))


def test_what_is_too_large_is_not_proven(tmp_path: Path) -> None:
    made = proof(tmp_path, plus(1.0, 0.0), limit_bytes=7)
    judge(made, tmp_path, plus(5.0, 0.0), exact=True)
    assert made.told() == {
        "state": "not proven",
        "reason": "its weights (0 MiB) exceed models.<m>.sanitize.memory_mib (0)",
    }


def test_random_outputs_are_not_proven(tmp_path: Path) -> None:
    def noisy(*before: onnx.NodeProto, **seed: Any) -> onnx.ModelProto:
        nodes = [
            zoo.node("RandomNormalLike", ["x"], ["n"], **seed),
            zoo.node("Add", ["x", "n"], ["y"]),
        ]
        return zoo.model([*before, *nodes], *FACES, opset=21)

    unused = zoo.node("Neg", ["x"], ["unused"])
    made = proof(tmp_path, noisy(unused))
    judge(made, tmp_path, noisy(unused), exact=True)
    assert made.told()["state"] == "passed"
    judge(made, tmp_path, noisy(), exact=True)
    assert made.told()["reason"] == "its outputs are random: RandomNormalLike"
    seeded = proof(tmp_path / "seeded", noisy(unused, seed=1.0))
    judge(seeded, tmp_path, noisy(seed=1.0), exact=True)
    assert seeded.told()["state"] == "passed"


def custom() -> onnx.ModelProto:
    proto = plus(1.0, 0.0)
    proto.graph.node[0].op_type, proto.graph.node[0].domain = "Plugin_TRT", "trt.plugins"
    proto.opset_import.add(domain="trt.plugins", version=1)
    return proto


def test_what_onnx_runtime_lacks_is_not_proven(tmp_path: Path) -> None:
    made = proof(tmp_path, custom())
    assert made.told()["reason"] == (
        "ONNX Runtime lacks trt.plugins::Plugin_TRT, which ONNX does not define"
    )


def test_what_onnx_runtime_refuses_otherwise_is_an_error(tmp_path: Path) -> None:
    wrong = plus(1.0, 0.0)
    wrong.graph.node[0].input[1] = "gone"
    with pytest.raises(errors.GraphError, match="ONNX Runtime refuses"):
        proof(tmp_path, wrong)


def test_a_weight_behind_an_identity_gives_the_same_bits_without_it(tmp_path: Path) -> None:
    def reading(name: str) -> onnx.ModelProto:
        return zoo.model(
            [zoo.node("Identity", ["w"], ["v"]), zoo.node("MatMul", ["x", name], ["y"])],
            [zoo.face("x", "batch", 300)],
            [zoo.face("y", "batch", 257)],
            [zoo.weight("w", 300, 257)],
        )

    x = zoo.values(3, 300)
    made = proof(tmp_path, reading("v"), batches=lambda: [{"x": x}])
    judge(made, tmp_path, reading("w"), exact=True)
    assert made.worst is None
