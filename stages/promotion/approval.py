# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Versions and approvals: Git tags in the form of GTO (github.com/treeverse/gto, 1.10).

<engine>@v1.2.0         registers a version       <engine>@v1.2.0!        takes that back
<engine>#production     assigns to a stage        <engine>#production!    takes that back
<engine>@deprecated     takes back all before it

Each may end in #<number>, as `gto` itself counts them. A tag stands for a package only if the
dvc.lock of its commit records that very package: a tag of another build approves nothing.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.lib import errors, files, layout, lockfile
from stages.promotion import git

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SEMVER = r"v(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?"
_TAG = re.compile(
    rf"(?P<name>[^@#!]+)"
    rf"(?:@deprecated|(?:#(?P<stage>[^@#!]+)|@(?P<version>{_SEMVER}))(?P<undone>!?))"
    r"(?:#(?P<number>\d+))?"
)
_FIELDS = "%(refname:strip=2)%00%(objectname)%00%(*objectname)%00%(taggername) %(taggeremail)%00"
_FIELDS += "%(creatordate:unix)"
_TRIED = 50  # tags of versions; each costs reading a dvc.lock


@dataclass(frozen=True, kw_only=True)
class Tag:
    """A tag of an engine: its commit, and who made it, empty for a lightweight tag.

    One without a stage or a version takes back all before it.
    """

    tag: str
    commit: str
    by: str
    stage: str | None
    version: str | None
    undone: bool
    order: tuple[int, float]


def tags(engine: str) -> list[Tag]:
    """All tags of an engine, the oldest first.

    Raises:
        HistoryError: there is no git.
    """
    told = git.ask("for-each-ref", f"--format={_FIELDS}", "refs/tags") or b""
    # Not splitlines: names may hold what Python, but not Git, takes for the end of a line.
    rows = told.decode("utf-8", "backslashreplace").split("\n")[:-1]
    return sorted(_parsed(engine, rows), key=lambda tag: tag.order)


def _parsed(engine: str, rows: list[str]) -> Iterator[Tag]:
    for row in rows:
        name, made, peeled, by, when = row.split("\0")
        match = _TAG.fullmatch(name)
        if match and match["name"] == engine:
            yield Tag(
                tag=name,
                commit=peeled or made,
                by=by.strip(),
                stage=match["stage"],
                version=match["version"],
                undone=bool(match["undone"]),
                order=(int(when or 0), _number(match)),
            )


def _number(match: re.Match[str]) -> float:
    """Place among the tags of one second; what takes back without a number has the last word."""
    if match["number"]:
        return int(match["number"])
    gives = (match["stage"] or match["version"]) and not match["undone"]
    return 0 if gives else math.inf


def version(found: list[Tag], package: dict[str, Any]) -> Tag | None:
    """The highest version whose commit records this package (`recorded`); None if there is none."""
    standing = _standing(found, lambda tag: tag.version)
    ordered = sorted(standing.values(), key=_rank, reverse=True)[:_TRIED]
    return next((tag for tag in ordered if _stands_for(tag, package)), None)


def assigned(found: list[Tag], stage: str) -> Tag | None:
    """What is assigned to a stage now: the last assignment that was not taken back."""
    standing = _standing(found, lambda tag: tag.commit if tag.stage == stage else None)
    return list(standing.values())[-1] if standing else None


def _standing(found: list[Tag], subject: Callable[[Tag], str | None]) -> dict[str, Tag]:
    """The last tag on each subject, in the order in which they were made, unless taken back."""
    standing: dict[str, Tag] = {}
    for tag in found:
        if tag.stage is None and tag.version is None:
            standing.clear()
        elif (about := subject(tag)) is not None:
            standing.pop(about, None)
            if not tag.undone:
                standing[about] = tag
    return standing


def stage(found: list[Tag], name: str, package: dict[str, Any]) -> tuple[Tag | None, str]:
    """The tag that assigns this package to a stage, if it is this one; and what is found."""
    tag = assigned(found, name)
    if tag is None:
        return None, f"nothing is assigned to {name}"
    if not _stands_for(tag, package):
        return None, f"{tag.tag} is of commit {tag.commit[:12]}, whose dvc.lock records another"
    return tag, tag.tag


def recorded(engine: str) -> dict[str, Any] | None:
    """Engine, and what dvc.lock of the checkout records of its package; None if nothing.

    `integrity.check` has compared it with the files.
    """
    try:
        return _recorded(engine, lockfile.read())
    except errors.IntegrityError:
        return None


def _recorded(engine: str, lock: lockfile.Lock) -> dict[str, Any] | None:
    path = layout.package(engine).as_posix()
    for record in lock.get(f"package@{engine}", {}).get("outs", []):
        if record["path"] == path:
            return {"engine": engine, **lockfile.recorded(record)}
    return None


def _stands_for(tag: Tag, package: dict[str, Any]) -> bool:
    data = git.ask("show", f"{tag.commit}:./{layout.LOCK}")
    if data is None:
        return False
    with files.scratch() as folder:
        path = folder / layout.LOCK
        path.write_bytes(data)
        try:
            return _recorded(package["engine"], lockfile.read(path)) == package
        except errors.IntegrityError:
            return False


def _rank(tag: Tag) -> tuple[Any, ...]:
    """Order of versions (semver.org, 11): a pre-release stands before its release."""
    match = re.fullmatch(_SEMVER, tag.version or "")
    assert match
    parts = [] if match[4] is None else match[4].split(".")
    words = tuple((not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in parts)
    return (int(match[1]), int(match[2]), int(match[3]), match[4] is None, words)
