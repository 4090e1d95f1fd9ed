# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""dvc.lock against the files: what DVC recorded of a stage, computed again without DVC.

A file is recorded by its MD5 and size. A folder is recorded by the MD5 of a listing, the JSON
`[{"md5": ..., "relpath": ...}, ...]` sorted by path, with `.dir` behind it, by the sum of the
sizes, and by the number of files (DVC 3; dvc-data, hashfile/tree.py). MD5 finds mistakes; against
forgery stand the SHA-256 in facts, manifests and provenance.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.lib import errors, files, layout, wording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.lib.params import Params

# As .dvcignore has them; its other lines are of the root alone.
IGNORED = ("__pycache__", "*.pyc", ".gitkeep")
_KINDS = {"deps": "dep", "outs": "out"}
_RESTORE = "`git checkout -- dvc.lock`, if nobody should have edited it; else `make repro`"

Entry = dict[str, Any]
Lock = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """One record that the files do not bear out.

    Attributes:
        stage: name in dvc.lock, such as `build@digits-int8-b1`.
        path: of the file or folder; the dotted key of a param.
        kind: dep, out or param.
        recorded: md5, size and nfiles as recorded, or the value of a param.
        found: the same now; None if it is not there.
    """

    stage: str
    path: str
    kind: str
    recorded: Any
    found: Any

    def __str__(self) -> str:
        """One line for people."""
        recorded, found = _shown(self.recorded), _shown(self.found)
        return f"{self.path} ({self.kind} of {self.stage}): dvc.lock says {recorded}, found {found}"


@dataclass
class Tree:
    """The files below a root; each is read once, however many stages record it."""

    root: Path = Path()
    _known: dict[str, Entry | None] = field(default_factory=dict)

    def entry(self, path: str) -> Entry | None:
        """What DVC would record of a file or folder; None if it is not there."""
        if path not in self._known:
            place = self.root / path
            if place.is_dir():
                self._known[path] = folder_entry(dict(self._listing(path)))
            else:
                self._known[path] = _file(place)
        return self._known[path]

    def _listing(self, folder: str) -> Iterator[tuple[str, Entry]]:
        top = self.root / folder
        for parent, folders, names in os.walk(top):
            folders[:] = [name for name in folders if not _ignored(name)]
            for name in names:
                path = (Path(parent) / name).relative_to(top).as_posix()
                if entry := self.entry(f"{folder}/{path}"):
                    yield path, entry


def recorded(record: Entry) -> Entry:
    """What a record of dvc.lock says of the contents of its path."""
    return {key: record[key] for key in ("md5", "size", "nfiles") if key in record}


def folder_entry(listing: dict[str, Entry]) -> Entry:
    """What DVC records of a folder, from md5 and size of each file by path in the folder."""
    kept = sorted(path for path in listing if not any(map(_ignored, path.split("/"))))
    rows = [{"md5": listing[path]["md5"], "relpath": path} for path in kept]
    text = json.dumps(rows, sort_keys=True)
    return {
        "md5": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir",
        "size": sum(listing[path]["size"] for path in kept),
        "nfiles": len(kept),
    }


def read(path: Path = layout.LOCK) -> Lock:
    """Read the stages of a dvc.lock, by name.

    Raises:
        IntegrityError: it is not there, or not what DVC writes.
    """
    try:
        document = YAML(typ="safe").load(path.read_bytes())
    except FileNotFoundError:
        raise errors.IntegrityError(f"{path} is not there", mend=_RESTORE) from None
    except (YAMLError, ValueError) as error:
        msg = f"{path} is not YAML: {str(error).splitlines()[0]}"
        raise errors.IntegrityError(msg, mend=_RESTORE) from None
    stages = document.get("stages") if isinstance(document, dict) else None
    if not isinstance(stages, dict) or document.get("schema") != "2.0":
        msg = f"{path} is no lock file of DVC: `schema: '2.0'` and `stages` are expected"
        raise errors.IntegrityError(msg, mend=_RESTORE)
    for name, stage in stages.items():
        if fault := _malformed(stage):
            msg = f"{path}: the entry of {name} is malformed: {fault}"
            raise errors.IntegrityError(msg, mend=_RESTORE)
    return stages


def compare(lock: Lock, stage: str, tree: Tree, document: Params | None) -> list[Difference]:
    """What dvc.lock says of one stage and the files, or params.yaml, do not.

    Args:
        lock: what `read` gave.
        stage: name such as `build@digits-int8-b1`.
        tree: the files; pass the same one for all stages.
        document: the params of now; None to leave params out.

    Raises:
        IntegrityError: dvc.lock has no such stage.
    """
    if stage not in lock:
        near = wording.suggestion(stage, lock)
        raise errors.IntegrityError(f"dvc.lock has no stage {stage!r}.{near}", mend=_RESTORE)
    told = []
    for key, kind in _KINDS.items():
        for record in lock[stage].get(key, []):
            was, found = recorded(record), tree.entry(record["path"])
            if was != found:
                told.append(Difference(stage, record["path"], kind, was, found))
    if document is not None:
        told += _params(lock[stage].get("params", {}), stage, document)
    return told


def _params(recorded: dict[str, Any], stage: str, document: Params) -> Iterator[Difference]:
    for key, value in recorded.get(layout.PARAMS.name, {}).items():
        try:
            found = document.param(key)
        except errors.ParamsError:
            yield Difference(stage, key, "param", value, None)
        else:
            if found != value:
                yield Difference(stage, key, "param", value, found)


def _file(path: Path) -> Entry | None:
    if not path.is_file():
        return None
    return {"md5": files.hashes(path, "md5")[0], "size": path.stat().st_size}


def _ignored(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in IGNORED)


def _malformed(stage: Any) -> str | None:
    if not isinstance(stage, dict):
        return "no mapping"
    for key in _KINDS:
        if fault := _bad_records(key, stage.get(key, [])):
            return fault
    if not stage.get("outs"):
        return "it records no output"
    params = stage.get("params", {})
    if not isinstance(params, dict) or not all(isinstance(v, dict) for v in params.values()):
        return "params is no mapping of files"
    return None


def _bad_records(key: str, records: Any) -> str | None:
    if not isinstance(records, list):
        return f"{key} is no list"
    for record in records:
        if not isinstance(record, dict) or not isinstance(record.get("path"), str):
            return f"a record without a path in {key}"
        if record.get("hash") != "md5" or "md5" not in record:
            return f"{record['path']} has no md5"
    return None


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "md5" in value:
        return f"{value['md5']} ({value.get('size')} bytes)"
    return "nothing" if value is None else json.dumps(value, default=str)
