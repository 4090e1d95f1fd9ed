# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A local or mounted folder.

A file is made under `incoming/` and then linked: link(2) takes no name that is taken, so a record
appears whole and once even if the process is killed, which O_EXCL with a write after it does not
give.
"""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from stages.lib import errors, files
from stages.storage import driver

if TYPE_CHECKING:
    from collections.abc import Iterator

INCOMING = "incoming"
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Local:
    """Driver of a folder, which is made by the first write."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def create(self, path: str, data: bytes) -> None:
        with files.storage_errors(self._root / path):
            temporary = self._incoming()
            try:
                temporary.write_bytes(data)
                _sync(temporary)
                target = self._root / path
                target.parent.mkdir(parents=True, exist_ok=True)
                self._link(temporary, target)
                _sync(target.parent)
            finally:
                temporary.unlink(missing_ok=True)

    def _link(self, temporary: Path, target: Path) -> None:
        try:
            os.link(temporary, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            msg = f"{self._root} cannot be a store: its file system has no hard links"
            mend = "take a folder on another file system, or another kind of store"
            raise errors.UnfitStoreError(msg, mend=mend) from None

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()

    def walk(self, folder: str) -> Iterator[tuple[str, int]]:
        top = self._root / folder
        for home, _, names in os.walk(top, onerror=_unless_gone, followlinks=True):
            for name in sorted(names):
                found = (Path(home) / name).relative_to(self._root).as_posix()
                if (size := self.size(found)) is not None:  # else removed meanwhile
                    yield found, size

    def size(self, path: str) -> int | None:
        try:
            return (self._root / path).stat().st_size
        except FileNotFoundError:
            return None

    def delete(self, path: str) -> None:
        (self._root / path).unlink(missing_ok=True)

    def put(self, path: str, source: driver.Source, progress: driver.Progress) -> None:
        target = self._root / path
        with files.storage_errors(target):
            temporary = self._incoming()
            try:
                with temporary.open("wb") as stream:
                    for data in driver.reading(source, driver.PART):
                        stream.write(data)
                        progress(len(data))
                _sync(temporary)
                if files.sha256(temporary) != source.sha256:
                    raise OSError(errno.EIO, "what was written reads back otherwise")
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(target)
                _sync(target.parent)
            finally:
                temporary.unlink(missing_ok=True)

    def holds(self, path: str, source: driver.Source) -> bool:
        return self.size(path) == source.bytes and files.sha256(self._root / path) == source.sha256

    def chunks(self, path: str, size: int) -> Iterator[bytes]:
        with (self._root / path).open("rb") as stream:
            yield from driver.pieces(stream, size)

    def leftovers(self, older_than_s: float) -> list[str]:
        return driver.older(
            self.walk(INCOMING), lambda name: (self._root / name).stat().st_mtime, older_than_s
        )

    def clear(self, leftover: str) -> None:
        self.delete(leftover)

    def _incoming(self) -> Path:
        folder = self._root / INCOMING
        folder.mkdir(parents=True, exist_ok=True)
        return folder / uuid.uuid4().hex


def _unless_gone(error: OSError) -> None:
    """What cannot be listed is not empty: `--gc` would take all that it needs for garbage."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
