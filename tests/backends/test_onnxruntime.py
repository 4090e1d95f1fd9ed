# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime as the reference: what it runs, and how it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from stages.backends.onnxruntime import run as onnxruntime
from stages.lib import errors
from tests import graphs_zoo as zoo

ROOT = Path(__file__).parents[2]


def infer(proto: Any, **feeds: Any) -> Any:
    with onnxruntime.runner(proto.SerializeToString(), threads=1, name="exported") as runner:
        return runner.infer(feeds)


def fixed() -> Any:
    return zoo.model(
        [zoo.node("Reshape", ["x", "shape"], ["y"], name="fix")],
        [zoo.face("x", "batch", 4)],
        [zoo.face("y", 2, 4)],
        [zoo.const("shape", [2, 4], np.int64)],
    )


def test_a_path_and_bytes_give_the_same(tmp_path: Path) -> None:
    path = zoo.put(zoo.tiny(), tmp_path / "graph") / "model.onnx"
    x = {"x": zoo.values(2, 3, 8, 8)}
    with onnxruntime.runner(path, threads=2, name="a") as runner:
        found = runner.infer(x)["logits"]
    np.testing.assert_array_equal(found, infer(zoo.tiny(), **x)["logits"])


def test_optimizations_are_off_and_threads_are_pinned() -> None:
    options = onnxruntime.session(zoo.tiny().SerializeToString(), threads=3).get_session_options()
    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.use_deterministic_compute
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_a_refused_graph(tmp_path: Path) -> None:
    with pytest.raises(errors.GraphError, match=r"refuses a graph made from it: .*PROTOBUF"):
        onnxruntime.session(b"no graph", threads=1)
    with pytest.raises(errors.GraphError, match=r"refuses .*/model\.onnx: .*NO_SUCHFILE"):
        onnxruntime.session(tmp_path / "model.onnx", threads=1)


def test_an_opset_of_the_future() -> None:
    proto = zoo.tiny()
    proto.opset_import[0].version = 99
    with pytest.raises(errors.GraphError, match="Opset 99") as caught:
        onnxruntime.session(proto.SerializeToString(), threads=1)
    assert caught.value.mend == "export the model again with opset 26 or older"


def test_a_node_that_fails_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    assert infer(fixed(), x=zoo.values(2, 4))["y"].shape == (2, 4)
    with pytest.raises(
        errors.GraphError, match=r"exported graph failed on inputs x \[3, 4\]: .*'fix'"
    ):
        infer(fixed(), x=zoo.values(3, 4))
    assert capfd.readouterr().err == ""  # the message says it all


@pytest.mark.parametrize("x", [zoo.values(2, 5), zoo.values(2, 4).astype(np.float64)])
def test_inputs_that_do_not_fit(x: Any) -> None:
    with pytest.raises(errors.GraphError, match=r"failed on inputs x \[2, \d\]"):
        infer(fixed(), x=x)


@pytest.mark.parametrize(
    "opening",
    [
        "from stages.backends.onnxruntime import run",
        "from stages.bundle import triton_onnxruntime as t; t.onnxruntime(t.np.__version__)",
    ],
)
def test_the_library_reports_to_nobody(tmp_path: Path, opening: str) -> None:
    variables = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    subprocess.run(
        [sys.executable, "-c", opening],
        cwd=ROOT,
        env=variables | {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        check=False,  # the second one asks for another version
    )
    assert not [*tmp_path.iterdir()]
