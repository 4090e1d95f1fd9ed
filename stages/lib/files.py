# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all, scratch folders, canonical JSON, and digests."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from stages.lib import errors, leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 18
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _sweep(path: Path) -> None:
    """Remove what killed runs left beside `path`."""
    for stale in path.parent.glob(f".{path.name}.*.tmp"):
        _remove(stale)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk, met while writing `path`, into a StorageError."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            mend = f"make room (`df -h {path.parent}`)"
        elif error.errno in _NOT_ALLOWED and _near(error.filename, path):
            mend = f"see who may write there (`ls -ld {error.filename}`)"
        else:
            raise
        msg = f"could not write {path}: {os.strerror(error.errno)}"
        raise errors.StorageError(msg, mend=f"{mend}, then run the same command again") from error


def _near(name: str | None, path: Path) -> bool:
    """Whether a failed call was about `path`: what a block reads lies elsewhere."""
    return name is not None and (
        Path(name).is_relative_to(path.parent) or path.is_relative_to(name)
    )


@contextlib.contextmanager
def writing(path: Path, *, beside: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it there if the block succeeds.

    The block may make a file or a folder of the temporary path. If it raises, or the process is
    killed, `path` is as it was before.

    Args:
        path: what to write.
        beside: another path of the same file system that the temporary one shall lie beside.

    Raises:
        StorageError: the disk is full or read-only.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(beside or path)
        temporary = _beside(beside or path)
        try:
            yield temporary
            _sync(temporary)
            _replace(temporary, path)
        finally:
            _remove(temporary)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yield an empty temporary folder for what no later stage reads; gone afterwards.

    What a killed run left of its own is removed by the next one (stages/lib/leftovers.py).

    Raises:
        StorageError: the disk is full or read-only.
    """
    try:
        everything = Path(tempfile.gettempdir()) / "*"
    except FileNotFoundError as error:
        mend = "set TMPDIR to a folder that you may write to"
        raise errors.StorageError(str(error), mend=mend) from None
    with storage_errors(everything), leftovers.folder() as made:
        yield made


def _sync(path: Path) -> None:
    for file in _files(path) if path.is_dir() else [path]:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())


def _replace(temporary: Path, path: Path) -> None:
    folders = temporary.is_dir() or path.is_dir()
    if folders and (path.exists() or path.is_symlink()):
        _exchange(temporary, path)  # `writing` removes the old one under its new name
    else:
        temporary.replace(path)


def _exchange(one: Path, other: Path) -> None:
    """Swap two paths, since rename(2) cannot replace a full folder: in one step on Linux."""
    swap = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    ends = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other))
    if swap is not None and swap(*ends, _RENAME_EXCHANGE) == 0:
        return
    # Another system, or a file system that cannot: a kill in between leaves `other` missing.
    aside = other.with_name(f"{one.name}.old.tmp")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with writing(path) as temporary:
        temporary.write_bytes(data)


def copy(source: Path, target: Path) -> None:
    """Copy a file inside the kernel; XFS, Btrfs and their like share its blocks instead."""
    with target.open("xb", buffering=0) as stream:
        copy_range(source, 0, source.stat().st_size, stream)


def copy_range(source: Path, offset: int, count: int, stream: IO[bytes]) -> None:
    """Append `count` bytes of a file to another that is open, inside the kernel where it can.

    Raises:
        ArtifactError: the file ends before.
    """
    stream.flush()
    left = count
    with source.open("rb", buffering=0) as origin:
        while left:
            try:
                done = os.copy_file_range(origin.fileno(), stream.fileno(), left, offset)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise
                done = stream.write(os.pread(origin.fileno(), min(left, _CHUNK), offset))
                stream.flush()
            if not done:
                msg = f"{source} ends before byte {offset + left}"
                raise errors.ArtifactError(msg, mend="`dvc checkout --force` brings it back")
            offset, left = offset + done, left - done


def write_json(path: Path, value: Any) -> None:
    """Write `value` as canonical JSON: sorted keys, two spaces, one final newline."""
    write_bytes(path, canonical_json(value))


def canonical_json(value: Any) -> bytes:
    """Encode `value` canonically; refuses NaN and infinity, which JSON does not have.

    Raises:
        ValueError: `value` holds a float that is not finite.
    """
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def read_json(path: Path) -> Any:
    """Read a JSON artifact.

    Raises:
        ArtifactError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise missing(path) from None
    except ValueError as error:
        msg = f"{path} is not valid JSON: {error}"
        raise errors.ArtifactError(msg, mend="`make repro` makes it again") from None


def missing(path: Path) -> errors.ArtifactError:
    """The error for an output of an earlier stage that is not there."""
    msg = f"{path} is not there: the stage that writes it has not run, or failed"
    return errors.ArtifactError(msg, mend="run `make repro` (or `dvc repro`), which runs it first")


def need(path: Path) -> Path:
    """Return `path` if it exists.

    Raises:
        ArtifactError: it does not.
    """
    if not path.exists():
        raise missing(path)
    return path


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file of any size."""
    return hashes(path, "sha256")[0]


def hashes(path: Path, *names: str) -> tuple[str, ...]:
    """Hex digests of a file by the algorithms of these names, in one read and little memory.

    Raises:
        ArtifactError: the file is not there.
    """
    made = [hashlib.new(name, usedforsecurity=False) for name in names]
    buffer = memoryview(bytearray(_CHUNK))
    try:
        with path.open("rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                for one in made:
                    one.update(buffer[:count])
    except FileNotFoundError:
        raise missing(path) from None
    return tuple(one.hexdigest() for one in made)


def _files(folder: Path) -> list[Path]:
    found = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
    ignored = ("__pycache__", ".gitkeep")
    return sorted(file for file in found if not any(part in ignored for part in file.parts))


def digests(path: Path) -> dict[str, str]:
    """SHA-256 of a file, or of each file below a folder, by path relative to the root."""
    if path.is_dir():
        return {file.as_posix(): sha256(file) for file in _files(path)}
    return {path.as_posix(): sha256(path)}
