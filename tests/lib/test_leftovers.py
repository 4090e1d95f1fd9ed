# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Scratch folders: those of the killed are removed, those of the living are not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stages.lib import leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLDER = """
import sys, time
from stages.lib import leftovers
with leftovers.folder() as made:
    (made / "model.onnx").write_bytes(b"x")
    print(made, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def holder(parent: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process, and the folder that it holds."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        env={**os.environ, "TMPDIR": str(parent), "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def age(folder: Path) -> None:
    long_ago = time.time() - 3600
    os.utime(folder, (long_ago, long_ago))


def test_it_is_empty_and_gone_afterwards(parent: Path) -> None:
    with leftovers.folder() as made:
        assert list(made.iterdir()) == []
        (made / "a").mkdir()
        assert made.parent == parent
    assert list(parent.iterdir()) == []


def test_what_a_killed_process_left_is_removed(
    holder: tuple[subprocess.Popen[str], Path],
) -> None:
    process, folder = holder
    age(folder)
    with leftovers.folder():
        assert (folder / "model.onnx").is_file()  # it lives
    process.kill()
    process.wait()
    with leftovers.folder() as made:
        assert not folder.exists()
        age(made)
        with leftovers.folder():
            assert made.is_dir()  # one process may hold two


def test_what_is_younger_than_its_lock_or_not_ours_stays(parent: Path) -> None:
    young = parent / f"{leftovers._PREFIX}a"
    link = parent / f"{leftovers._PREFIX}b"
    other = parent / "enginery"
    target = parent / "target"
    for folder in (young, other, target):
        folder.mkdir()
    link.symlink_to(target)
    for folder in (other, target):
        age(folder)
    with leftovers.folder():
        pass
    assert all(folder.is_dir() for folder in (young, other, target, link))
