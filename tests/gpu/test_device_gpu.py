# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The command `device` on a real GPU: a plan built here, compared with its graph, and timed.

One command: `bench/device.sh --test`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from jsonschema import Draft202012Validator
from onnx import helper, numpy_helper

from stages.backends import gpu
from stages.lib import errors, files, layout, machine

ROOT = Path(__file__).parents[2]
ENGINE = "digits-fp32-b64"
# TensorRT-RTX plans for sm86, sm89 and sm120, as params.yaml has it, load on these.
TARGETS = ("8.6", "8.9", "12.0")

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def here() -> machine.Gpu:
    try:
        return gpu.device_info()
    except errors.NoDeviceError as error:
        pytest.skip(error.what.splitlines()[0])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("params.yaml", "schemas", "stages"):
        (tmp_path / name).symlink_to(ROOT / name)
    samples = layout.samples("digits", "validation")
    shutil.copytree(ROOT / samples, tmp_path / samples)
    weight = np.random.default_rng(0).standard_normal((10, 1, 8, 8)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], name="conv"),
        helper.make_node("Flatten", ["c"], ["logits"], name="flatten"),
    ]
    shape: list[int | str] = ["batch", 1, 8, 8]
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, None)
    initializers = [numpy_helper.from_array(weight, "w")]
    graph = helper.make_graph(nodes, "graph", [image], [logits], initializers)
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    for folder in (layout.typed(ENGINE), layout.exported("digits")):
        (tmp_path / folder).mkdir(parents=True)
        onnx.save(model, tmp_path / folder / layout.GRAPH_FILE)
    assert run(tmp_path, "build").returncode == 0
    return tmp_path


def run(project: Path, stage: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"stages.{stage}", ENGINE]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def test_errors_and_latency_of_a_plan(here: machine.Gpu, project: Path) -> None:
    done = run(project, "device")
    if here.compute_capability not in TARGETS:
        # No published matrix has it: it may load or not, but never without a word.
        print(done.stdout, done.stderr)  # noqa: T201
        assert done.returncode in (0, errors.DeviceError.exit_code)
        if done.returncode:
            assert "model.plan is built for sm86, sm89, sm120; the GPU here is" in done.stderr
            assert f"compute capability {here.compute_capability}" in done.stderr
            assert not (project / "evidence").exists()
            return
    assert (done.returncode, done.stderr) == (0, "")
    evidence = json.loads((project / layout.device_evidence(ENGINE)).read_bytes())
    schema = json.loads((ROOT / "schemas/device.schema.json").read_bytes())
    Draft202012Validator(schema).validate(evidence)
    assert evidence["plan"]["sha256"] == files.sha256(project / layout.plan(ENGINE))
    assert evidence["gpu"] == vars(here)
    found = evidence["errors"]["logits"]
    assert found["identical"] or found["sqnr_db"] > 100  # TF32 would give about 60
    entry = evidence["latency"]["profiles"][0]
    assert entry["shapes"] == {"image": [16, 1, 8, 8]}
    assert entry["runs"] >= gpu.LEAST_RUNS
    assert 0 < entry["min_ms"] <= entry["median_ms"] <= entry["p90_ms"] <= entry["p99_ms"]
    # Which layers a runtime names is its own affair; that it lists and times some is not.
    assert evidence["layers"]["count"] >= 1
    times = evidence["layer_times"]
    assert 0 <= times["named_ms"] <= times["total_ms"] * 1.001
    assert times["total_ms"] > 0
    table = project / layout.engine_latency(ENGINE)
    assert table.exists() == (times["reason"] is None)
    if table.exists():
        rules = json.loads((ROOT / "schemas/latency.schema.json").read_bytes())
        Draft202012Validator(rules).validate(json.loads(table.read_bytes()))


def test_an_altered_plan_is_not_run(here: machine.Gpu, project: Path) -> None:
    assert here.name
    plan = project / layout.plan(ENGINE)
    plan.write_bytes(plan.read_bytes() + b"\0")
    done = run(project, "device")
    assert done.returncode == errors.ArtifactError.exit_code
    assert "is not the plan that the facts beside it describe" in done.stderr
