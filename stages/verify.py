# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Rebuilds engines from what was recorded of them, and compares. A command, no stage.

`python -m stages.verify` verifies all engines, `... verify <engine>` one, `... verify <folder>` a
package that was made elsewhere. Nothing in the workspace is written. Exit codes: 0 identical,
19 equivalent, 20 different, 18 if what lies there is not even what was recorded.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from stages.bundle import integrity, manifest
from stages.lib import console, errors, files, layout, lockfile, params, samples
from stages.verification import comparing, elsewhere, rebuilding, record, verdicts
from stages.verification.verdicts import DIFFERENT, IDENTICAL, Verdict

if TYPE_CHECKING:
    from stages.lib.params import Params
    from stages.verification.rebuilding import Step

    Row = tuple[str, str, Verdict]

_STEP, _PATH = 26, 56  # columns
_NEXT = "see the lines under each output above; `python -m stages.doctor` compares this machine"


def main(subject: str | None = None) -> None:
    """Verify one engine, one package, or all engines."""
    begin = time.monotonic()
    document = params.load()
    known = list(document.param("engines"))
    if subject and _is_package(subject, known):
        rows = _package(Path(subject), document)
    else:
        rows = _workspace([subject] if subject else known, document)
    _conclude(rows, time.monotonic() - begin)


def _is_package(subject: str, engines: list[str]) -> bool:
    """Whether a folder is meant, and no engine; it may lack its manifest, or not be there."""
    path = Path(subject)
    if (path / manifest.FILE).exists() or os.sep in subject:
        return True
    return subject not in engines and path.exists()


def _workspace(engines: list[str], document: Params) -> list[Row]:
    """Each stage once more from its recorded inputs, against its recorded outputs."""
    steps, lock = rebuilding.steps(document, engines), lockfile.read()
    for engine in engines:
        if (layout.package(engine) / manifest.FILE).exists():
            integrity.check(layout.package(engine))
    outputs = record.check(steps, lock, document)
    rows: list[Row] = []
    with files.scratch() as folder:
        rebuilding.project(folder, Path.cwd(), layout.PARAMS.read_bytes())
        for step in steps:
            rebuilding.run(step, folder)
            for path in sorted(outputs[step], key=lambda path: (".facts." in path.name, path)):
                verdict = _judge(path, folder / path, step, document)
                rows.append((str(step), path.as_posix(), verdict))
                _tell(*rows[-1])
                if verdict.kind != IDENTICAL:
                    rebuilding.go_on_from(path.resolve(), folder / path)
    return rows


def _package(package: Path, document: Params) -> list[Row]:
    """A package against what its recipe gives here; only its own files can be looked into."""
    told = integrity.check(package)
    console.say(elsewhere.describe(told, document))
    rows: list[Row] = []
    with files.scratch() as folder:
        rebuilding.project(folder, Path.cwd(), elsewhere.recipe(told, document))
        document = params.load(folder)
        for step in rebuilding.steps(document, [told["engine"]]):
            rebuilding.run(step, folder)
            found = elsewhere.digests(step.stage, told, folder)
            rows += [(str(step), path, verdict) for path, verdict in found]
        made = folder / layout.package(told["engine"])
        for path in sorted({*told["files"], manifest.FILE}):
            verdict = _judge(package / path, made / path, step, document)
            rows.append((f"package@{told['engine']}", path, verdict))
    rows = elsewhere.settle(rows, told["plan"]["file"])  # told only now, since the plan decides
    for row in rows:
        _tell(*row)
    return rows


def _judge(recorded: Path, rebuilt: Path, step: Step, document: Params) -> Verdict:
    if not rebuilt.exists():
        return Verdict(DIFFERENT, ("it was not made again",))

    def graphs(one: Path, other: Path) -> Verdict:
        from stages.verification import graphs as compared  # ONNX Runtime, only when needed

        model = step.name
        if step.stage not in layout.MODEL_STAGES:
            model = document.param(f"engines.{step.name}.model")
        probe = samples.Split(
            folder=layout.samples(model, "probe"),
            inputs=document.param(f"models.{model}.inputs"),
        )
        threads = document.param(f"models.{model}.threads")
        feeds = probe.feeds(1)
        return compared.compare(one, other, rtol, feeds=feeds, threads=threads)

    rtol = document.param("verify.rtol")
    return comparing.output(recorded, rebuilt, rtol, graphs)


def _tell(step: str, path: str, verdict: Verdict) -> None:
    console.say(f"{step:{_STEP}} {path:{_PATH}} {verdict.kind}")
    for line in verdict.what:
        console.say(f"    {line}")


def _conclude(rows: list[Row], seconds: float) -> None:
    """Say the worst of all verdicts, and raise unless all is identical."""
    kind = verdicts.worst(verdict.kind for _, _, verdict in rows)
    count = f"{len(rows)} outputs, made again in {seconds:.1f} s"
    if kind == IDENTICAL:
        console.say(f"\nidentical: {count}")
        return
    first, path, _ = next(row for row in rows if row[2].kind == kind)
    msg = f"{kind}: {count}. The first to part is {first}, at {path}"
    raise (errors.DifferentError if kind == DIFFERENT else errors.EquivalentError)(msg, mend=_NEXT)


if __name__ == "__main__":
    console.run("verify", main, "[engine | package folder]")
