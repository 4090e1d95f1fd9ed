# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What really lies in the folder of a package, and what may not lie there."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stages.lib import files

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class File:
    """Size in bytes and digests in hex of one file; MD5 only if it was asked for."""

    bytes: int
    sha256: str
    md5: str = ""


def read(root: Path, *, md5: bool) -> tuple[dict[str, File], list[str]]:
    """Each file below `root`, read once, by its path there; and a line for whatever is none.

    A symbolic link is the file that it leads to, which must lie below `root` too.

    Args:
        root: resolved.
        md5: whether to compute that too, as DVC does; it is slower than SHA-256.
    """
    found, told = {}, []
    names = ("sha256", "md5") if md5 else ("sha256",)
    for path, fault in _walk(root, root):
        name = path.relative_to(root).as_posix()
        if fault is not None:
            told.append(f"{name}: {fault}")
            continue
        try:
            found[name] = File(path.stat().st_size, *files.hashes(path, *names))
        except OSError as error:
            told.append(f"{name}: cannot be read: {error.strerror}")
    return found, told


def _walk(root: Path, folder: Path) -> Iterator[tuple[Path, str | None]]:
    """All that lies below a folder, with what is wrong with it."""
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        yield folder, f"cannot be read: {error.strerror}"
        return
    for path in inside:
        kind = path.lstat().st_mode
        if stat.S_ISDIR(kind):
            yield from _walk(root, path)
        elif stat.S_ISLNK(kind):
            yield path, _bad_link(root, path)
        elif stat.S_ISREG(kind):
            yield path, None
        else:
            yield path, "is neither a file nor a folder"  # to open a pipe would wait for ever


def _bad_link(root: Path, path: Path) -> str | None:
    link, target = path.readlink(), Path(os.path.realpath(path))
    if not target.is_relative_to(root):
        return f"is a symbolic link that leaves the package, to {link}"
    if not target.is_file():
        return f"is a symbolic link to {link}, which is no file"
    return None
