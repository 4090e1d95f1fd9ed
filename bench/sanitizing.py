# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of the clean-up: `python -m bench.sanitizing`.

A model of 4.3 GB in two files of external data, and a graph of 20,000 nodes against onnxscript's
optimizer, each in a process of its own. That optimizer's time grows with the square of the nodes
(0.7.2: it lists the whole graph for each of them), so it is not waited for. Passes and settings are
those of the demo model.
"""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper
from onnxscript import optimizer
from ruamel.yaml import YAML

from stages.lib import files, graphs
from stages.passes import canonical, sequence
from stages.passes.api import Context

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3
_PATIENCE_S = 60
LAYERS, WIDTH = 16, 8192
BLOCKS = 1000
NODES_PER_BLOCK = 20


def main() -> None:
    """Make both models, clean them, print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = large(folder / "large")
        rounds = [_child("clean", source, folder / "clean") for _ in range(ROUNDS)]
        size = sum(file.stat().st_size for file in source.parent.iterdir())
        print(f"{size / 1e9:.1f} GB of external data in two files, {LAYERS} layers")
        print(f"  clean-up     {_spread(rounds, 'clean')} s, aim: <= 3 s")
        print(f"  writing      {_spread(rounds, 'write')} s")
        print(f"  copy         {_spread(rounds, 'copy')} s, of the same bytes")
        print(f"  peak memory  {max(one['peak'] for one in rounds) / 1e6:.0f} MB, aim: < 200 MB")
        shutil.rmtree(folder / "large")
        source = deep(folder / "deep.onnx")
        ours = [_child("clean", source, folder / "clean") for _ in range(ROUNDS)]
        print(f"graph of {BLOCKS * NODES_PER_BLOCK:,} nodes")
        print(f"  clean-up               {_spread(ours, 'clean')} s, {ours[0]['nodes']} nodes left")
        try:
            other = _child("optimize", source, folder / "other")
        except subprocess.TimeoutExpired:
            print(f"  onnxscript's optimizer not done after {_PATIENCE_S} s; aim: ours <= 2x")
        else:
            ratio = statistics.median(one["clean"] for one in ours) / other["clean"]
            print(f"  onnxscript's optimizer {other['clean']:.2f} s, {other['nodes']} nodes left")
            print(f"  ratio                  {ratio:.2f}, aim: <= 2")


def clean(source: Path, target: Path) -> dict[str, float]:
    """Clean one graph as `sanitize` does, without its proof."""
    settings = YAML(typ="safe").load(ROOT / "params.yaml")["models"]["digits"]["sanitize"]
    context = Context(fold_limit_bytes=settings["fold_limit_kib"] << 10, opset=settings["opset"])
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as empty:
        made, changes = sequence.run(
            graphs.load_file(source), settings["passes"], context=context, user=Path(empty)
        )
    canonical.arrange(made)
    cleaned = time.perf_counter()
    if undone := [change for change in changes if "undone" in change]:
        raise RuntimeError(undone)
    shutil.rmtree(target, ignore_errors=True)
    graphs.save(made, target)
    return _told(start, cleaned, len(made.graph))


def optimize(source: Path, target: Path) -> dict[str, float]:
    """Clean one graph by onnxscript's optimizer, with its own settings."""
    start = time.perf_counter()
    made = optimizer.optimize(ir.load(source))
    cleaned = time.perf_counter()
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    ir.save(made, target / "model.onnx")
    return _told(start, cleaned, len(made.graph))


