# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Work on foreign bytes: what it may take, and how its end is told."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stages.lib import confined, errors

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
LIMITS = {"memory_mib": 1024, "seconds": 20}


def run(work: Callable[[], Any], **limits: int) -> Any:
    return confined.run(work, LIMITS | limits, what="net.onnx", key="models.m.limits", label="test")


def test_the_result_comes_back_and_nothing_else_changes() -> None:
    seen: list[int] = []

    def work() -> dict[str, Any]:
        seen.append(os.getpid())
        return {"large": "x" * (1 << 20), "pid": os.getpid()}

    result = run(work)
    assert len(result["large"]) == 1 << 20
    assert result["pid"] != os.getpid()
    assert seen == []


def test_a_failure_of_ours_keeps_its_class_and_words() -> None:
    def work() -> None:
        raise errors.SamplesError("no samples", mend="make some")

    with pytest.raises(errors.SamplesError, match="no samples") as caught:
        run(work)
    assert (caught.value.what, caught.value.mend) == ("no samples", "make some")
    assert "in work" in caught.value.__notes__[0]  # shown by --debug


def test_a_full_disk_is_told_as_such() -> None:
    def work() -> None:
        with open("/dev/full", "wb", buffering=0) as stream:  # noqa: PTH123
            stream.write(b"x")

    with pytest.raises(OSError, match="No space left on device"):
        run(work)


@pytest.mark.parametrize(
    "end", [lambda: sys.exit(3), lambda: os.environ["NO SUCH"]], ids=["exit", "error"]
)
def test_any_other_failure_is_a_fault_of_ours(end: Callable[[], Any]) -> None:
    with pytest.raises(RuntimeError, match=r"SystemExit: 3|KeyError: 'NO SUCH'"):
        run(end)


def test_memory_ends_at_the_limit() -> None:
    with pytest.raises(errors.LimitError, match="needs more than 1024 MiB of memory") as caught:
        run(lambda: len(bytearray(2 << 30)))
    assert caught.value.exit_code == 22
    assert "raise models.m.limits in params.yaml" in caught.value.mend
    assert run(lambda: len(bytearray(2 << 30)), memory_mib=4096) == 2 << 30


def test_weights_mapped_from_a_file_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    with file.open("wb") as stream:
        stream.truncate(4 << 30)

    def work() -> int:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as data:
            return len(data)

    assert run(work) == 4 << 30


def test_time_ends_at_the_limit() -> None:
    begin = time.monotonic()
    with pytest.raises(errors.LimitError, match=r"net\.onnx takes longer than 1 s"):
        run(lambda: time.sleep(60), seconds=1)
    assert time.monotonic() - begin < 20


def test_a_crash_takes_only_the_child_along() -> None:
    with pytest.raises(errors.SourceModelError, match=r"net.onnx crashed .*\(SIGSEGV\)"):
        run(lambda: ctypes.string_at(0))
    with pytest.raises(errors.SourceModelError, match=r"crashed .*\(SIGABRT\)"):
        run(os.abort)


def test_a_killed_child_means_a_lack_of_memory() -> None:
    with pytest.raises(errors.LimitError, match="exhausted the memory"):
        run(lambda: os.kill(os.getpid(), signal.SIGKILL))


def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    code = """
        import os, sys, time
        from pathlib import Path
        from stages.lib import confined

        def work():
            Path(sys.argv[1]).write_text(str(os.getpid()))
            time.sleep(60)

        limits = {"memory_mib": 1024, "seconds": 60}
        confined.run(work, limits, what="w", key="k", label="l")
    """
    note = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(note)], cwd=ROOT)
    while not (note.exists() and note.read_text()):
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    child = Path("/proc", note.read_text())
    end = time.monotonic() + 10
    while child.exists() and time.monotonic() < end and "zombie" not in _state(child):
        time.sleep(0.02)
    assert not child.exists() or "zombie" in _state(child)


def _state(process: Path) -> str:
    try:
        return (process / "status").read_text()
    except OSError:
        return "zombie"
