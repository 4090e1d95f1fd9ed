# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The child process that builds: what it says, and what becomes of it when things go wrong."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stages.backends import child, isolation, plans, reproducibility
from stages.backends.build_api import Order
from stages.lib import errors, pins

ROOT = Path(__file__).parent.parent.parent
BUILDER = {"workspace_mib": 256, "optimization_level": 3, "compute_capabilities": ["sm86"]}


@pytest.fixture(autouse=True)
def in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child imports `stages` from the project's root, in which every stage runs."""
    monkeypatch.chdir(ROOT)


def order(folder: Path, op: str = "Relu") -> Order:
    """A linear layer and one op."""
    weight = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node(op, ["h"], ["y"], name="last"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), folder / "model.onnx")
    shapes = {bound: [1, 4] for bound in ("min", "opt", "max")}
    return Order(
        graph=folder / "model.onnx", precision="fp32", profiles=[{"x": shapes}], builder=BUILDER
    )


def test_it_writes_the_plan_and_tells_the_rest(tmp_path: Path) -> None:
    log: list[str] = []
    built = isolation.build("tensorrt_rtx", order(tmp_path), log.append, tmp_path / "plan")
    assert (tmp_path / "plan").read_bytes()[:4] == b"vtrt"
    assert built.engine.inputs == [{"name": "x", "dtype": "float32", "shape": [1, 4]}]
    assert "[info] Opset version:    20" in log
    ran = {path.as_posix() for path in built.code}
    assert {"stages/backends/tensorrt_rtx/build.py", "stages/backends/builder.py"} <= ran
    assert not [path for path in ran if not path.startswith("stages/")]


def test_an_error_of_the_backend_crosses_over(tmp_path: Path) -> None:
    wanted = order(tmp_path, op="NoSuchOp")
    with pytest.raises(errors.UnsupportedError, match="last") as caught:
        isolation.build("tensorrt_rtx", wanted, lambda _: None, tmp_path / "plan")
    assert caught.value.mend


def test_a_child_that_dies_is_a_build_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "child.py"
    script.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr(child, "__file__", str(script))
    with pytest.raises(errors.BuildError, match="ended by signal 11"):
        isolation.build("tensorrt_rtx", order(tmp_path), lambda _: None, tmp_path / "plan")


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        isolation.build("tensorrt_rtx", order(tmp_path), lambda _: None, Path("/dev/full"))
    assert caught.value.errno == errno.ENOSPC


def test_a_limit_of_the_address_space_moves_no_byte(tmp_path: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from stages.backends import child, isolation
        from stages.backends.build_api import Order
        shapes = {bound: [1, 4] for bound in ("min", "opt", "max")}
        builder = {"workspace_mib": 256, "optimization_level": 3, "compute_capabilities": ["sm86"]}
        order = Order(
            graph=Path(sys.argv[1]), precision="fp32", profiles=[{"x": shapes}], builder=builder
        )
        isolation.build("tensorrt_rtx", order, print, Path(sys.argv[2]))
    """
    wanted = order(tmp_path)
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), wanted.graph, tmp_path / "limited"],
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30)),
    )
    isolation.build("tensorrt_rtx", wanted, lambda _: None, tmp_path / "plan")
    assert (tmp_path / "limited").read_bytes() == (tmp_path / "plan").read_bytes()


def test_without_its_allocator_it_builds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The loader itself would go on with a warning.
    monkeypatch.setattr(pins, "file", lambda _, name: tmp_path / "nowhere" / name)
    with pytest.raises(errors.PinError, match="was not loaded") as caught:
        isolation.build("tensorrt_rtx", order(tmp_path), lambda _: None, tmp_path / "plan")
    assert "pip install --force-reinstall tbb" in caught.value.mend
    assert not (tmp_path / "plan").read_bytes()


def test_a_second_build_proves_the_first(tmp_path: Path) -> None:
    log: list[str] = []
    wanted, plan = order(tmp_path), tmp_path / "plan"
    isolation.build("tensorrt_rtx", wanted, lambda _: None, plan)
    assert reproducibility.prove("tensorrt_rtx", wanted, log.append, plan) == ("proven", None)
    assert len([line for line in log if "Opset version" in line]) == 1


def test_a_second_build_finds_what_differs(tmp_path: Path) -> None:
    wanted, plan = order(tmp_path), tmp_path / "plan"
    isolation.build("tensorrt_rtx", wanted, lambda _: None, plan)
    data = bytearray(plan.read_bytes())
    start, _ = plans.sections(bytes(data))["WGHT"]
    data[start] ^= 1
    plan.write_bytes(data)
    said, found = reproducibility.prove("tensorrt_rtx", wanted, lambda _: None, plan)
    assert said == "not reproducible"
    assert found is not None
    assert found["sections"] == {"WGHT": 1}


def test_only_backends_that_promise_bytes_are_proven() -> None:
    assert reproducibility.can_prove("tensorrt_rtx")
    assert not reproducibility.can_prove("tensorrt")
