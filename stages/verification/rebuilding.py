# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The stages once more, in a temporary folder that links to the project and writes none of it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.lib import errors, layout

if TYPE_CHECKING:
    from pathlib import Path

    from stages.lib.params import Params

_LINKED = ("models", layout.LOCKS, "schemas", "stages")
# Temporary folders of stages: inside, so that they go with the project when a stage is killed.
_SCRATCH = "tmp"
_MEND = "as the stage says above, here and not in the temporary folder; then verify again"


@dataclass(frozen=True)
class Step:
    """One stage of one model or engine."""

    stage: str
    name: str

    def __str__(self) -> str:
        """As DVC names it."""
        return f"{self.stage}@{self.name}"

    @property
    def command(self) -> str:
        """As dvc.yaml has it."""
        return f"python -m stages.{self.stage} {self.name}"


def steps(document: Params, engines: list[str]) -> list[Step]:
    """The stages behind `engines`, in an order in which they can run; each once."""
    of_model = {
        model: [Step(stage, model) for stage in layout.MODEL_STAGES]
        for model in (document.param(f"engines.{engine}.model") for engine in engines)
    }
    ending = (*layout.ENGINE_STAGES, "package")
    of_engine = [Step(stage, engine) for engine in engines for stage in ending]
    return [step for steps in of_model.values() for step in steps] + of_engine


def project(folder: Path, root: Path, params: bytes) -> None:
    """Make a project of `folder`: code and models linked to those of `root`, no artifacts yet."""
    for name in _LINKED:
        (folder / name).symlink_to(root / name, target_is_directory=True)
    (folder / layout.PARAMS).write_bytes(params)
    (folder / layout.ARTIFACTS).mkdir()
    (folder / _SCRATCH).mkdir()


def run(step: Step, folder: Path) -> None:
    """Run one stage in a project.

    Raises:
        EngineryError: the stage does, or ends in another way; with all that it printed.
    """
    done = subprocess.run(
        [sys.executable, "-B", "-m", f"stages.{step.stage}", step.name],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder / _SCRATCH)},  # noqa: TID251 (no output has it)
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        text=True,
        errors="replace",
    )
    if not done.returncode:
        return
    kinds = {kind.exit_code: kind for kind in errors.EngineryError.__subclasses__()}
    kind = kinds.get(done.returncode, errors.BuildError)
    text = done.stdout.strip() or f"it ended with status {done.returncode}"
    error = kind(f"{step} was recorded, and fails when it is run again:\n\n{text}", mend=_MEND)
    error.usually = ""  # the stage has said it
    raise error


def go_on_from(recorded: Path, rebuilt: Path) -> None:
    """Put the recorded output where another was made, or none: each stage is judged by itself."""
    if rebuilt.exists():
        rebuilt.rename(rebuilt.with_name(f"{rebuilt.name}.other"))
    rebuilt.symlink_to(recorded, target_is_directory=recorded.is_dir())
