# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Temporary folders that do not outlive a killed process for long: the next one removes them.

A folder is locked while its process lives (flock(2): the kernel drops the lock when it dies), so
what can be locked by another is nobody's. That holds between containers too, unlike process ids.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = ".enginery-scratch-"
# A folder is made a moment before it is locked.
_YOUNG_S = 60.0


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Yield an empty folder, locked, and remove it afterwards; first those of killed processes."""
    parent = Path(tempfile.gettempdir())
    _sweep(parent)
    made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    handle = os.open(made, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks: nobody sweeps there
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(handle)


def _sweep(parent: Path) -> None:
    for old in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # gone, in use, or another user's
            if time.time() - old.stat().st_mtime < _YOUNG_S:
                continue
            handle = os.open(old, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(old, ignore_errors=True)
            finally:
                os.close(handle)
