# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Git, as far as promotion asks it: by its own command, which every checkout has."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Self

from stages.lib import errors

if TYPE_CHECKING:
    from types import TracebackType

# Replaced objects would let one commit pass for another.
_GIT = ("git", "--no-replace-objects")
_LONGEST = 200  # schemas/pointer.schema.json


def ask(*words: str) -> bytes | None:
    """Output of a git command in the current folder; None if it fails.

    Raises:
        HistoryError: there is no git.
    """
    try:
        done = subprocess.run([*_GIT, *words], capture_output=True, check=False)
    except FileNotFoundError:
        mend = "install it (`apt-get install git`), and promote from a clone of the project"
        raise errors.HistoryError("git is not installed", mend=mend) from None
    return done.stdout if done.returncode == 0 else None


def line(*words: str) -> str | None:
    """The one line that a git command prints; None if it fails or prints nothing."""
    found = ask(*words)
    return found.decode("utf-8", "backslashreplace").strip() or None if found else None


def who() -> str:
    """Name and e-mail address of who promotes, as commits have them.

    Raises:
        HistoryError: Git does not know, or it is too long for a record.
    """
    told = line("var", "GIT_COMMITTER_IDENT")  # "Name <address> seconds zone"
    if told is None or line("rev-parse", "--git-dir") is None:
        msg = "a promotion says who made it, and Git does not know who you are"
        mend = "in a clone of the project, `git config user.name` and `git config user.email`"
        raise errors.HistoryError(msg, mend=mend)
    who = told[: told.rindex(">") + 1]
    if len(who) > _LONGEST:
        msg = f"Git's name and address of you have {len(who)} characters; a record takes {_LONGEST}"
        raise errors.HistoryError(msg, mend="`git config user.name`, a shorter one")
    return who


class Objects:
    """A `git cat-file` that stays, since thousands of objects are asked for."""

    def __init__(self, *, contents: bool) -> None:
        """Start it; without contents only ids are asked for, which is quicker."""
        self._contents = contents
        mode = "--batch" if contents else "--batch-check"
        self._process = subprocess.Popen(
            [*_GIT, "cat-file", mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def get(self, name: str) -> tuple[str, bytes] | None:
        """Id and contents of an object such as `HEAD:./params.yaml`; None if there is none."""
        ask, answer = self._process.stdin, self._process.stdout
        assert ask
        assert answer
        ask.write(name.encode() + b"\n")
        ask.flush()
        told, _, size = answer.readline().decode().strip().rpartition(" ")
        if not size.isdigit():  # "<name> missing", "<name> ambiguous"
            return None
        data = answer.read(int(size) + 1)[:-1] if self._contents else b""
        return told.split()[0], data
