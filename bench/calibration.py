# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of calibration on ResNet-50: `python -m bench.calibration [counts...]`.

The network is transformers' ResNet-50 with random weights, at 224x224; images are random too, for
neither changes the work. Each contestant (bench/contestants.py) is a process of its own, one after
another, in a temporary project. Seconds are of the work alone, after all imports; seconds of the
processor are shown beside them, since other programs disturb those less. Memory is the peak of the
whole process, and limited, so that the machine survives.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import chain
from bench.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "resnet50"
# Counts of images, and rounds of the stages and of the forward pass.
COUNTS = {32: 3, 256: 3}
# Images in a run of the stages and of the forward pass; the others choose their own.
BATCH = 4
SIDE = 224
MOST_MEMORY = 24 << 30
# Of the memory that is free when a contestant starts.
SHARE = 0.7
RIVALS = ("ort-minmax", "ort-percentile", "ort-entropy", "modelopt-max", "modelopt-entropy")
LEGEND = """
pass       python -m stages.observe: one data pass; ranges: python -m stages.calibrate, all methods
forward    each image once in batches of {batch}, ONNX Runtime, optimizations off as in the pass
optimized  the same with ONNX Runtime's own defaults
times      seconds of the work / those of forward; (CPU) the same with seconds of the processor
more       peak memory of the process - that of forward, MB; -: stopped, for want of memory"""

Figures = dict[str, float]


def main(counts: list[int]) -> None:
    """Make the project, run everybody, print."""
    with tempfile.TemporaryDirectory() as folder:
        space = Workspace(Path(folder))
        project = space.clone("calibration")
        _network(project / "models" / MODEL / "source")
        print(chain._machine() + f", load {os.getloadavg()[0]:.1f}")  # noqa: SLF001
        for count in counts:
            _samples(project / "models" / MODEL, count)
            _prepare(space, project)
            rows = list(_rows(space, project, count))
            chain.table((f"{count} images", "s", "times", "(CPU)", "peak MB", "more"), rows)
    print(LEGEND.format(batch=BATCH))


def _rows(space: Workspace, project: Path, count: int) -> Iterator[tuple[str, ...]]:
    rounds: list[dict[str, Figures]] = []
    for _ in range(COUNTS.get(count, 1)):
        figures = {
            name: contest(space, project, name, MODEL, count)
            for name in ("forward-plain", "observe", "calibrate", "forward")
        }
        rounds.append({name: found for name, found in figures.items() if found is not None})
    bare = {key: statistics.median(one["forward-plain"][key] for one in rounds) for key in _KEYS}
    for name, parts in (
        ("forward", ["forward-plain"]),
        ("forward, optimized", ["forward"]),
        ("enginery: pass", ["observe"]),
        ("enginery: pass and all ranges", ["observe", "calibrate"]),
    ):
        sums = [_together([one[part] for part in parts]) for one in rounds]
        pairs = zip(sums, (one["forward-plain"] for one in rounds), strict=True)
        ratios = [{key: a[key] / b[key] for key in _KEYS} for a, b in pairs]
        middle = {key: statistics.median(one[key] for one in sums) for key in _KEYS}
        yield _row(name, middle, bare, ratios)
    for name in RIVALS:
        found = contest(space, project, name, MODEL, count)
        if found is None:
            yield (name, "-", "-", "-", f"> {_most_memory() / 1e6:.0f}", "-")
        else:
            yield _row(name, found, bare, [{key: found[key] / bare[key] for key in _KEYS}])


_KEYS = ("seconds", "cpu", "peak")


def _row(name: str, own: Figures, bare: Figures, ratios: list[Figures]) -> tuple[str, ...]:
    wall, cpu = (sorted(one[key] for one in ratios) for key in ("seconds", "cpu"))
    spread = f" ({wall[0]:.1f} to {wall[-1]:.1f})" if len(wall) > 1 else ""
    return (
        name,
        f"{own['seconds']:.1f}",
        f"{statistics.median(wall):.1f}{spread}",
        f"{statistics.median(cpu):.1f}",
        f"{own['peak'] / 1e6:.0f}",
        f"{(own['peak'] - bare['peak']) / 1e6:+.0f}",
    )


def _together(parts: list[Figures]) -> Figures:
    """One after another: times add up, the larger peak counts."""
    return {
        "seconds": sum(part["seconds"] for part in parts),
        "cpu": sum(part["cpu"] for part in parts),
        "peak": max(part["peak"] for part in parts),
    }


def contest(
    space: Workspace, project: Path, contestant: str, model: str, count: int
) -> Figures | None:
    """Run a contestant; None where it wanted more memory than it may have."""
    words = [sys.executable, "-m", "bench.contestants", contestant, model, str(count)]
    done = subprocess.run(
        words,
        cwd=project,
        env=space.environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=_limit,
    )
    if done.returncode:
        text = done.stderr[-3000:]
        if any(sign in text for sign in ("MemoryError", "bad_alloc", "Failed to allocate")):
            return None
        sys.exit(f"{contestant} failed with {done.returncode}:\n{text}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def _limit() -> None:
    most = _most_memory()
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _most_memory() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    return min(MOST_MEMORY, int(free * 1024 * SHARE))


def _network(source: Path) -> None:
    """Export transformers' ResNet-50; in a process of its own, for torch takes memory."""
    source.mkdir(parents=True)
    words = (sys.executable, "-m", "bench.calibration", "--export", str(source / "model.onnx"))
    subprocess.run(words, check=True, stdout=sys.stderr, stderr=subprocess.DEVNULL)


def _export(path: str) -> None:
    import torch  # noqa: TID251  a benchmark has no doors
    import transformers

    torch.manual_seed(0)

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = transformers.ResNetForImageClassification(transformers.ResNetConfig())

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.net(image, return_dict=False)[0]
            return logits

    program = torch.onnx.export(
        Logits().eval(),
        (torch.zeros(2, 3, SIDE, SIDE),),
        dynamo=True,
        opset_version=20,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: "batch"},),
        verbose=False,
    )
    assert program is not None
    program.save(path, external_data=False)


def _samples(home: Path, count: int) -> None:
    """`count` images for calibration; of the other splits, which take no part, one each."""
    draw = np.random.default_rng(0)
    for split, size in (("probe", 1), ("calibration", count), ("validation", 1)):
        folder = home / "samples" / split
        folder.mkdir(parents=True, exist_ok=True)
        images = draw.standard_normal((size, 3, SIDE, SIDE), np.float32)
        np.savez(folder / "000.npz", image=images)


def _prepare(space: Workspace, project: Path) -> None:
    """The clean graph, by the stages; done once."""
    if (project / "artifacts/onnx" / MODEL / "clean").exists():
        return
    space.python(project, "-m", "stages.new", MODEL, "digits")
    settings(project, MODEL, threads=len(os.sched_getaffinity(0)), batch=BATCH)
    for stage in ("export", "sanitize"):
        space.python(project, "-m", f"stages.{stage}", MODEL)


def settings(project: Path, model: str, *, threads: int, batch: int) -> None:
    """Set what `stages.new` took over from another model."""
    from ruamel.yaml import YAML

    yaml, path = YAML(), project / "params.yaml"
    tree: Any = yaml.load(path)
    tree["models"][model]["threads"] = threads
    tree["models"][model]["observe"]["batch"] = batch
    yaml.dump(tree, path)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--export"]:
        _export(sys.argv[2])
    else:
        main([int(word) for word in sys.argv[1:]] or list(COUNTS))
