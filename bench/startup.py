# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What part of each stage is over before its work begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

if TYPE_CHECKING:
    from pathlib import Path

    from bench.workspace import Workspace

# Interpreter, imports of the stage's module, params.yaml read and checked; no teardown. What a
# stage opens by name once it runs, a framework or a builder's bindings, counts as work.
BEGIN = """
import os
import stages.{stage}
from stages.lib import params
params.load()
os._exit(0)
"""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Seconds of one stage, one value for each round.

    Attributes:
        stage: its name.
        runs: how often the chain runs it.
        begin: until its work could begin.
        whole: `python -m stages.<stage>`.
    """

    stage: str
    runs: int
    begin: list[float]
    whole: list[float]


def engine(clone: Path) -> str:
    """The first INT8 engine, which has work in every stage; else the first."""
    engines = _read(clone / "params.yaml")["engines"]
    quantized = [name for name, spec in engines.items() if spec["precision"] == "int8"]
    return [*quantized, *engines][0]


def measure(space: Workspace, clone: Path, name: str, rounds: int) -> list[Start]:
    """Run each stage of a finished clone by hand, for the engine `name` or its model."""
    params = _read(clone / "params.yaml")
    words = {"engines": [name], "models": [params["engines"][name]["model"]]}
    starts = []
    for stage, body in _read(clone / "dvc.yaml")["stages"].items():
        each = body.get("foreach", "").strip("${}")
        found = Start(stage=stage, runs=len(params[each]) if each else 1, begin=[], whole=[])
        for _ in range(rounds):
            found.begin.append(space.python(clone, "-c", BEGIN.format(stage=stage)))
            command = ("-m", f"stages.{stage}", *words.get(each, []))
            found.whole.append(space.python(clone, *command))
        starts.append(found)
    return starts


def _read(path: Path) -> Any:
    return YAML(typ="safe").load(path)
