# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""artifacts/channels/<channel>/<engine>.json: what was promoted, as a plain file of Git.

The store decides what serves. This file says the same where people review changes: each run makes
it anew from the store's records, so that one that was interrupted, or run in another checkout, is
made up for. What an entry says beyond its record (the verdict) is kept from the file. Of a channel
that has gone to another store, it tells what that one knows; Git has what was before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.lib import errors, files, layout, schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from stages.storage.records import Record

SCHEMA_VERSION = 1
_MEND = (
    "`git checkout -- {path}`, or see who wrote to the store (`python -m stages.promote --list`);"
    " if the store was emptied, delete the file: Git has it"
)

Document = dict[str, Any]


def write(
    channel: str,
    engine: str,
    url: str,
    records: Sequence[Record],
    verdict: Mapping[str, Any] | None,
) -> Path:
    """Write the file.

    Args:
        channel: name of the channel.
        engine: key of the engine.
        url: of the store, as in params.yaml.
        records: all of the store, the newest first.
        verdict: on what was promoted now (stages/promotion/policy.py); None after a rollback.

    Raises:
        HistoryError: the file says of a record what the store does not.
    """
    path = layout.channel(channel, engine)
    before = _read(path)
    moved = before is not None and before["url"] != url
    known = {entry["number"]: entry for entry in before["history"]} if before else {}
    history = []
    for record in records:
        entry = _entry(record)
        if (old := known.pop(record.number, None)) is not None:
            differ = [key for key in entry if key != "verdict" and old[key] != entry[key]]
            if differ and not moved:
                raise _contradiction(path, old, entry, differ)
            entry["verdict"] = None if differ else old["verdict"]
        history.append(entry)
    if verdict is not None:
        _judge(history, verdict)
    if not moved:  # records are never removed; but a store may have been emptied
        history += [known[number] for number in sorted(known, reverse=True)]
    _inherit(history)
    document = {
        "schema_version": SCHEMA_VERSION,
        "channel": channel,
        "engine": engine,
        "url": url,
        "serves": history[0]["number"],
        "history": history,
    }
    schema.check(document, layout.schema("channel"), path.as_posix(), mend=_MEND.format(path=path))
    if not path.exists() or path.read_bytes() != files.canonical_json(document):
        files.write_json(path, document)
    return path


def _entry(record: Record) -> Document:
    return {
        "number": record.number,
        "action": record.action,
        "version": record.version,
        "manifest_sha256": record.manifest,
        "plan_sha256": record.plan,
        "signature_sha256": record.signature.sha256 if record.signature else None,
        "commit": record.commit,
        "who": record.who,
        "when": record.when,
        "previous": record.previous,
        "verdict": None,
    }


def _short(verdict: Mapping[str, Any]) -> Document:
    return {
        "device": verdict["device"]["state"],
        "signed_by": verdict["signed_by"],
        "rules": {rule["name"]: rule["state"] for rule in verdict["rules"]},
    }


def _inherit(history: list[Document]) -> None:
    """A rollback has the verdict of what it brought back."""
    told = {entry["manifest_sha256"]: entry["verdict"] for entry in history if entry["verdict"]}
    for entry in history:
        if entry["action"] == "rollback" and entry["verdict"] is None:
            entry["verdict"] = told.get(entry["manifest_sha256"])


def _judge(history: list[Document], verdict: Mapping[str, Any]) -> None:
    """Write a verdict to what it judged: somebody else may have promoted other files since."""
    for entry in history:
        if entry["manifest_sha256"] == verdict["manifest_sha256"]:
            entry["verdict"] = _short(verdict)
            return


def _read(path: Path) -> Document | None:
    if not path.exists():
        return None
    document: Document = files.read_json(path)
    schema.check(document, layout.schema("channel"), path.as_posix(), mend=_MEND.format(path=path))
    return document


def _contradiction(
    path: Path, old: Document, entry: Document, differ: list[str]
) -> errors.HistoryError:
    what = "; ".join(f"{key} {old[key]}, the store {entry[key]}" for key in differ)
    msg = f"{path} contradicts the store in record {entry['number']}: it says {what}"
    return errors.HistoryError(msg, mend=_MEND.format(path=path))
