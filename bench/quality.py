# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""INT8 of each range method against ONNX Runtime's and ModelOpt's.

`python -m bench.quality [task...]`. The tasks are models/digits and those whose networks
bench/tasks.py trains. All contestants quantize the same clean graph with the same calibration
samples, each in a process of its own (bench/contestants.py), and one judge runs what they wrote:
ONNX Runtime with its optimizations off, on the validation samples, against the exported float
graph. Where another tool leaves nodes in float, a further row leaves the same to float. Nothing is
asserted.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from ruamel.yaml import YAML

from bench import calibration, chain
from bench.workspace import Workspace
from stages.backends.onnxruntime import run as onnxruntime

if TYPE_CHECKING:
    from collections.abc import Iterator

TASKS = ("digits", "glyphs", "photos")
METHODS = ("minmax", "entropy", "percentile", "mse")
# The others' method of that kind, where they have one.
RIVALS: dict[str, tuple[str, ...]] = {
    "minmax": ("ort-minmax", "modelopt-max"),
    "entropy": ("ort-entropy", "modelopt-entropy"),
    "percentile": ("ort-percentile",),
    "mse": (),
}
NAMES = {
    "ort-minmax": "ONNX Runtime minmax",
    "ort-entropy": "ONNX Runtime entropy",
    "ort-percentile": "ONNX Runtime percentile",
    "modelopt-max": "ModelOpt max",
    "modelopt-entropy": "ModelOpt entropy",
}
QUANTIZABLE = ("Conv", "ConvTranspose", "Gemm", "MatMul")
STEP = 64
LEGEND = """
SQNR      of the output against the exported float graph, dB; task: top-1 in %, for photos PSNR, dB
inputs    activations that are quantized; nodes: Conv, ConvTranspose, Gemm, MatMul that take them"""

Array = "np.ndarray[Any, Any]"


def main(tasks: list[str]) -> None:
    """Make the project, have everybody quantize, judge, print."""
    with tempfile.TemporaryDirectory() as folder:
        space = Workspace(Path(folder))
        project = space.clone("quality")
        print(chain._machine())  # noqa: SLF001
        for task in tasks:
            _prepare(space, project, task)
            rows = list(_rows(space, project, task))
            chain.table((task, "SQNR", "task", "inputs", "nodes"), rows)
    print(LEGEND)


def _prepare(space: Workspace, project: Path, task: str) -> None:
    home = project / "models" / task
    if task != "digits":
        words = (sys.executable, "-m", "bench.tasks", task, str(home))
        subprocess.run(words, check=True, stdout=sys.stderr, stderr=subprocess.DEVNULL)
        space.python(project, "-m", "stages.new", task, "digits")
        threads = len(os.sched_getaffinity(0))
        calibration.settings(project, task, threads=threads, batch=32)
    for stage in ("export", "sanitize", "observe", "calibrate"):
        space.python(project, "-m", f"stages.{stage}", task)


def _rows(space: Workspace, project: Path, task: str) -> Iterator[tuple[str, ...]]:
    with np.load(project / "models" / task / "samples/calibration/000.npz") as arrays:
        count = len(arrays["label"])
    judge = Judge(project, task)
    yield ("float", "", judge.quality(judge.reference), "", "")
    for method in METHODS:
        own = _ours(space, project, task, method, [])
        yield judge.row(f"enginery {method}", own)
        for rival in RIVALS[method]:
            calibration.contest(space, project, rival, task, count)
            graph = project / "contested" / f"{task}-{rival}.onnx"
            yield judge.row(NAMES[rival], graph)
            if left := sorted(_quantized(own) - _quantized(graph)):
                again = _ours(space, project, task, method, left)
                yield judge.row(f"enginery {method}, {len(left)} left too", again)


def _ours(space: Workspace, project: Path, task: str, method: str, left: list[str]) -> Path:
    """The typed graph of an INT8 engine of that method that leaves those nodes in float32."""
    yaml, path = YAML(), project / "params.yaml"
    tree: Any = yaml.load(path)
    like = next(
        one
        for one in tree["engines"].values()
        if (one["model"], one["precision"]) == (task, "int8")
    )
    name = f"{task}-quality-{method}-{len(left)}"
    tree["engines"][name] = engine = copy.deepcopy(like)
    engine.update(method=method, remainder="fp32", smoothing=None)
    engine["overrides"] = [{"nodes": node, "precision": "fp32"} for node in left]
    yaml.dump(tree, path)
    space.python(project, "-m", "stages.precision", name)
    return project / "artifacts/onnx" / name / "typed/model.onnx"


class Judge:
    """Runs graphs on the validation samples of a task."""

    def __init__(self, project: Path, task: str) -> None:
        self.task = task
        with np.load(project / "models" / task / "samples/validation/000.npz") as arrays:
            self.image, self.label = arrays["image"], arrays["label"]
        self.reference = self.run(project / "artifacts/onnx" / task / "exported/model.onnx")

    def run(self, graph: Path) -> Any:
        """The graph's one output on all samples."""
        session = onnxruntime.session(graph, threads=len(os.sched_getaffinity(0)))
        parts = [self.image[at : at + STEP] for at in range(0, len(self.image), STEP)]
        return np.concatenate([session.run(None, {"image": part})[0] for part in parts])

    def row(self, name: str, graph: Path) -> tuple[str, ...]:
        """Judge one graph."""
        result = self.run(graph)
        noise = np.square((result - self.reference).astype(np.float64)).sum()
        signal = np.square(self.reference.astype(np.float64)).sum()
        inputs, nodes = _placement(graph)
        sqnr = 10 * np.log10(signal / noise)
        return (name, f"{sqnr:.2f}", self.quality(result), str(inputs), nodes)

    def quality(self, result: Any) -> str:
        """What the task is about."""
        if self.label.ndim == 1:
            return f"{100 * np.mean(result.argmax(1) == self.label):.2f}"
        error = np.square((result - self.label).astype(np.float64)).mean()
        return f"{-10 * np.log10(error):.2f}"


def _placement(path: Path) -> tuple[int, str]:
    """Quantized activations, and 'quantized of all' nodes that could be."""
    graph = onnx.load(path).graph
    constant = {tensor.name for tensor in graph.initializer}
    activations = [
        node
        for node in graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in constant
    ]
    wanted = sum(node.op_type in QUANTIZABLE for node in graph.node)
    return len(activations), f"{len(_quantized(path))} of {wanted}"


def _quantized(path: Path) -> set[str]:
    """Names of the nodes that could take quantized activations, and do."""
    graph = onnx.load(path).graph
    made = {name: node.op_type for node in graph.node for name in node.output}
    return {
        node.name
        for node in graph.node
        if node.op_type in QUANTIZABLE and made.get(node.input[0]) == "DequantizeLinear"
    }


if __name__ == "__main__":
    main(sys.argv[1:] or list(TASKS))
