# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Rebuilds engines from what was recorded of them, and compares. A command, no stage.

`python -m stages.verify` verifies all engines, `... verify <engine>` one, `... verify <folder>` a
package that was made elsewhere. Nothing in the workspace is written. Exit codes: 0 identical,
19 equivalent, 20 different, 18 if what lies there is not even what was recorded.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from stages.bundle import integrity, manifest
from stages.lib import console, errors, files, layout, params, samples
from stages.verification import comparing, elsewhere, rebuilding, record, verdicts
from stages.verification.verdicts import DIFFERENT, EQUIVALENT, Verdict

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
    if subject is not None and (Path(subject) / manifest.FILE).exists():
        rows = _package(Path(subject), document)
    else:
        engines = [subject] if subject else list(document.param("engines"))
        rows = _workspace(engines, document)
    _conclude(rows, time.monotonic() - begin)


def _workspace(engines: list[str], document: Params) -> list[Row]:
    """Each stage once more from its recorded inputs, against its recorded outputs."""
    steps = rebuilding.steps(document, engines)
    for engine in engines:
        if (layout.package(engine) / manifest.FILE).exists():
            integrity.check(layout.package(engine))
    outputs = record.check(steps, document)
    rows: list[Row] = []
    with files.scratch() as folder:
        rebuilding.project(folder, Path.cwd(), layout.PARAMS.read_bytes())
        for step in steps:
            rebuilding.run(step, folder)
            for path in sorted(outputs[step], key=lambda path: (".facts." in path.name, path)):
                verdict = _judge(path, folder / path, step, document)
                rows.append(_tell(str(step), path.as_posix(), verdict))
                if verdict.what:
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
            for path, verdict in elsewhere.digests(step.stage, told, folder):
                rows.append(_tell(str(step), path, verdict))
        made = folder / layout.package(told["engine"])
        for path in sorted({*told["files"], manifest.FILE}):
            verdict = _judge(package / path, made / path, step, document)
            rows.append(_tell(f"package@{told['engine']}", path, verdict))
    return elsewhere.settle(rows, manifest.PLAN_FILE)


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


def _tell(step: str, path: str, verdict: Verdict) -> Row:
    console.say(f"{step:{_STEP}} {path:{_PATH}} {verdict.kind}")
    for line in verdict.what:
        console.say(f"    {line}")
    return step, path, verdict


def _conclude(rows: list[Row], seconds: float) -> None:
    """Say the worst of all verdicts, and raise unless all is identical."""
    kind = verdicts.worst(verdict.kind for _, _, verdict in rows)
    count = f"{len(rows)} outputs, made again in {seconds:.1f} s"
    if kind not in (EQUIVALENT, DIFFERENT):
        console.say(f"\nidentical: {count}")
        return
    first, path, _ = next(row for row in rows if row[2].kind == kind)
    msg = f"{kind}: {count}. The first to part is {first}, at {path}"
    raise (errors.DifferentError if kind == DIFFERENT else errors.EquivalentError)(msg, mend=_NEXT)


if __name__ == "__main__":
    console.run("verify", main, "[engine | package folder]")
