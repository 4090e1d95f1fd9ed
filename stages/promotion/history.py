# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The commit that an engine was made from: the newest one that holds all code that ran, together.

A package names the SHA-256 of each code file, and no commit, since the same code in another commit
makes the same bytes. So the commit is searched, from HEAD back.
"""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.promotion import git

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SHOWN = 5
_AGAIN = "`dvc repro --force package@{}`"

Code = dict[str, set[str]]


@dataclass(frozen=True)
class Search:
    """The commit that was found; else None, and why there is none."""

    commit: str | None
    reason: str | None


def code(provenance: Mapping[str, Any]) -> Code:
    """SHA-256 of the code that ran, by path; more than one where stages ran different versions."""
    found: Code = {}
    for item in provenance["predicate"]["buildDefinition"]["resolvedDependencies"]:
        if item["annotations"]["role"] == "code":
            found.setdefault(item["name"], set()).add(item["digest"]["sha256"])
    return found


def search(wanted: Code, engine: str) -> Search:
    """Find the newest commit, HEAD or before it, in which every file is as it ran.

    Args:
        wanted: SHA-256 of the code that ran, by path.
        engine: what it made, for messages.

    Raises:
        HistoryError: there is no git.
    """
    if twice := [path for path in sorted(wanted) if len(wanted[path]) > 1]:
        reason = f"stages ran different versions of {_listed(twice)}, which no commit can hold at"
        return Search(None, f"{reason} once; {_AGAIN.format(engine)} runs all of them with one")
    if git.line("rev-parse", "--verify", "HEAD") is None:
        return Search(None, "there is no commit here: promote from a clone of the project")
    nearest: tuple[list[str], str] | None = None
    met: set[str] = set()
    for commit, held in _states(sorted(wanted)):
        differ = [path for path, digest in held.items() if digest not in wanted[path]]
        met |= held.keys() - set(differ)
        if not differ:
            return Search(commit, None)
        if nearest is None or len(differ) < len(nearest[0]):
            nearest = (differ, commit)
    return Search(None, _reason(wanted, met, nearest, engine))


def _states(paths: list[str]) -> Iterator[tuple[str, dict[str, str | None]]]:
    """Commits from HEAD back whose code is another: SHA-256 by path, None where it is absent."""
    seen: set[tuple[str | None, ...]] = set()
    folders = sorted({path.partition("/")[0] for path in paths})
    digests: dict[str, str] = {}
    with git.Objects(contents=False) as names, git.Objects(contents=True) as contents:

        def name(what: str) -> str | None:
            found = names.get(what)
            return found[0] if found else None

        def digest(blob: str | None) -> str | None:
            if blob is not None and blob not in digests:
                found = contents.get(blob)
                digests[blob] = hashlib.sha256(found[1] if found else b"").hexdigest()
            return None if blob is None else digests[blob]

        for commit in _commits():
            state = tuple(name(f"{commit}:./{folder}") for folder in folders)
            if state not in seen:
                seen.add(state)
                yield commit, {path: digest(name(f"{commit}:./{path}")) for path in paths}


def _commits() -> Iterator[str]:
    words = ["git", "--no-replace-objects", "rev-list", "HEAD"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield from (line.strip() for line in process.stdout)
        finally:
            process.terminate()


def _reason(wanted: Code, met: set[str], nearest: tuple[list[str], str] | None, engine: str) -> str:
    never = sorted(wanted.keys() - met)
    if never:
        reason = f"no commit has {_listed(never)} as it ran: that code is not committed"
        mend = "commit it"
    else:
        differ, commit = nearest or ([], "")
        reason = f"no commit has all code that ran; the nearest, {commit[:12]}, differs in"
        reason, mend = f"{reason} {_listed(differ)}", f"{_AGAIN.format(engine)} at one commit"
    if git.line("rev-parse", "--is-shallow-repository") == "true":
        mend = f"{mend}, or `git fetch --unshallow`, since this clone lacks older commits"
    return f"{reason}; {mend}"


def _listed(paths: list[str]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(paths[:_SHOWN]) + more
