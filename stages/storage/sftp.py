# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A folder on another machine, by SFTP.

As in a local folder a record is made under `incoming/` and then linked, by OpenSSH's extension
hardlink@openssh.com; a server without it opens the record with `x`. Either way a name is taken
once. Hosts must be known (~/.ssh/known_hosts): sshfs by itself would take any.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING, Any

from stages.storage import driver
from stages.storage.cloud import Cloud

if TYPE_CHECKING:
    from collections.abc import Iterator

INCOMING = "incoming"


class Sftp(Cloud):
    """Driver of a folder, which is made by the first write."""

    def create(self, path: str, data: bytes) -> None:
        temporary, target = self._incoming(), self.at(path)
        self._folder(target)
        try:
            self.fs.pipe_file(temporary, data)
            self._link(temporary, target, data)
        except Exception:
            if self.size(path) is not None:
                raise FileExistsError(path) from None
            raise
        finally:
            with contextlib.suppress(Exception):  # else it would hide why nothing could be written
                self.fs.rm_file(temporary)

    def _link(self, temporary: str, target: str, data: bytes) -> None:
        from asyncssh.sftp import SFTPOpUnsupported, SFTPPermissionDenied

        try:
            self._do("link", temporary, target)
        except (SFTPOpUnsupported, SFTPPermissionDenied):
            with self.fs.open(target, "xb") as stream:
                stream.write(data)

    def put(self, path: str, source: driver.Source, progress: driver.Progress) -> None:
        temporary, target = self._incoming(), self.at(path)
        self._folder(target)
        try:
            with self.fs.open(temporary, "wb") as stream:
                for data in driver.reading(source, driver.PART):
                    stream.write(data)
                    progress(len(data))
            self._confirm(temporary, source)
            self.fs.mv(temporary, target)
        except BaseException:
            with contextlib.suppress(Exception):
                self.fs.rm_file(temporary)
            raise

    def _confirm(self, place: str, source: driver.Source) -> None:
        if driver.sha256(self._pieces(place, source.bytes)) != source.sha256:
            raise OSError(f"{place} is not in the store what was sent")

    def walk(self, folder: str) -> Iterator[tuple[str, int]]:
        with contextlib.suppress(FileNotFoundError):
            for info in self.fs.ls(self.at(folder), detail=True):
                name = info["name"].removeprefix(f"{self.root}/")
                if info["type"] == "link":
                    info = self.fs.info(self.at(name))  # noqa: PLW2901  of what it leads to
                if info["type"] == "directory":
                    yield from self.walk(name)
                else:
                    yield name, info["size"]

    def _md5(self, path: str) -> None:
        """SFTP has no checksum: objects are read back."""

    def chunks(self, path: str, size: int) -> Iterator[bytes]:
        return self._pieces(self.at(path), size)

    def _pieces(self, place: str, size: int) -> Iterator[bytes]:
        with self.fs.open(place, "rb") as stream:
            yield from driver.pieces(stream, size)

    def leftovers(self, older_than_s: float) -> list[str]:
        return driver.older(
            self.walk(INCOMING),
            lambda name: float(self.fs.info(self.at(name))["mtime"].timestamp()),
            older_than_s,
        )

    def clear(self, leftover: str) -> None:
        self.delete(leftover)

    def _incoming(self) -> str:
        self.fs.makedirs(self.at(INCOMING), exist_ok=True)
        return self.at(f"{INCOMING}/{uuid.uuid4().hex}")

    def _folder(self, target: str) -> None:
        self.fs.makedirs(target.rpartition("/")[0], exist_ok=True)

    def _do(self, name: str, *words: str) -> None:
        """Call the SFTP client itself: fsspec has no word for it."""
        from fsspec.asyn import sync

        async def call() -> None:
            async with self.fs._pool.get() as channel:  # noqa: SLF001 (sshfs shows no other way)
                await getattr(channel, name)(*words)

        sync(self.fs.loop, call)


def open_filesystem(location: dict[str, Any]) -> Any:
    """The sshfs file system of host, port and username.

    Raises:
        PermissionError, OSError, asyncssh.Error: it cannot be reached.
    """
    import sshfs

    known = {key: location[key] for key in ("host", "port", "username") if location.get(key)}
    return sshfs.SSHFileSystem(**known, known_hosts=(), skip_instance_cache=True)
