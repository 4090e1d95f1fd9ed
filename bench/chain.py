# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Speed of the chain, as ratios measured in one run: `make bench`, or `python -m bench.chain`.

Each round runs, one after another, the chain in a fresh clone of the working tree, the same work
in one plain script (bench/plain.py), and DVC alone: the same stages, deps, params and outs, where
each command copies the outs of a finished chain. So a machine that slows down slows all three.
Nothing is written outside a temporary folder, and nothing is judged: aims are shown.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench import startup
from bench.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.startup import Start

ROUNDS = 3
NOTHING_TO_DO = 5
REPRO = ("-m", "dvc", "repro", "--keep-going")
LEGEND = """
chain         python -m dvc repro --keep-going, in a fresh clone with an empty DVC cache
plain script  python -m bench.plain: the same library calls in one process, without DVC
DVC alone     dvc repro of the same pipeline, where each command is a `cp` of the stage's outs
starts        begin (below) of each stage, times its runs in the chain
make repro    python -m stages.check; dvc repro --keep-going; python -m stages.table
begin         interpreter, import of stages.<stage>, params.yaml read and checked; no teardown
whole         python -m stages.<stage>; what it opens by name (torch, tensorrt_rtx) is work"""

Times = dict[str, list[float]]


def main() -> None:
    """Measure everything and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        space = Workspace(Path(folder))
        full, same = whole_chain(space)
        idle = nothing_to_do(space)
        clone = space.folder / "chain"
        engine = startup.engine(clone)
        starts = startup.measure(space, clone, engine, ROUNDS)
    print(f"{_machine()}\n{ROUNDS} rounds; median (least to most), seconds unless said otherwise")
    show(full, idle, starts)
    print(f"\nplans of the plain script that equal the chain's byte for byte: {same}")
    show_starts(engine, starts)
    print(LEGEND)


def whole_chain(space: Workspace) -> tuple[Times, str]:
    """Seconds of each part, round by round, and how many plans came out equal."""
    times: Times = {name: [] for name in ("check", "chain", "table", "plain", "DVC")}
    plans = space.folder / "plans"
    plans.mkdir()
    for number in range(1, ROUNDS + 1):
        clone = space.clone("chain")
        times["check"].append(space.python(clone, "-m", "stages.check"))
        times["chain"].append(space.python(clone, *REPRO))
        times["table"].append(space.python(clone, "-m", "stages.table"))
        if number == 1:
            space.finish(clone)
        times["plain"].append(space.python(clone, "-m", "bench.plain", str(plans)))
        times["DVC"].append(space.python(space.skeleton("skeleton"), *REPRO))
        _tell(f"round {number} of {ROUNDS}: chain {times['chain'][-1]:.1f} s")
    return times, _same(plans, space.folder / "chain")


def nothing_to_do(space: Workspace) -> Times:
    """Seconds of `dvc repro` in a finished chain, and in the finished pipeline of DVC alone."""
    times: Times = {"chain": [], "DVC": []}
    for _ in range(NOTHING_TO_DO):
        times["chain"].append(space.python(space.folder / "chain", *REPRO))
        times["DVC"].append(space.python(space.folder / "skeleton", *REPRO))
    return times


def show(full: Times, idle: Times, starts: list[Start]) -> None:
    """The ratios, each taken within a round, and what they are made of."""
    runs = sum(start.runs for start in starts)
    begin = sum(start.runs * statistics.median(start.begin) for start in starts)
    rows = [
        ("chain", _seconds(full["chain"]), ""),
        ("plain script", _seconds(full["plain"]), ""),
        ("DVC alone", _seconds(full["DVC"]), ""),
        (f"starts of {runs} processes", f"{begin:.1f}", ""),
        ("(chain - DVC alone) / plain script", _ratio(full, lambda a, b, c: (a - c) / b), "<= 1.5"),
        (
            "(chain - DVC alone - starts) / plain script",
            _ratio(full, lambda a, b, c: (a - c - begin) / b),
            "",
        ),
        ("make repro", _seconds([sum(parts) for parts in _whole(full)]), "< 90"),
        ("nothing to do: chain", _seconds(idle["chain"]), ""),
        ("nothing to do: DVC alone", _seconds(idle["DVC"]), ""),
        ("nothing to do: chain / DVC alone", _ratio(idle, lambda a, b: a / b), "<= 1.2"),
    ]
    table(("", "measured", "aim"), rows)


def show_starts(engine: str, starts: list[Start]) -> None:
    """The share of each stage that is over before its work begins."""
    rows = []
    for start in starts:
        share = statistics.median(a / b for a, b in zip(start.begin, start.whole, strict=True))
        times = (_seconds(start.begin, 2), _seconds(start.whole, 2), f"{share:.0%}")
        rows.append((start.stage, str(start.runs), *times))
    table((f"stage, for {engine}", "runs", "begin", "whole", "share"), rows)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print columns; the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in [head, *rows]
    ]
    print("", lines[0], "-" * max(map(len, lines)), *lines[1:], sep="\n")


def _whole(full: Times) -> zip[tuple[float, ...]]:
    return zip(full["check"], full["chain"], full["table"], strict=True)


def _seconds(values: list[float], digits: int = 1) -> str:
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _ratio(times: Times, of: Callable[..., float]) -> str:
    rounds = zip(*(times[name] for name in ("chain", "plain", "DVC") if name in times), strict=True)
    return _seconds([of(*values) for values in rounds], 2)


def _same(plans: Path, clone: Path) -> str:
    found = sorted(plans.glob("*.plan"))
    theirs = [clone / "artifacts" / "engines" / plan.stem / "model.plan" for plan in found]
    equal = [a.read_bytes() == b.read_bytes() for a, b in zip(found, theirs, strict=True)]
    return f"{sum(equal)} of {len(equal)}"


def _machine() -> str:
    cores, python = len(os.sched_getaffinity(0)), platform.python_version()
    return f"{cores} cores, {platform.system()} {platform.machine()}, Python {python}"


def _tell(line: str) -> None:
    """Say something to who watches; stdout holds the table alone."""
    if sys.stderr.isatty():
        sys.stderr.write(line + "\n")


if __name__ == "__main__":
    main()
