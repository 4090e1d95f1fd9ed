# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Temporary clones of the working tree, and of its pipeline with commands that do nothing."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages import variant

ROOT = Path(__file__).resolve().parents[1]
# Stands for every command in the pipeline that shows what DVC alone costs.
COPY_OUTPUTS = """\
for out; do mkdir -p "$(dirname "$out")"; cp -R "../finished/$out" "$out"; done
"""
_GIT = ("git", "-c", "user.name=bench", "-c", "user.email=bench", "-c", "core.hooksPath=/dev/null")


class Workspace:
    """A temporary folder, whose path has spaces, with clones of the project side by side."""

    def __init__(self, folder: Path) -> None:
        """Copy the working tree, uncommitted files included, and commit it there."""
        self.folder = folder / "bench of enginery"
        self.environment = _environment(self.folder)
        self._tree = self.folder / "tree"
        variant.clone(ROOT, self._tree)
        (self.folder / "outputs.sh").write_text(COPY_OUTPUTS)
        for words in (["add", "-A"], ["commit", "-qm", "tree", "--no-gpg-sign"]):
            self.run(self._tree, *_GIT, *words)

    def clone(self, name: str) -> Path:
        """A fresh clone, without a DVC cache."""
        target = self.folder / name
        shutil.rmtree(target, ignore_errors=True)
        self.run(self.folder, "git", "clone", "-q", str(self._tree), str(target))
        return target

    def skeleton(self, name: str) -> Path:
        """A fresh clone with the same stages, deps, params and outs; commands copy the outs."""
        target = self.clone(name)
        yaml = YAML(typ="safe")
        pipeline = yaml.load(target / "dvc.yaml")
        for stage in pipeline["stages"].values():
            body = stage.get("do", stage)
            body["cmd"] = shlex.join(["sh", "../outputs.sh"]) + " " + " ".join(_outs(body))
        yaml.dump(pipeline, target / "dvc.yaml")
        return target

    def finish(self, clone: Path) -> None:
        """Keep the outputs of a finished clone, for skeletons to copy."""
        shutil.copytree(clone / "artifacts", self.folder / "finished" / "artifacts")

    def python(self, folder: Path, *words: str) -> float:
        """Seconds that this interpreter takes for `words` in `folder`."""
        return self.run(folder, sys.executable, *words)

    def run(self, folder: Path, *words: str) -> float:
        """Seconds that a command takes; its output is shown only if it fails."""
        start = time.perf_counter()
        done = subprocess.run(
            words,
            cwd=folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        seconds = time.perf_counter() - start
        if done.returncode:
            tail = "\n".join(done.stdout.decode(errors="replace").splitlines()[-40:])
            sys.exit(f"{shlex.join(words)} in {folder} exited with {done.returncode}:\n\n{tail}")
        return seconds


def _environment(folder: Path) -> dict[str, str]:
    """As the Makefile has it, and nothing of DVC outside `folder`."""
    here = dict(os.environ)  # noqa: TID251  stages are functions of params, a benchmark is not
    path = [str(Path(sys.executable).parent), here.get("PATH", os.defpath)]
    kept = {key: value for key, value in here.items() if not key.startswith(("DVC_", "GIT_"))}
    dvc = {
        f"DVC_{kind}": str(folder / "dvc" / kind)
        for kind in ("SITE_CACHE_DIR", "GLOBAL_CONFIG_DIR", "SYSTEM_CONFIG_DIR")
    }
    return {
        **kept,
        **dvc,
        "DVC_NO_ANALYTICS": "true",
        "PATH": os.pathsep.join(path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _outs(body: dict[str, Any]) -> list[str]:
    return [out for kind in ("outs", "metrics", "plots") for out in body.get(kind, [])]
