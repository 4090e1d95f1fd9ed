# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A clone of this project in a temporary folder, in which the real chain runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stages import variant

ROOT = Path(__file__).parent.parent
OF_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS")
RAN = re.compile(r"^Running stage '([^']+)':$", re.MULTILINE)


class Clone:
    """A clone of the working tree, uncommitted files included."""

    def __init__(self, root: Path) -> None:
        self.root = root
        variant.clone(ROOT, root)
        # Only the installation is taken over; CI makes it from the lock before it comes here.
        (root / ".venv").symlink_to(sys.prefix)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "clone")

    @classmethod
    def of(cls, root: Path) -> Clone:
        """A clone that Git made."""
        clone = cls.__new__(cls)
        clone.root = root
        return clone

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        # Under `make test` a `make` in the clone would be a part of it, and say so in its output.
        here = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**here, "PATH": paths, "DVC_NO_ANALYTICS": "true"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
            timeout=900,
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(command)} returned {done.returncode}:\n{done.stdout}")
        return done

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        return self.run("git", *who, *arguments).stdout

    def dvc(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "dvc", *arguments, check=check)

    def repro(self, *arguments: str) -> list[str]:
        """Names of the stages that ran."""
        return RAN.findall(self.dvc("repro", "--keep-going", *arguments).stdout)

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.root / file
        text = path.read_text()
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new, 1))

    def comment(self, file: str) -> None:
        with (self.root / file).open("a") as stream:
            stream.write("\n# A comment that changes nothing.\n")

    def status(self) -> str:
        return self.git("status", "--porcelain")

    def restore(self) -> None:
        """Back to the commit; DVC takes everything from its cache."""
        self.git("checkout", "--quiet", "--", ".")
        assert not [s for s in self.repro() if s.startswith(("build", "validate", "observe"))]
        assert not self.status()

    def keep(self, engines: tuple[str, ...]) -> None:
        """Take all other engines out of params.yaml."""
        path = self.root / "params.yaml"
        lines = path.read_text().split("\n")
        begin = lines.index("engines:")
        end = next(i for i, line in enumerate(lines) if line.startswith("# Build: "))
        kept: list[str] = []
        engine = ""
        for line in lines[begin + 1 : end]:
            if match := re.fullmatch(r"  ([a-z0-9-]+):", line):
                engine = match[1]
            if not engine or engine in engines:
                kept.append(line)
        path.write_text("\n".join([*lines[: begin + 1], *kept, "", *lines[end:]]))
