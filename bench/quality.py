# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""INT8 of each range method against ONNX Runtime's and ModelOpt's.

`python -m bench.quality [task...]`. The tasks are models/digits and those whose networks
bench/tasks.py trains. All contestants quantize the same clean graph with the same calibration
samples, each in a process of its own (bench/contestants.py), and one judge runs what they wrote:
ONNX Runtime with its optimizations off, on the validation samples, against the exported float
graph. Where another tool quantizes other nodes than the stages do, a further row has the same ones.
How far chance goes is shown as well: each graph is judged again with its ranges moved a little.
Nothing is asserted.
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
from onnx import numpy_helper
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
# How often, and by what share at most, all ranges of a graph are moved at random.
MOVES, MOVED = 16, 0.005
LEGEND = f"""
SQNR      of the output against the exported float graph, dB
moved     the same, mean and standard deviation, where each range is moved by up to {MOVED:.1%}
task      top-1 in %, for photos PSNR in dB
inputs    activations that are quantized; nodes: Conv, ConvTranspose, Gemm, MatMul that take them
same      as the tool above: what it leaves is left to float by overrides, and the engine is one of
nodes     the backend tensorrt where it quantizes ConvTranspose, which tensorrt_rtx runs in float"""

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
            chain.table((task, "SQNR", "moved", "task", "inputs", "nodes"), rows)
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
    yield ("float", "", "", judge.quality(judge.reference), "", "")
    for method in METHODS:
        own = _ours(space, project, task, method)
        yield judge.row(f"enginery {method}", own)
        shown = [_quantized(own)]
        for rival in RIVALS[method]:
            calibration.contest(space, project, rival, task, count)
            graph = project / "contested" / f"{task}-{rival}.onnx"
            yield judge.row(NAMES[rival], graph)
            if _quantized(graph) not in shown:
                shown.append(_quantized(graph))
                same = _ours(space, project, task, method, like=graph)
                yield judge.row(f"enginery {method}, same nodes", same)


def _ours(
    space: Workspace, project: Path, task: str, method: str, *, like: Path | None = None
) -> Path:
    """The typed graph of an INT8 engine of that method; of the nodes that `like` quantizes."""
    yaml, path = YAML(), project / "params.yaml"
    tree: Any = yaml.load(path)
    base = next(
        one
        for one in tree["engines"].values()
        if (one["model"], one["precision"]) == (task, "int8")
    )
    name = f"{task}-{method}" + (f"-as-{like.stem}" if like else "")
    tree["engines"][name] = engine = copy.deepcopy(base)
    engine.update(method=method, remainder="fp32", smoothing=None, overrides=[])
    if like is not None:
        wanted = _quantized(like)
        if any(_ops(like)[node] == "ConvTranspose" for node in wanted):
            example = yaml.load(project / "schemas/examples/good/params-tensorrt.yaml")
            builder = next(iter(example["engines"].values()))["builder"] | {"timing_cache": "none"}
            engine.update(backend="tensorrt", builder=builder)
        clean = _ops(project / "artifacts/onnx" / task / "clean/model.onnx")
        left = sorted(
            node for node, op in clean.items() if op in QUANTIZABLE and node not in wanted
        )
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
        moved = [self.sqnr(self.run(other)) for other in _moved(graph)]
        spread = f"{np.mean(moved):.2f} +- {np.std(moved):.2f}"
        inputs, nodes = _placement(graph)
        sqnr = f"{self.sqnr(result):.2f}"
        return (name, sqnr, spread, self.quality(result), str(inputs), nodes)

    def sqnr(self, result: Any) -> float:
        """Signal to quantization noise of a result, dB."""
        noise = np.square((result - self.reference).astype(np.float64)).sum()
        signal = np.square(self.reference.astype(np.float64)).sum()
        return float(10 * np.log10(signal / noise))

    def quality(self, result: Any) -> str:
        """What the task is about."""
        if self.label.ndim == 1:
            return f"{100 * np.mean(result.argmax(1) == self.label):.2f}"
        error = np.square((result - self.label).astype(np.float64)).mean()
        return f"{-10 * np.log10(error):.2f}"


def _moved(path: Path) -> Iterator[Path]:
    """The graph with each activation's range moved at random, MOVES times."""
    draw = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(MOVES):
            model = onnx.load(path)
            constants = {tensor.name: tensor for tensor in model.graph.initializer}
            for name in sorted({node.input[1] for node in _quantizers(model.graph)}):
                scale = numpy_helper.to_array(constants[name])
                factor = 1 + draw.uniform(-MOVED, MOVED)
                constants[name].CopyFrom(
                    numpy_helper.from_array((scale * factor).astype(scale.dtype), name)
                )
            onnx.save(model, Path(folder) / "model.onnx")
            yield Path(folder) / "model.onnx"


def _quantizers(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Nodes that quantize an activation."""
    constant = {tensor.name for tensor in graph.initializer}
    return [
        node
        for node in graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in constant
    ]


def _placement(path: Path) -> tuple[int, str]:
    """Quantized activations, and 'quantized of all' nodes that could be."""
    wanted = sum(op in QUANTIZABLE for op in _ops(path).values())
    return len(_quantizers(onnx.load(path).graph)), f"{len(_quantized(path))} of {wanted}"


def _ops(path: Path) -> dict[str, str]:
    """Op type by name of node."""
    return {node.name: node.op_type for node in onnx.load(path).graph.node}


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
