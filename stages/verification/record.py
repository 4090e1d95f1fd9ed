# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Whether what lies here is what was recorded: by facts (SHA-256) and dvc.lock (MD5)."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib import errors, files, layout, lockfile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from stages.lib.params import Params
    from stages.verification.rebuilding import Step


def check(steps: Sequence[Step], document: Params) -> dict[Step, list[Path]]:
    """The recorded outputs of each step, once it is sure that they are what was recorded.

    Raises:
        IntegrityError: an output, its facts or dvc.lock is not what a stage wrote.
        ArtifactError: a stage has not run, or what it read has changed since.
    """
    lock, tree, digest = lockfile.read(), lockfile.Tree(), functools.cache(files.sha256)
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
        tampered += _unlisted(step, told, lock)
        for difference in lockfile.compare(lock, str(step), tree, document):
            known = _known(difference, told, digest)
            if difference.kind == "out" or known:
                tampered.append(str(difference))
            elif known is None:
                changed.append(str(difference))
    if tampered:
        msg = "what lies here is not what the stages wrote:\n\n" + _lines(tampered)
        mend = "`git diff dvc.lock`; `dvc checkout --force` restores what dvc.lock records"
        raise errors.IntegrityError(msg, mend=mend)
    if changed:
        msg = "what the stages read has changed since they ran:\n\n" + _lines(changed)
        mend = "`dvc repro`, then verify again; or `git stash`, to verify what was recorded"
        raise errors.ArtifactError(msg, mend=mend)
    return {step: [Path(out["path"]) for out in lock[str(step)]["outs"]] for step in steps}


def _facts(step: Step) -> Any:
    if step.stage == "package":  # it leaves a manifest
        return {"inputs": {}, "outputs": {}, "params": {}, "code": {}}
    return files.read_json(layout.facts(step.stage, step.name))


def _changed(
    step: Step, told: Any, document: Params, digest: Callable[[Path], str]
) -> Iterator[str]:
    """Inputs, code and params that are not what the stage read; lib/ decides nothing."""
    read = {**told["inputs"], **told["code"]}
    for name, was in read.items():
        if name.startswith("stages/lib/"):
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
    """Outputs that facts name and dvc.lock does not: their lines were taken out."""
    listed = [out["path"] for out in lock[str(step)].get("outs", [])]
    for name in told["outputs"]:
        if not any(name == path or name.startswith(f"{path}/") for path in listed):
            yield f"{name} (out of {step}): dvc.lock has no entry of it"


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
