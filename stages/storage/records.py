# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A pointer record: which files a channel serves as an engine, and who decided so and when."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from stages.lib import errors, files, layout, schema

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA_VERSION = 1
PROMOTE, ROLLBACK = "promote", "rollback"
_MEND = "make the package again: `make repro`"
# Beside the code: a consumer may be anywhere, and without a schema no record would be valid.
_SCHEMA = Path(__file__).parents[2] / layout.schema("pointer")


@dataclass(frozen=True)
class Entry:
    """SHA-256 in hex and size in bytes of an object."""

    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Record:
    """schemas/pointer.schema.json, which says what each field is."""

    number: int
    channel: str
    engine: str
    action: str
    version: str
    files: Mapping[str, Entry]
    signature: Entry | None
    manifest: str
    plan: str
    commit: str | None
    who: str
    when: str
    previous: int | None
    token: str

    def data(self) -> bytes:
        """As it lies in the store."""
        return files.canonical_json({"schema_version": SCHEMA_VERSION, **asdict(self)})

    def entries(self) -> list[Entry]:
        """Every object that it needs."""
        return [*self.files.values(), *([self.signature] if self.signature else [])]


def parse(data: bytes) -> Record | None:
    """The record that these bytes are; None if they are not a whole and valid one."""
    try:
        document = json.loads(data)
        check(document)
        if files.canonical_json(document) != data:
            return None
    except (ValueError, RecursionError, errors.ArtifactError):
        return None
    listed = {path: Entry(**entry) for path, entry in document.pop("files").items()}
    signature = document.pop("signature")
    del document["schema_version"]
    return Record(**document, files=listed, signature=Entry(**signature) if signature else None)


def check(document: Any) -> None:
    """Check a record against its schema, and that digests which stand twice agree.

    Raises:
        ArtifactError: it does not fit.
    """
    schema.check(document, _SCHEMA, "pointer record", mend=_MEND)
    listed = document["files"]
    if listed.get("manifest.json", {}).get("sha256") != document["manifest"]:
        raise errors.ArtifactError("pointer record: manifest is not that of files", mend=_MEND)
    folders = {str(above) for path in listed for above in PurePosixPath(path).parents}
    if both := sorted(folders & listed.keys()):
        msg = f"pointer record: {both[0]} is a file and a folder"
        raise errors.ArtifactError(msg, mend=_MEND)
    if document["plan"] not in [entry["sha256"] for entry in listed.values()]:
        raise errors.ArtifactError("pointer record: plan is not among files", mend=_MEND)
