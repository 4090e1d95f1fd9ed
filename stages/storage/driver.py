# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What each kind of store has to be able to do. Paths are relative to the store's root."""

from __future__ import annotations

import contextlib
import hashlib
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Protocol

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    Progress = Callable[[int], None]

PART = 1 << 23  # 8 MiB: how much of a file is in memory at a time
_CHANGED = "nothing may write to it during a promotion: `make verify` tells what it should be"


@dataclass(frozen=True)
class Source:
    """A local file that shall be an object: size in bytes, SHA-256 in hex."""

    path: Path
    sha256: str
    bytes: int


class Driver(Protocol):
    """One kind of store.

    Whatever it raises is translated by stages/storage/faults.py; FileNotFoundError and
    FileExistsError have the meaning said here.
    """

    def create(self, path: str, data: bytes) -> None:
        """Write a small file, whole or not at all, only if there is none: FileExistsError."""

    def read(self, path: str) -> bytes:
        """Read a small file: FileNotFoundError."""

    def walk(self, folder: str) -> Iterator[tuple[str, int]]:
        """All files below a folder, with their sizes; none if the folder is not there."""

    def size(self, path: str) -> int | None:
        """Bytes of a file; None if it is not there."""

    def delete(self, path: str) -> None:
        """Remove a file; nothing happens if it is not there."""

    def put(self, path: str, source: Source, progress: Progress) -> None:
        """Upload a file so that it appears whole and verified, or not at all."""

    def holds(self, path: str, source: Source) -> bool:
        """Whether what lies at `path` is `source`: by the store's checksum, or by reading it."""

    def chunks(self, path: str, size: int) -> Iterator[bytes]:
        """The first `size` bytes, in pieces of at most `PART`."""

    def leftovers(self, older_than_s: float) -> list[str]:
        """What killed uploads left, older than that."""

    def clear(self, leftover: str) -> None:
        """Remove one of these."""


def reading(source: Source, piece: int) -> Iterator[bytes]:
    """A local file in pieces of at most `piece` bytes.

    Raises:
        IntegrityError: it is not what it was when its digest was taken, known after the last piece.
    """
    digest = hashlib.sha256()
    with source.path.open("rb") as stream:
        while data := stream.read(piece):
            digest.update(data)
            yield data
    if digest.hexdigest() != source.sha256:
        msg = f"{source.path} was changed while it was uploaded"
        raise errors.IntegrityError(msg, mend=_CHANGED)


def sha256(pieces: Iterable[bytes]) -> str:
    """Hex SHA-256 of what comes in pieces."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def pieces(stream: IO[bytes], size: int) -> Iterator[bytes]:
    """The next `size` bytes, or what there is of them, in pieces of at most `PART`."""
    while size > 0 and (data := stream.read(min(size, PART))):
        size -= len(data)
        yield data


def older(
    files: Iterable[tuple[str, int]], modified: Callable[[str], float], than_s: float
) -> list[str]:
    """Names of those files, given with sizes, that were modified more than `than_s` seconds ago."""
    before, found = time.time() - than_s, []
    for name, _ in files:
        with contextlib.suppress(FileNotFoundError):  # another promotion is done with it
            if modified(name) < before:
                found.append(name)
    return found
