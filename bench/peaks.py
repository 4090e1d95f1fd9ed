# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Time and peak memory of each stage on large models: `python -m bench.peaks [bert] [large]`.

`bert` is that of bench/bert.py (440 MB), `large` is the 4.3 GB model of bench/sanitizing.py;
weights are random. Each stage is a command of its own in a temporary project, with the settings of
the demo model; the plan that `validate` reads is a header only. `resident` counts weights that are
mapped from files, which the system may drop at any time; `own` does not.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from bench import bert, chain, sanitizing
from bench.hashing import HEADER
from bench.workspace import Workspace

SAMPLES = {"probe": 2, "calibration": 8, "validation": 8}
_EVERY_S = 0.02
# ONNX Runtime maps weights as memory that it may write, which counts though it is never used.
_LIMIT_MIB = 32768


def main(names: list[str]) -> None:
    """Run every stage on each model, print."""
    for name in names or ["bert", "large"]:
        with tempfile.TemporaryDirectory() as folder:
            space = Workspace(Path(folder))
            project = space.clone("peaks")
            _prepare(space, project, name)
            rows = [_row(space, project, *words) for words in _commands(project, name)]
            chain.table((name, "s", "resident MB", "own MB"), rows)


def _prepare(space: Workspace, project: Path, name: str) -> None:
    home = project / "models" / name
    rng = np.random.default_rng(0)
    if name == "large":
        sanitizing.large(home / "source")
        key = "x0"
        array: Any = rng.standard_normal((8, sanitizing.WIDTH), np.float32)
    else:
        bert.write(home / "source")
        key, array = "ids", rng.integers(0, bert.WORDS, (8, bert.LENGTH))
    for split, count in SAMPLES.items():
        (home / "samples" / split).mkdir(parents=True)
        path = home / "samples" / split / "000.npz"
        np.savez(path, allow_pickle=False, **{key: array[:count]})
    space.python(project, "-m", "stages.new", name, "digits")
    yaml, path = YAML(), project / "params.yaml"
    document = yaml.load(path)
    document["models"][name]["limits"]["memory_mib"] = _LIMIT_MIB
    yaml.dump(document, path)


def _commands(project: Path, name: str) -> list[tuple[str, str]]:
    for kind in ("fp16", "int8"):
        plan = project / "artifacts/engines" / f"{name}-{kind}" / "model.plan"
        plan.parent.mkdir(parents=True)
        plan.write_bytes(HEADER)
    engines = [
        (stage, f"{name}-{kind}")
        for kind in ("fp16", "int8")
        for stage in ("precision", "validate")
    ]
    return [(stage, name) for stage in ("export", "sanitize", "observe", "calibrate")] + engines


def _row(space: Workspace, project: Path, stage: str, name: str) -> tuple[str, ...]:
    start = time.perf_counter()
    words = (sys.executable, "-m", f"stages.{stage}", name)
    running = subprocess.Popen(
        words, cwd=project, env=space.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    resident = own = 0
    while running.poll() is None:
        now = [_memory(process) for process in (running.pid, *_children(running.pid))]
        resident = max(resident, sum(all_of_it for all_of_it, _ in now))
        own = max(own, sum(anonymous for _, anonymous in now))
        time.sleep(_EVERY_S)
    seconds = time.perf_counter() - start
    said = running.communicate()[0].decode().strip().splitlines()
    if running.returncode:
        print("\n".join(said[-10:]))
    return (f"{stage} {name}", f"{seconds:.1f}", f"{resident / 1e6:.0f}", f"{own / 1e6:.0f}")


def _children(process: int) -> list[int]:
    try:
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def _memory(process: int) -> tuple[int, int]:
    """Resident and anonymous bytes of a process (proc(5): status)."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0, 0
    sizes = dict(line.split(":", 1) for line in lines if line.startswith(("VmRSS", "RssAnon")))
    resident, own = (int(sizes.get(key, "0").split()[0]) << 10 for key in ("VmRSS", "RssAnon"))
    return resident, own


if __name__ == "__main__":
    main(sys.argv[1:])
