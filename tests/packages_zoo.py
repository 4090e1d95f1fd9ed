# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""All that `package` reads, from the examples of schemas/: no other stage need run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from stages.lib import files, layout
from stages.policy import gates

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
GOOD = ROOT / "schemas" / "examples" / "good"
ENGINE, MODEL = "digits-int8-b1", "digits"
TYPED = layout.typed(ENGINE) / layout.GRAPH_FILE
PLAN = b"vtrt" + bytes(20) + bytes([1, 7, 1, 116]) + bytes(range(256)) * 8
NAMES = dict.fromkeys(layout.MODEL_STAGES, MODEL) | dict.fromkeys(layout.ENGINE_STAGES, ENGINE)


def example(name: str) -> Any:
    return json.loads((GOOD / f"{name}.json").read_bytes())


def write(
    change: Callable[[dict[str, Any]], None] = lambda _: None,
    report: Any = None,
    verdict: Any = None,
    graph: onnx.ModelProto | None = None,
) -> None:
    """Write plan, graph, report, verdict and facts that belong together; `change` spoils facts."""
    files.write_bytes(layout.plan(ENGINE), PLAN)
    plan = {"sha256": files.sha256(layout.plan(ENGINE)), "bytes": len(PLAN)}
    report = (report or example("report-int8")) | {"plan": plan}
    files.write_json(layout.report(ENGINE), report)
    limits = example("facts-gate")["params"][f"engines.{ENGINE}.gates"]
    decided = gates.decide(report, limits, files.sha256(layout.report(ENGINE)))
    files.write_json(layout.verdict(ENGINE), verdict or decided)

    files.write_bytes(TYPED, (graph or typed()).SerializeToString())
    facts = {stage: example(f"facts-{stage}") for stage in NAMES}
    facts["build"]["details"].update(plan=plan, backend=report["backend"])
    for told in facts.values():
        for kind in ("inputs", "outputs"):
            for path in (layout.plan(ENGINE), layout.report(ENGINE), layout.verdict(ENGINE), TYPED):
                if path.as_posix() in told[kind]:
                    told[kind][path.as_posix()] = files.sha256(path)
    change(facts)
    for stage, told in facts.items():
        files.write_json(layout.facts(stage, NAMES[stage]), told)


def typed() -> onnx.ModelProto:
    """A graph of the right shapes, with two more outputs.

    `score` is one number for each sample; `found` lists what is above 0, and is as long as that is.
    """
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"])
    found = helper.make_tensor_value_info("found", TensorProto.INT64, ["unk__0", 4])
    weights = numpy_helper.from_array(np.ones((64, 10), np.float32), "weights")
    last = numpy_helper.from_array(np.array([1]), "last")
    zero = numpy_helper.from_array(np.zeros((), np.float32), "zero")
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"], name="flatten"),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"], name="product"),
        helper.make_node("ReduceMax", ["flat", "last"], ["score"], name="most", keepdims=0),
        helper.make_node("Greater", ["image", "zero"], ["above"], name="above"),
        helper.make_node("NonZero", ["above"], ["where"], name="where"),
        helper.make_node("Transpose", ["where"], ["found"], name="rows"),
    ]
    outputs = [logits, score, found]
    graph = helper.make_graph(nodes, "typed", [image], outputs, [weights, last, zero])
    opsets = [helper.make_opsetid("", 22)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def run(project: Path) -> subprocess.CompletedProcess[str]:
    """Run the stage as DVC does, so that the code it ran lies in the project."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "stages", project / "stages", ignore=ignored, dirs_exist_ok=True)
    return subprocess.run(
        [sys.executable, "-B", "-m", "stages.package", ENGINE],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
