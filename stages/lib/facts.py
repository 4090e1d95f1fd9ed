# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""facts.json: what a stage says about its own run, so that `package` can prove the chain."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib import errors, files, layout, pins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from stages.lib.params import Params

SCHEMA_VERSION = 1


def code(more: Iterable[Path] = ()) -> dict[str, str]:
    """SHA-256 of each file of `stages` that this process has imported, and of `more`, by path."""
    root = Path.cwd()
    ran = {path.as_posix(): files.sha256(path) for path in more if path.stat().st_size}
    for name, module in sorted(sys.modules.items()):
        origin = getattr(module, "__file__", None)
        if origin and (name in ("stages", "__main__") or name.startswith("stages.")):
            path = Path(origin)
            if path.is_relative_to(root / "stages") and path.stat().st_size:
                ran[path.relative_to(root).as_posix()] = files.sha256(path)
    return dict(sorted(ran.items()))


def outdated(document: Params, stage: str, name: str, digest: Callable[[Path], str]) -> str | None:
    """Why what a stage wrote is not of the present files and params; None if it is.

    Args:
        document: the params of now.
        stage: name of the stage.
        name: the model or engine.
        digest: SHA-256 of a file; the caller may remember.

    Code of `lib/` is left out: it is no dependency of a stage.
    """
    path = layout.facts(stage, name)
    if not path.exists():
        return f"{stage} has not run, or failed"
    told = files.read_json(path)
    recorded = {**told["inputs"], **told["outputs"], **told["code"]}
    for file, was in recorded.items():
        if file.startswith("stages/lib/"):
            continue
        if not Path(file).is_file() or digest(Path(file)) != was:
            return f"{stage} must run again: {file} is not what it was"
    for key, value in told["params"].items():
        try:
            now = document.param(key)
        except errors.ParamsError:
            return f"{stage} must run again: there is no {key} any more"
        if now != value:
            return f"{stage} must run again: {key} is not what it was"
    return None


def write(
    stage: str,
    name: str,
    *,
    inputs: Iterable[Path | Mapping[str, str]],
    outputs: Iterable[Path],
    params: Mapping[str, Any],
    versions: Mapping[str, str],
    details: Mapping[str, Any],
    code_elsewhere: Iterable[Path] = (),
) -> None:
    """Write the facts of one run.

    Args:
        stage: name of the stage.
        name: the model or engine it ran for.
        inputs: files and folders it read; each file's SHA-256 is recorded. Or those digests, by
            path, where the stage has made them already.
        outputs: files and folders it wrote; likewise.
        params: the values it used, by dotted key.
        versions: installed version by package, as checked against the pins.
        details: what the stage itself has to say: what changed, what was found.
        code_elsewhere: files of `stages` that ran in another process.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "stage": stage,
        "name": name,
        "inputs": _digests(inputs),
        "outputs": _digests(outputs),
        "code": code(code_elsewhere),
        "params": dict(params),
        "versions": {**versions, **pins.of_the_machine()},
        "details": dict(details),
    }
    files.write_json(layout.facts(stage, name), document)


def _digests(paths: Iterable[Path | Mapping[str, str]]) -> dict[str, str]:
    made = (files.digests(path) if isinstance(path, Path) else path for path in paths)
    return {file: digest for digests in made for file, digest in digests.items()}
