# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Plan, report, verdict and all facts -> an entry of a Triton model repository, accounted for.

`artifacts/packages/` is the model repository. Nothing is packaged that the facts do not account
for, that another plan was judged for, or that its gates refused.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.bundle import batching, entry, manifest, provenance, rules, triton
from stages.lib import console, errors, facts, files, graphs, layout, params, pins, schema

if TYPE_CHECKING:
    from collections.abc import Mapping


def main(engine: str) -> None:
    """Package `engines.<engine>`."""
    document = params.load()
    versions = {**pins.toolchain(document, "package"), **pins.of_the_machine()}
    backend = document.param(f"engines.{engine}.backend")
    model = document.param(f"engines.{engine}.model")
    serving = document.param(f"engines.{engine}.serving")

    told = _facts(engine, model)
    report = _read(layout.report(engine), "report")
    verdict = _read(layout.verdict(engine), "verdict")
    if verdict["verdict"] != "passed":
        msg = f"{engine} did not pass its gates: {layout.verdict(engine)} says which"
        raise errors.GateError(msg, mend=f"`dvc repro gate@{engine}` says how")
    _check(engine, backend, told, report, verdict)

    typed = layout.typed(engine)
    for path, digest in files.digests(typed).items():
        _same(Path(path), digest, told["precision"]["outputs"])
    magic, config = _config(engine, serving, told, report)  # before anything is written
    folder = layout.package(engine)
    with files.writing(folder) as temporary:
        temporary.mkdir(parents=True)
        plan = files.need(layout.plan(engine))
        entry.fill(temporary, magic=magic, serving=serving, plan=plan, typed=typed)
        shutil.copyfile(layout.report(engine), temporary / "report.json")
        shutil.copyfile(layout.verdict(engine), temporary / "verdict.json")
        (temporary / "config.pbtxt").write_text(config, encoding="utf-8")
        packed = _digests(temporary)
        packed_plan = packed[f"{serving['version']}/{manifest.PLAN}"]
        _same(plan, packed_plan["sha256"], told["build"]["outputs"])
        made = manifest.make(
            engine,
            model,
            facts=told,
            report=report,
            verdict=verdict,
            code=facts.code(),
            versions=versions,
            params={f"engines.{engine}.serving": serving},
            serving=entry.served(serving, packed),
            files=packed,
        )
        _write(temporary / provenance.FILE, provenance.make(made), "provenance", folder)
        made["files"] |= {provenance.FILE: _digest(temporary / provenance.FILE)}
        _write(temporary / manifest.FILE, made, "manifest", folder)
    console.say(f"package {engine}: {len(made['files']) + 1} files -> {folder}")


def _write(path: Path, document: Any, kind: str, folder: Path) -> None:
    schema.check(document, layout.schema(kind), f"{folder}/{path.name}")
    files.write_json(path, document)


def _facts(engine: str, model: str) -> dict[str, Any]:
    names = dict.fromkeys(layout.MODEL_STAGES, model) | dict.fromkeys(layout.ENGINE_STAGES, engine)
    told = {stage: _read(layout.facts(stage, name), "facts") for stage, name in names.items()}
    manifest.check(told, names)
    return told


def _read(path: Path, kind: str) -> Any:
    document = files.read_json(path)
    schema.check(document, layout.schema(kind), path.as_posix())
    return document


def _check(
    engine: str,
    backend: str,
    told: Mapping[str, Any],
    report: Mapping[str, Any],
    verdict: Mapping[str, Any],
) -> None:
    """Facts, report and verdict are of the same plan, and of the files that are there."""
    plan = told["build"]["details"]["plan"]
    claims = {
        "engine": (engine, report["engine"], verdict["engine"]),
        "backend": (backend, told["build"]["details"]["backend"], report["backend"]),
        "plan": (plan["sha256"], report["plan"]["sha256"], verdict["plan_sha256"]),
        "size of the plan": (plan["bytes"], report["plan"]["bytes"]),
        "report": (files.sha256(layout.report(engine)), verdict["report_sha256"]),
    }
    for what, said in claims.items():
        if len(set(said)) != 1:
            found = ", ".join(map(str, dict.fromkeys(said)))
            msg = f"facts, report and verdict of {engine} disagree about the {what}: {found}"
            raise errors.ArtifactError(
                msg, mend=f"`dvc repro --force gate@{engine}` makes all again"
            )
    for stage, path in (("validate", layout.report(engine)), ("gate", layout.verdict(engine))):
        _same(path, files.sha256(path), told[stage]["outputs"])


def _same(path: Path, digest: str, recorded: Mapping[str, str]) -> None:
    if recorded.get(path.as_posix()) != digest:
        msg = (
            f"{path} is not the file that its stage wrote: its SHA-256 is {digest},"
            f" the facts say {recorded.get(path.as_posix(), 'nothing')}"
        )
        raise errors.ArtifactError(msg, mend="`dvc checkout --force` restores what DVC recorded")


def _config(
    engine: str, serving: Mapping[str, Any], told: Mapping[str, Any], report: Mapping[str, Any]
) -> tuple[str, str]:
    """First four bytes of the plan, and the text of config.pbtxt."""
    face = told["build"]["details"]
    measured = {entry["name"]: entry for entry in report["measurements"]}
    header = measured["plan-header"]["value"]
    compared = measured["numerics"]["state"] == "measured"
    settings = told["build"]["params"].get(f"engines.{engine}.builder", {})
    graph = serving["runtime"] == "onnxruntime"
    inputs = told["export"]["params"][f"models.{report['model']}.inputs"]
    versions = told["validate"]["versions"]
    text = triton.config(
        engine,
        header["magic"],
        inputs=face["inputs"],
        outputs=face["outputs"],
        profiles=face["profiles"],
        axes=batching.first_axes(graphs.load(layout.typed(engine)), inputs),
        serving=serving,
        parameters={
            "runtime": "onnxruntime" if graph else face["backend"],
            "runtime_version": versions["onnxruntime"] if graph else header["version"],
            "device_run": "not run",
            **({} if compared else {"comparison_with_the_model": "not run"}),
            **rules.check_builder(engine, settings, serving["runtime"]),
        },
    )
    return header["magic"], text


def _digests(folder: Path) -> dict[str, dict[str, Any]]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): _digest(path) for path in found}


def _digest(path: Path) -> dict[str, Any]:
    return {"sha256": files.sha256(path), "bytes": path.stat().st_size}


if __name__ == "__main__":
    console.run("package", main, "engine")
