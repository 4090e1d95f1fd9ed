# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A store whose fsspec file system creates under a precondition.

GCS and Azure are taken as they are, S3 has its own uploads (stages/storage/s3.py). An upload
appears when it is complete.

Sources: fsspec's `pipe_file(mode="create")`, which is `ifGenerationMatch=0` in gcsfs and
`If-None-Match: *` in adlfs and s3fs.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from typing import TYPE_CHECKING, Any

from stages.lib import errors
from stages.storage import driver

if TYPE_CHECKING:
    from collections.abc import Iterator


class Cloud:
    """Driver over an fsspec file system; `root` is a bucket, with or without a prefix."""

    def __init__(self, fs: Any, root: str) -> None:
        self.fs = fs
        self.root = root.rstrip("/")

    def at(self, path: str) -> str:
        """Path in the file system."""
        return f"{self.root}/{path}"

    def create(self, path: str, data: bytes) -> None:
        self.fs.pipe_file(self.at(path), data, mode="create")

    def read(self, path: str) -> bytes:
        data: bytes = self.fs.cat_file(self.at(path))
        return data

    def walk(self, folder: str) -> Iterator[tuple[str, int]]:
        found: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError):
            found = self.fs.find(self.at(folder), detail=True)
        for name, info in sorted(found.items()):
            yield name.removeprefix(f"{self.root}/"), info["size"]

    def size(self, path: str) -> int | None:
        with contextlib.suppress(FileNotFoundError):
            info = self.fs.info(self.at(path))
            return int(info["size"]) if info["type"] == "file" else None
        return None

    def delete(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self.at(path))

    def put(self, path: str, source: driver.Source, progress: driver.Progress) -> None:
        self.fs.put_file(str(source.path), self.at(path))
        try:
            same = self._same(path, source)
        except errors.IntegrityError:
            self.delete(path)
            raise
        if not same:
            self.delete(path)
            raise OSError(f"{path} is not in the store what was sent")
        progress(source.bytes)

    def _same(self, path: str, source: driver.Source) -> bool:
        """By the store's own MD5 of the object (GCS), else by reading it back."""
        if self.size(path) != source.bytes:
            return False
        if (known := self._md5(path)) is not None:
            md5 = hashlib.md5(usedforsecurity=False)
            for data in driver.reading(source, driver.PART):
                md5.update(data)
            return base64.b64encode(md5.digest()).decode() == known
        return driver.sha256(self.chunks(path, source.bytes)) == source.sha256

    def _md5(self, path: str) -> str | None:
        known: str | None = self.fs.info(self.at(path)).get("md5Hash")
        return known

    def holds(self, path: str, source: driver.Source) -> bool:
        return self._same(path, source)

    def chunks(self, path: str, size: int) -> Iterator[bytes]:
        for start in range(0, size, driver.PART):
            yield self.fs.cat_file(self.at(path), start=start, end=min(start + driver.PART, size))

    def leftovers(self, older_than_s: float) -> list[str]:  # noqa: ARG002 (they expire by themselves)
        return []

    def clear(self, leftover: str) -> None:
        """There is nothing to clear."""
