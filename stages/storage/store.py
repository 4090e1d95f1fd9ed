# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A store: where promoted packages lie. Its layout is the whole of what a consumer must know.

format.json                                    {"schema_version": 1}
objects/sha256/<first two digits>/<digest>     files of packages, and their signatures
channels/<channel>/<engine>/<number>.json      pointer records; the highest valid one serves
collecting.json                                while `promote --gc` removes objects
incoming/                                      unfinished uploads (folder and SFTP)
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from stages.lib import errors, files
from stages.storage import faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from stages.storage.driver import Driver, Progress, Source

FORMAT = "format.json"
OBJECTS = "objects/sha256"
_FORMAT_DATA = files.canonical_json({"schema_version": 1})


class Store:
    """A store; all names and paths are relative to its root.

    Each method may raise StoreError (it fails), AccessError (it does not let us in) and, for a
    local folder, StorageError (the disk is full).

    Attributes:
        url: as messages may show it; it holds no secret.
        kind: file, s3, gs, az or ssh.
    """

    def __init__(self, url: str, kind: str, driver: Driver) -> None:
        self.url = url
        self.kind = kind
        self._driver = driver

    def create(self, name: str, data: bytes) -> None:
        """Write a small file if there is none, whole or not at all.

        Raises:
            TakenError: there is one, and not of this content.
        """
        with self._told():
            try:
                self._driver.create(name, data)
            except FileExistsError:
                # A lost answer makes the client send again, and find its own file.
                if self._driver.read(name) != data:
                    mend = "see `python -m stages.promote --list`, then run the same command again"
                    raise errors.TakenError(f"{self.url}/{name} is there", mend=mend) from None

    def prove_exclusive(self) -> None:
        """See that a file that is there is not written again; makes `format.json` in a new store.

        Raises:
            UnfitStoreError: the store does not do that, or its layout is a newer one.
        """
        with self._told():
            try:
                self._driver.create(FORMAT, _FORMAT_DATA)
                self._driver.create(FORMAT, _FORMAT_DATA)
            except FileExistsError:
                if self._driver.read(FORMAT) == _FORMAT_DATA:
                    return
                raise self._other_layout() from None
        msg = (
            f"{self.url} cannot be a store: told to create {FORMAT} only if it is not there, it"
            " wrote it again. Two promotions at once could both believe that they won"
        )
        mend = "use a store with conditional writes: AWS S3, MinIO, GCS, Azure, SFTP, a folder"
        raise errors.UnfitStoreError(msg, mend=mend)

    def need_format(self) -> None:
        """See that a store that is in use has the layout that is known here.

        Raises:
            UnfitStoreError: it has another, so its records cannot be read here.
        """
        if self.read(FORMAT) not in (None, _FORMAT_DATA):
            raise self._other_layout()

    def _other_layout(self) -> errors.UnfitStoreError:
        msg = f"{self.url} has another layout: see {FORMAT} there"
        return errors.UnfitStoreError(msg, mend="update enginery, or take another")

    def read(self, name: str) -> bytes | None:
        """A small file; None if it is not there."""
        with self._told():
            try:
                return self._driver.read(name)
            except FileNotFoundError:
                return None

    def names(self, prefix: str) -> list[str]:
        """All files below the folder `prefix`, sorted."""
        return sorted(self.sizes(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of all files below the folder `prefix`, by name."""
        with self._told():
            below = f"{prefix}/" if prefix else ""
            return {
                name: size for name, size in self._driver.walk(prefix) if name.startswith(below)
            }

    def delete(self, name: str) -> None:
        """Remove a file; nothing happens if it is not there."""
        with self._told():
            self._driver.delete(name)

    def put_object(self, source: Source, progress: Progress) -> None:
        """Upload a file, verified by the store's own checksum, else by reading it back.

        Raises:
            IntegrityError: it changed meanwhile; nothing appears in the store.
        """
        with self._told():
            self._driver.put(object_name(source.sha256), source, progress)

    def has_object(self, source: Source) -> bool:
        """Whether the object is there and whole; nothing is sent, though it may be read back."""
        with self._told():
            return self._driver.holds(object_name(source.sha256), source)

    def get_object(self, sha256: str, size: int, path: Path, progress: Progress) -> None:
        """Download an object to a path where nothing is.

        Raises:
            IntegrityError: it is missing, or not what its digest says.
            StoreError: reading it ended early.
            StorageError: the local disk is full.
        """
        digest = hashlib.sha256()
        with files.storage_errors(path), path.open("xb") as stream:
            for data in self._chunks(sha256, size):
                digest.update(data)
                stream.write(data)
                progress(len(data))
        if digest.hexdigest() != sha256:
            what = f"is not what its name says: its SHA-256 is {digest.hexdigest()}"
            raise _altered(self.url, sha256, what)

    def need_object(self, sha256: str, size: int) -> None:
        """See that an object is there and of this size; its content is not looked at.

        Raises:
            IntegrityError: it is not.
        """
        with self._told():
            found = self._driver.size(object_name(sha256))
        if found != size:
            what = "is missing" if found is None else f"has {found} bytes, not {size}"
            raise _altered(self.url, sha256, what)

    def _chunks(self, sha256: str, size: int) -> Iterator[bytes]:
        """Each call of the driver is translated; what the reader does with a piece is not."""
        self.need_object(sha256, size)
        pieces, left = iter(self._driver.chunks(object_name(sha256), size)), size
        while left > 0:
            with self._told():
                if not (data := next(pieces, b"")):
                    raise OSError(f"it gave only {size - left} of {size} bytes of {sha256}")
            left -= len(data)
            yield data

    def leftovers(self, older_than_s: float) -> list[str]:
        """What killed uploads left, older than that: names to `clear`."""
        with self._told():
            return sorted(self._driver.leftovers(older_than_s))

    def clear(self, leftover: str) -> None:
        """Remove what a killed upload left."""
        with self._told():
            self._driver.clear(leftover)

    def _told(self) -> AbstractContextManager[None]:
        return faults.told(self.url, self.kind)


def object_name(sha256: str) -> str:
    """Where the object of this digest lies."""
    return f"{OBJECTS}/{sha256[:2]}/{sha256}"


def _altered(url: str, sha256: str, what: str) -> errors.IntegrityError:
    mend = (
        "promote that version again from a whole package: it uploads what is missing or altered;"
        " until then `python -m stages.promote <engine> --channel <channel> --rollback`"
    )
    return errors.IntegrityError(f"{url}/{object_name(sha256)} {what}", mend=mend)
