# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a package is what `package` made: from its folder alone, made here or elsewhere.

A manifest cannot hold its own digest. But the statement in provenance.json is a function of the
manifest, and report and verdict say some of the same, so a change of one of them has to be made in
all; where a dvc.lock records the package, that has to be changed too. Against who changes
everything, only a signature helps.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from stages.bundle import contents, entry, manifest, provenance, statement
from stages.lib import errors, files, layout, lockfile, plan_header, schema, wording

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Document = dict[str, Any]
_KINDS = {
    manifest.FILE: "manifest",
    provenance.FILE: "provenance",
    "report.json": "report",
    "verdict.json": "verdict",
}


def check(folder: Path) -> Document:
    """Check a package folder; return its manifest.

    Files are streamed, each is read once. Symbolic links may not leave the package.

    Raises:
        ArtifactError: there is no such folder.
        IntegrityError: it is not what was packed; the message has a line for each fault, each with
            the file that it is about.
    """
    if not folder.is_dir():
        mend = "`ls artifacts/packages` shows which there are; `make repro` makes them"
        raise errors.ArtifactError(f"{folder} is no package: there is no such folder", mend=mend)
    root = folder.resolve()
    lock = _lock(root)
    seen, told = contents.read(root, md5=lock is not None)
    documents: dict[str, Document] = {}
    for name in _KINDS:
        told += _read(root, name, seen, documents)
    if manifest.FILE in documents:
        told += _compared(root, seen, documents)
    rows = [_printable(f"{folder}/{fault}") for fault in told]
    if lock is not None:
        rows += _recorded(lock, root.name, seen)
    if rows:
        count = "1 fault" if len(rows) == 1 else f"{len(rows)} faults"
        msg = "\n".join([f"{folder} is not what was packed: {count}", "", *rows])
        raise errors.IntegrityError(msg, mend=_mend(folder, recorded=lock is not None))
    return documents[manifest.FILE]


def _read(
    root: Path, name: str, seen: Mapping[str, contents.File], into: dict[str, Document]
) -> Iterator[str]:
    """Read one of our documents `into` the map, unless something is wrong with it."""
    if name not in seen:
        if name == manifest.FILE:
            yield f"{name}: is missing"
        return  # any other is missing in the sight of the manifest
    data = (root / name).read_bytes()
    try:
        document = json.loads(data)
        canonical = files.canonical_json(document) == data
    except (ValueError, RecursionError) as error:
        yield f"{name}: is not JSON: {error}"
        return
    if not canonical:
        # Else a key that stands twice would mean one thing here and another elsewhere.
        yield f"{name}: is not in the form that `package` writes"
    found = schema.problems(document, schema.read(layout.schema(_KINDS[name])))
    for item in found:
        yield f"{name}: {wording.place(item.path) or 'root'}: {item.message}"
    if not found:
        into[name] = document


def _compared(
    root: Path, seen: Mapping[str, contents.File], documents: Mapping[str, Document]
) -> Iterator[str]:
    told = documents[manifest.FILE]
    yield from _listed(told["files"], seen)
    yield from entry.problems(told)
    if told["plan"]["file"] in told["files"]:
        yield from _plan(root, told, seen)
    if report := documents.get("report.json"):
        yield from _report(told, report)
        if verdict := documents.get("verdict.json"):
            yield from _verdict(told, verdict, report)
    yield from _statement(root, told)


def _listed(listed: Mapping[str, Any], seen: Mapping[str, contents.File]) -> Iterator[str]:
    for name, told in listed.items():
        found = seen.get(name)
        if found is None:
            yield f"{name}: is missing"
        elif found.bytes < told["bytes"]:
            yield f"{name}: is truncated: {found.bytes} of {told['bytes']} bytes"
        elif found.bytes > told["bytes"]:
            yield f"{name}: is too long: {found.bytes} bytes, not {told['bytes']}"
        elif found.sha256 != told["sha256"]:
            yield f"{name}: was changed: its SHA-256 is {found.sha256}, not {told['sha256']}"
    for name in sorted(set(seen) - set(listed) - {manifest.FILE}):
        yield f"{name}: is not in the manifest"


def _plan(root: Path, told: Document, seen: Mapping[str, contents.File]) -> Iterator[str]:
    plan = told["plan"]
    for key in ("sha256", "bytes"):
        if plan[key] != (listed := told["files"][plan["file"]][key]):
            yield f"{manifest.FILE}: plan.{key} is {plan[key]}, but files says {listed}"
    if plan["file"] in seen:
        header = plan_header.read(root / plan["file"])
        if header != (plan["magic"], plan["version"]):
            was = " ".join(header).strip() or "too short"
            yield f"{plan['file']}: its header is {was}, not {plan['magic']} {plan['version']}"


def _report(told: Document, report: Document) -> Iterator[str]:
    for key in ("engine", "backend"):
        if report[key] != told[key]:
            yield f"{manifest.FILE}: {key} is {told[key]}, report.json says {report[key]}"
    for key in ("sha256", "bytes"):
        if (judged := report["plan"][key]) != told["plan"][key]:
            yield f"{manifest.FILE}: plan.{key} is {told['plan'][key]}, report.json is of {judged}"


def _verdict(told: Document, verdict: Document, report: Document) -> Iterator[str]:
    claims = {
        "engine": told["engine"],
        "plan_sha256": told["plan"]["sha256"],
        "report_sha256": told["files"]["report.json"]["sha256"],
    }
    for key, claim in claims.items():
        if verdict[key] != claim:
            yield f"verdict.json: {key} is {verdict[key]}, not {claim}, as the manifest has it"
    for key, value in manifest.judged(report, verdict).items():
        if told[key] != value:
            yield f"{manifest.FILE}: {key} is not what report.json and verdict.json say"


def _statement(root: Path, told: Document) -> Iterator[str]:
    """Read anew: what breaks the schema, such as a third subject, is to be named here too."""
    try:
        found = json.loads((root / provenance.FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return  # told already
    if fault := statement.problem(found):
        yield f"{provenance.FILE}: is no in-toto statement with SLSA provenance: {fault}"
        return
    try:
        expected = provenance.make(told)
    except errors.ArtifactError as error:
        yield f"{manifest.FILE}: {error.what}"
        return
    for difference in statement.differences(expected, found):
        yield f"{provenance.FILE}: {difference}"


def _lock(root: Path) -> Path | None:
    """dvc.lock of the project whose package this is; None if there is none."""
    home = root.parents[2] if len(root.parts) > len(layout.package("_").parts) else root
    lock = home / layout.LOCK
    return lock if root == home / layout.package(root.name) and lock.is_file() else None


def _recorded(path: Path, engine: str, seen: Mapping[str, contents.File]) -> Iterator[str]:
    try:
        lock = lockfile.read(path)
    except errors.IntegrityError as error:
        yield error.what
        return
    listing = {name: {"md5": file.md5, "size": file.bytes} for name, file in seen.items()}
    stage, package = f"package@{engine}", layout.package(engine).as_posix()
    for record in lock.get(stage, {}).get("outs", []):
        recorded, found = lockfile.recorded(record), lockfile.folder_entry(listing)
        if record["path"] == package and recorded != found:
            yield str(lockfile.Difference(stage, package, "out", recorded, found))


def _printable(text: str) -> str:
    """File names can hold anything."""
    return text.encode("utf-8", "backslashreplace").decode()


def _mend(folder: Path, *, recorded: bool) -> str:
    if not recorded:
        return "get the package again from where it was made, or make it: `make repro`"
    return f"see `git diff dvc.lock`; `dvc checkout --force {folder}` restores what that records"
