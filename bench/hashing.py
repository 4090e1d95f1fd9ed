# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Memory and rate of the check of a package with a plan of 4 GB: `python -m bench.hashing`.

The package is made of the examples of schemas/, in a temporary folder; its plan is a sparse file,
so that no disk is measured. The check runs in a process of its own, which says what it took.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from stages.bundle import integrity, manifest, provenance
from stages.lib import files

ROOT = Path(__file__).resolve().parents[1]
SIZE = 4_000_000_000
ROUNDS = 3
HEADER = b"vtrt" + bytes(20) + bytes([1, 7, 1, 116])


def main() -> None:
    """Make the package, have it checked, print."""
    seconds, memory = [], []
    with tempfile.TemporaryDirectory() as name:
        make(Path(name))
        for _ in range(ROUNDS):
            words = (sys.executable, "-m", "bench.hashing", name)
            told = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
            one, peak = map(float, told.stdout.split())
            seconds.append(one)
            memory.append(peak)
    middle = statistics.median(seconds)
    time_taken = f"{middle:.1f} s ({min(seconds):.1f} to {max(seconds):.1f})"
    rate = f"{SIZE / middle / 1e6:.0f} MB/s"
    print(f"package with a plan of {SIZE / 1e9:.0f} GB, checked in {time_taken}, {rate};", end=" ")
    print(f"peak memory {max(memory) / 1e6:.0f} MB, aim: < 200 MB")


def check(folder: Path) -> None:
    """Print the seconds that the check takes, and this process' peak memory in bytes."""
    start = time.perf_counter()
    integrity.check(folder)
    seconds = time.perf_counter() - start
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def make(folder: Path) -> None:
    """Write a package that is whole."""
    made = _example("manifest-rtx")
    plan = folder / made["plan"]["file"]
    plan.parent.mkdir()
    plan.write_bytes(HEADER)
    os.truncate(plan, SIZE)
    made["plan"].update(_entry(plan))
    report = _example("report-int8") | {"plan": _entry(plan)}
    files.write_json(folder / "report.json", report)
    verdict = _example("verdict-passed")
    verdict |= {"plan_sha256": made["plan"]["sha256"]}
    verdict |= {"report_sha256": files.sha256(folder / "report.json")}
    files.write_json(folder / "verdict.json", verdict)
    made |= manifest.judged(report, verdict)
    for name in made["files"].keys() - {provenance.FILE}:
        if not (folder / name).exists():
            (folder / name).write_text("# only hashed\n")
        made["files"][name] = _entry(folder / name)
    files.write_json(folder / provenance.FILE, provenance.make(made))
    made["files"][provenance.FILE] = _entry(folder / provenance.FILE)
    files.write_json(folder / manifest.FILE, made)


def _example(name: str) -> Any:
    return json.loads((ROOT / "schemas" / "examples" / "good" / f"{name}.json").read_bytes())


def _entry(path: Path) -> dict[str, Any]:
    return {"sha256": files.sha256(path), "bytes": path.stat().st_size}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        check(Path(sys.argv[1]))
    else:
        main()
