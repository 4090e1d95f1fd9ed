# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Whether what lies here is what was recorded: by facts (SHA-256) and dvc.lock (MD5)."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib import errors, files, layout, lockfile, schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from stages.lib.params import Params
    from stages.verification.rebuilding import Step

_INERT = "stages/lib/"  # it decides nothing about an output
_SINCE = (
    "{step} has run since DVC recorded it: it failed, or ran without DVC (or dvc.lock is edited)"
)


def check(steps: Sequence[Step], lock: lockfile.Lock, document: Params) -> dict[Step, list[Path]]:
    """The recorded outputs of each step, once it is sure that they are what was recorded.

    Args:
        steps: what was recorded.
        lock: dvc.lock, as `lockfile.read` gives it.
        document: params.yaml.

    Raises:
        IntegrityError: an output, its facts or dvc.lock is not what a stage wrote.
        ArtifactError: a stage has not run, or what it read has changed since.
    """
    tree, digest = lockfile.Tree(), functools.cache(files.sha256)
    unbuilt = [str(step) for step in steps if str(step) not in lock]
    if unbuilt:
        msg = f"dvc.lock records no run of {', '.join(unbuilt)}"
        raise errors.ArtifactError(msg, mend="`make repro`, then verify again")
    changed: list[str] = []
    tampered: list[str] = []
    for step in steps:
        told = _facts(step)
        changed += _changed(step, told, document, digest)
        tampered += _tampered(step, told, digest)
        found = lockfile.compare(lock, str(step), tree, document)
        known = [(one, _known(one, told, digest)) for one in found]
        edited = [str(one) for one, true in known if one.kind == "out" or true]
        edited += _unlisted(step, told, lock)
        if any(true for _, true in known) and any(one.kind == "out" for one in found):
            changed += [_SINCE.format(step=step), *edited]
        else:
            tampered += edited
        changed += [str(one) for one, true in known if true is None and one.kind != "out"]
    if tampered:
        msg = "what lies here is not what the stages wrote:\n\n" + _lines(tampered)
        mend = "`git diff dvc.lock`; `dvc checkout --force` or `dvc repro` restores what it records"
        raise errors.IntegrityError(msg, mend=mend)
    if changed:
        msg = "what the stages read has changed since they ran:\n\n" + _lines(changed)
        mend = "`dvc repro`, then verify again; or `git stash`, to verify what was recorded"
        raise errors.ArtifactError(msg, mend=mend)
    return {step: [Path(out["path"]) for out in lock[str(step)]["outs"]] for step in steps}


def _facts(step: Step) -> Any:
    if step.stage == "package":  # it leaves a manifest
        return {"inputs": {}, "outputs": {}, "params": {}, "code": {}}
    path = layout.facts(step.stage, step.name)
    told = files.read_json(path)
    if found := schema.problems(told, schema.read(layout.schema("facts"))):
        msg = f"{path} is not what {step} wrote: {found[0].message}"
        raise errors.IntegrityError(msg, mend=f"`dvc checkout --force {path}`, or `dvc repro`")
    return told


def _changed(
    step: Step, told: Any, document: Params, digest: Callable[[Path], str]
) -> Iterator[str]:
    """Inputs, code and params that are not what the stage read."""
    read = {**told["inputs"], **told["code"]}
    for name, was in read.items():
        if name.startswith(_INERT):
            continue
        if not Path(name).is_file() or digest(Path(name)) != was:
            yield f"{name} (read by {step})"
    for key, was in told["params"].items():
        try:
            now = document.param(key)
        except errors.ParamsError:
            now = None
        if now != was:
            yield f"{key} in params.yaml (read by {step}): {was!r} became {now!r}"


def _tampered(step: Step, told: Any, digest: Callable[[Path], str]) -> Iterator[str]:
    for name, was in told["outputs"].items():
        if not Path(name).is_file():
            yield f"{name} is missing; {step} wrote it"
        elif (found := digest(Path(name))) != was:
            yield f"{name} has the SHA-256 {found}; {step} wrote {was}"


def _unlisted(step: Step, told: Any, lock: lockfile.Lock) -> Iterator[str]:
    """What facts name and dvc.lock does not: its lines were taken out."""
    entry = lock[str(step)]
    for key, kind, titles in (("outs", "out", ("outputs",)), ("deps", "dep", ("inputs", "code"))):
        listed = [record["path"] for record in entry.get(key, [])]
        for name in (name for title in titles for name in told[title]):
            if not name.startswith(_INERT) and not _covered(name, listed, "/"):
                yield f"{name} ({kind} of {step}): dvc.lock has no entry of it"
    given = list(entry.get("params", {}).get(layout.PARAMS.name, {}))
    for name in told["params"]:
        if not _covered(name, given, "."):
            yield f"{name} (param of {step}): dvc.lock has no entry of it"
    if step.command != entry.get("cmd"):
        yield f"cmd of {step}: dvc.lock says {entry.get('cmd')!r}, not {step.command!r}"


def _covered(name: str, listed: Sequence[str], separator: str) -> bool:
    """Whether a name, or what it lies in, is listed."""
    return any(f"{name}{separator}".startswith(f"{entry}{separator}") for entry in listed)


def _known(
    difference: lockfile.Difference, told: Any, digest: Callable[[Path], str]
) -> bool | None:
    """Whether facts bear out what is there now: dvc.lock was edited. None: facts are silent."""
    if difference.kind == "param":
        if difference.path not in told["params"]:
            return None
        return bool(told["params"][difference.path] == difference.found)
    said = {**told["inputs"], **told["code"]}
    below = f"{difference.path}/"
    known = {n: was for n, was in said.items() if n == difference.path or n.startswith(below)}
    if not known:
        return None
    return all(Path(name).is_file() and digest(Path(name)) == was for name, was in known.items())


def _lines(found: Sequence[str]) -> str:
    return "\n".join(f"  {line}" for line in dict.fromkeys(found))