def large(folder: Path) -> Path:
    """16 layers of MatMul 8192, Identity and Relu; weights in two files, 4.3 GB."""
    folder.mkdir(parents=True)
    block = (np.random.default_rng(0).standard_normal(1 << 22).astype(np.float32) / 64).tobytes()
    nodes, weights, size = [], [], WIDTH * WIDTH * 4
    for index in range(LAYERS):
        location = f"weights.{index % 2}"
        with (folder / location).open("ab") as stream:
            offset = stream.tell()
            for _ in range(size // len(block)):
                stream.write(block)
        weights.append(_outside(f"w{index}", location, offset, size))
        nodes += [
            helper.make_node("MatMul", [f"x{index}", f"w{index}"], [f"a{index}"]),
            helper.make_node("Identity", [f"a{index}"], [f"b{index}"]),
            helper.make_node("Relu", [f"b{index}"], [f"x{index + 1}"]),
        ]
    return _put(nodes, weights, folder / "model.onnx", LAYERS)


def deep(path: Path) -> Path:
    """Blocks as exporters write them: shapes computed, constants in nodes, identities left over."""
    nodes, weights = [], [numpy_helper.from_array(np.full(64, 0.5, np.float32), "half")]
    for index in range(BLOCKS):
        weights.append(
            numpy_helper.from_array(
                np.random.default_rng(index).standard_normal((64, 64)).astype(np.float32) / 64,
                f"w{index}",
            )
        )
        nodes += _block(index)
    return _put(nodes, weights, path, BLOCKS, width=64)


def _block(index: int) -> list[onnx.NodeProto]:
    def name(text: str) -> str:
        return f"{text}_{index}"

    def constant(text: str, value: Any) -> onnx.NodeProto:
        tensor = numpy_helper.from_array(np.asarray(value), name(text))
        return helper.make_node("Constant", [], [name(text)], value=tensor)

    node, source, end = helper.make_node, f"x{index}", f"x{index + 1}"
    return [
        constant("zero", np.array([0])),
        constant("heads", np.array([4, 16])),
        constant("flat", np.array([64])),
        constant("scale", np.float32(0.25)),
        node("Identity", [source], [name("i")]),
        node("MatMul", [name("i"), f"w{index}"], [name("m")]),
        node("Shape", [name("m")], [name("s")]),
        node("Gather", [name("s"), name("zero")], [name("n")]),
        node("Concat", [name("n"), name("heads")], [name("split")], axis=0),
        node("Reshape", [name("m"), name("split")], [name("h")]),
        node("Transpose", [name("h")], [name("t")], perm=[0, 2, 1]),
        node("MatMul", [name("h"), name("t")], [name("q")]),
        node("Mul", [name("q"), name("scale")], [name("z")]),
        node("Softmax", [name("z")], [name("p")], axis=-1),
        node("MatMul", [name("p"), name("h")], [name("o")]),
        node("Concat", [name("n"), name("flat")], [name("join")], axis=0),
        node("Reshape", [name("o"), name("join")], [name("f")]),
        node("Identity", ["half"], [name("c")]),
        node("Add", [name("f"), name("c")], [name("g")]),
        node("Relu", [name("g")], [end]),
    ]


def _outside(name: str, location: str, offset: int, length: int) -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[WIDTH, WIDTH])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _put(nodes: Any, weights: Any, path: Path, last: int, width: int = WIDTH) -> Path:
    faces = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
        for name in ("x0", f"x{last}")
    ]
    graph = helper.make_graph(nodes, "graph", faces[:1], faces[1:], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(made.SerializeToString())
    return path


def _told(start: float, cleaned: float, nodes: int) -> dict[str, float]:
    return {
        "clean": cleaned - start,
        "write": time.perf_counter() - cleaned,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "nodes": nodes,
    }


def _child(work: str, source: Path, target: Path) -> dict[str, float]:
    command = (sys.executable, "-m", "bench.sanitizing", work, str(source), str(target))
    done = subprocess.run(
        command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=_PATIENCE_S
    )
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    data = target / "model.onnx.data"
    if data.is_file():
        start = time.perf_counter()
        files.copy(data, source.parent / "copy")
        told["copy"] = time.perf_counter() - start
        (source.parent / "copy").unlink()
    return told


def _spread(rounds: list[dict[str, float]], key: str) -> str:
    found = [one[key] for one in rounds]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


if __name__ == "__main__":
    if sys.argv[1:]:
        work = {"clean": clean, "optimize": optimize}[sys.argv[1]]
        print(json.dumps(work(Path(sys.argv[2]), Path(sys.argv[3]))))
    else:
        main()
