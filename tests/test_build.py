# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The stage `build`, run as DVC runs it, on a small graph in a copy of the project."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from jsonschema import Draft202012Validator
from onnx import helper, numpy_helper

from stages.lib import files

ROOT = Path(__file__).parents[1]
ENGINE = "digits-fp32-b64"
PLAN = f"artifacts/engines/{ENGINE}/model.plan"
FACTS = f"artifacts/engines/{ENGINE}/build.facts.json"
LOG = f".logs/build-{ENGINE}.log"


def copy_project(folder: Path) -> Path:
    """What a stage needs of the project: code, params, schemas."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("stages", "schemas"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    shutil.copy(ROOT / "params.yaml", folder)
    return folder


def write_graph(project: Path, *nodes: onnx.NodeProto, batch: int | str = "batch") -> None:
    """A typed graph with the face of the digits model."""
    shape: list[int | str] = [batch, 1, 8, 8]
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, None)
    weight = numpy_helper.from_array(np.full((10, 1, 8, 8), 0.5, np.float32), "w")
    graph = helper.make_graph(list(nodes), "graph", [image], [logits], [weight])
    opset = [helper.make_opsetid("", 20)]
    folder = project / f"artifacts/onnx/{ENGINE}/typed"
    folder.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), folder / "model.onnx")


def conv() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Conv", ["image", "w"], ["c"], name="conv"),
        helper.make_node("Flatten", ["c"], ["logits"], name="flatten"),
    ]


def run(project: Path, engine: str = ENGINE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stages.build", engine]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_project(tmp_path)


def edit(project: Path, old: str, new: str) -> None:
    path = project / "params.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_plan_facts_and_log(project: Path) -> None:
    write_graph(project, *conv())
    done = run(project)
    assert (done.returncode, done.stderr) == (0, "")
    assert PLAN in done.stdout
    plan = (project / PLAN).read_bytes()
    assert plan[:4] == b"vtrt"
    facts: dict[str, Any] = json.loads((project / FACTS).read_bytes())
    schema = json.loads((ROOT / "schemas/facts.schema.json").read_bytes())
    Draft202012Validator(schema).validate(facts)
    details = facts["details"]
    assert details["timing_cache"] is None
    assert details["plan"] == {"bytes": len(plan), "sha256": files.sha256(project / PLAN)}
    assert details["inputs"] == [{"name": "image", "dtype": "float32", "shape": [-1, 1, 8, 8]}]
    assert [tensor["name"] for tensor in details["outputs"]] == ["logits"]
    assert details["profiles"][0]["image"]["max"] == [64, 1, 8, 8]
    assert "--maxShapes=image:64x1x8x8" in details["command"]
    assert "stages/backends/tensorrt_rtx/build.py" in facts["code"]
    assert not any("run.py" in name for name in facts["code"])
    assert "[info] " in (project / LOG).read_text(encoding="utf-8")


def test_result_depends_neither_on_the_place_nor_on_the_run(tmp_path: Path) -> None:
    found = set()
    for name in ("here", "some where else/deep down"):
        project = copy_project(tmp_path / name)
        write_graph(project, *conv())
        for _ in range(2):
            assert run(project).returncode == 0
            found.add(tuple(files.sha256(project / path) for path in (PLAN, FACTS)))
    assert len(found) == 1


def test_a_refused_node_leaves_a_log_and_the_earlier_plan(project: Path) -> None:
    before = project / PLAN
    before.parent.mkdir(parents=True)
    before.write_bytes(b"earlier")
    write_graph(project, helper.make_node("Det", ["image"], ["logits"], name="deter"))
    done = run(project)
    assert done.returncode == 10
    assert "node 0 'deter' (Det): TensorRT does not have this operator" in done.stderr
    assert LOG in done.stderr
    assert "Traceback" not in done.stderr
    assert "deter" in (project / LOG).read_text(encoding="utf-8")
    assert before.read_bytes() == b"earlier"
    assert not (project / FACTS).exists()


def test_a_failing_builder_names_its_last_errors_and_the_log(project: Path) -> None:
    write_graph(project, *conv(), batch=1)
    done = run(project)
    assert done.returncode == 11
    assert "image has static dimensions that don't match" in done.stderr
    assert "The last errors of the builder" in done.stderr
    assert LOG in done.stderr
    assert not (project / PLAN).exists()


def test_a_graph_that_is_missing(project: Path) -> None:
    done = run(project)
    assert done.returncode == 15
    assert f"artifacts/onnx/{ENGINE}/typed/model.onnx is not there" in done.stderr


def test_another_version_than_the_pin(project: Path) -> None:
    edit(project, "tensorrt-rtx: 1.7.1.116", "tensorrt-rtx: 1.6.0.1")
    done = run(project)
    assert done.returncode == 3
    assert "tensorrt-rtx" in done.stderr
    assert "1.6.0.1" in done.stderr
    assert "pip install tensorrt-rtx==1.6.0.1" in done.stderr


def test_an_engine_that_does_not_exist(project: Path) -> None:
    done = run(project, "digits-fp32-b63")
    assert done.returncode == 2
    assert ENGINE in done.stderr


def test_start_up_imports_only_what_it_uses(project: Path) -> None:
    code = (
        "import runpy, sys; sys.argv = ['build', sys.argv[1]]\n"
        "try: runpy.run_module('stages.build', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'onnx_ir', 'numpy', 'polygraphy', 'dvc'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    write_graph(project, *conv())
    command = [sys.executable, "-c", code, ENGINE]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert (project / PLAN).exists()
    assert done.stdout.splitlines()[-1] == "[]"
