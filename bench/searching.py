# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What the search of `precision: auto` costs on ResNet-50: `python -m bench.searching [images]`.

The network is that of bench/calibration.py: random weights, at 224x224, random images; neither
changes the work. The budget asks for more than plain INT8 gives, so that the search has to choose
layers. Passes are as decision.json counts them; time is that of the whole process of the stage,
against a bare pass of the float graph over the same samples, before and after it in the same run.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ruamel.yaml import YAML

from bench import calibration, chain
from bench.workspace import Workspace
from stages.backends.onnxruntime import run as onnxruntime

if TYPE_CHECKING:
    from bench.calibration import Figures

MODEL = calibration.MODEL
PLAIN, SEARCHED = f"{MODEL}-int8", f"{MODEL}-auto"
IMAGES = 32
# The budget: SQNR of plain INT8 and so many dB more.
MARGIN = 8.0
AIM = "<= 30"
LADDER = ("int8", "mixed", "fp16", "bf16", "fp32")
LEGEND = """
pass       every sample once; bare pass: of the float graph, ONNX Runtime, optimizations off, the
           start of its process left out; mean of one before the search and one after it
search     python -m stages.precision {engine}, whole process; the budget is the SQNR of plain
           INT8 (FP32 remainder) and {margin:g} dB more, on the calibration samples; remainder FP16
points     typed graphs measured on all samples; kept: layers left in FP16, of all that may be INT8
share      of multiply-accumulates in INT8, %"""


def main(images: int) -> None:
    """Make the project, search, print."""
    with tempfile.TemporaryDirectory() as folder:
        space = Workspace(Path(folder))
        project = space.clone("searching")
        _prepare(space, project, images)
        typed = project / "artifacts/onnx" / PLAIN / "typed" / "model.onnx"
        plain = _plain(project, typed)
        _ask(project, round(plain + MARGIN, 1))
        bare = [_bare(space, project, images)]
        spent = _spent()
        seconds = space.python(project, "-m", "stages.precision", SEARCHED)
        spent = _spent() - spent
        bare.append(_bare(space, project, images))
        found = project / "artifacts/search" / SEARCHED
        decision = json.loads((found / "decision.json").read_text())["decision"]
        points = len(json.loads((found / "path.json").read_text()))
    print(chain._machine() + f", load {os.getloadavg()[0]:.1f}")  # noqa: SLF001
    mean = {key: sum(one[key] for one in bare) / len(bare) for key in ("seconds", "cpu")}
    times = _times(seconds, spent, mean)
    rows = [*_passes(decision["passes"]), *times, *_choice(decision, points, plain)]
    chain.table((f"ResNet-50, {images} images", "measured", "aim"), rows)
    print(LEGEND.format(engine=SEARCHED, margin=MARGIN))


def _passes(passes: dict[str, float]) -> list[tuple[str, str, str]]:
    parts = [(f"  {name}", f"{value:.1f}", "") for name, value in passes.items()]
    return [("passes over the samples", f"{passes['total']:.1f}", AIM), *parts[:-1]]


def _times(seconds: float, spent: float, bare: Figures) -> list[tuple[str, str, str]]:
    return [
        ("search, s", f"{seconds:.1f}", ""),
        ("bare pass, s", f"{bare['seconds']:.2f}", ""),
        ("search / bare pass", f"{seconds / bare['seconds']:.1f}", AIM),
        ("  the same in seconds of the processor", f"{spent / bare['cpu']:.1f}", ""),
    ]


def _choice(decision: dict[str, Any], points: int, plain: float) -> list[tuple[str, str, str]]:
    low = decision["int8"]
    return [
        ("SQNR of plain INT8, dB", f"{plain:.1f}", ""),
        ("budget, dB", f"{decision['budget']['min_sqnr_db']:.1f}", ""),
        (f"SQNR of the choice ({decision['rung']}), dB", f"{decision['figures']['sqnr_db']}", ""),
        ("points measured", f"{points}", ""),
        ("layers kept", f"{low['of'] - low['nodes']} of {low['of']}", ""),
        ("share of INT8 compute, %", f"{100 * decision['int8_share']:.1f}", ""),
    ]


def _prepare(space: Workspace, project: Path, images: int) -> None:
    """Everything that the search takes, and the plain INT8 graph."""
    calibration._network(project / "models" / MODEL / "source")  # noqa: SLF001
    calibration._samples(project / "models" / MODEL, images)  # noqa: SLF001
    calibration._prepare(space, project)  # noqa: SLF001
    for stage in ("observe", "calibrate"):
        space.python(project, "-m", f"stages.{stage}", MODEL)
    space.python(project, "-m", "stages.precision", PLAIN)


def _ask(project: Path, decibels: float) -> None:
    """Add an engine that searches."""
    yaml, path = YAML(), project / "params.yaml"
    tree: Any = yaml.load(path)
    budget = {"max_accuracy_drop": None, "min_sqnr_db": decibels, "min_cosine": None}
    engine = dict(tree["engines"][PLAIN])
    auto = {"budget": budget, "objective": "estimate", "ladder": list(LADDER)}
    tree["engines"][SEARCHED] = engine | {"precision": "auto", "remainder": "fp16", "auto": auto}
    yaml.dump(tree, path)


def _spent() -> float:
    """Seconds of the processor of all processes that this one waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _bare(space: Workspace, project: Path, images: int) -> Figures:
    """A pass of the clean graph in a process of its own, without its start."""
    found = calibration.contest(space, project, "forward-plain", MODEL, images)
    if found is None:
        sys.exit("there is not enough memory for a forward pass")
    return found


def _plain(project: Path, typed: Path) -> float:
    """SQNR of the plain INT8 graph on the calibration samples, dB."""
    with np.load(project / "models" / MODEL / "samples/calibration/000.npz") as arrays:
        images = arrays["image"]
    expected = _infer(project / "artifacts/onnx" / MODEL / "clean" / "model.onnx", images)
    noise = np.square(expected - _infer(typed, images)).sum()
    return 10 * math.log10(np.square(expected).sum() / noise)


def _infer(graph: Path, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Outputs of all images, float64."""
    session = onnxruntime.session(graph, threads=len(os.sched_getaffinity(0)))
    step = calibration.BATCH
    parts = [images[at : at + step] for at in range(0, len(images), step)]
    found = [session.run(None, {"image": part})[0] for part in parts]
    return np.concatenate(found).astype(np.float64)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
