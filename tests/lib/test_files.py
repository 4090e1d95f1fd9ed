# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Files appear whole or not at all, and JSON and digests are the same everywhere."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib import errors, files

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def write_folder(path: Path, **contents: str) -> None:
    with files.writing(path) as temporary:
        temporary.mkdir()
        for name, text in contents.items():
            (temporary / name).write_text(text)


def write_half(path: Path) -> None:
    with files.writing(path) as temporary:
        temporary.write_bytes(b"ne")
        raise KeyError("stop")


def write_half_a_folder(path: Path) -> None:
    with files.writing(path) as temporary:
        temporary.mkdir()
        (temporary / "a").write_text("new")
        raise KeyError("stop")


def test_canonical_json_is_these_bytes() -> None:
    value = {"b": [1, 2.5, None, True], "a": {"é": "x", "": 1e-9}, "Z": []}
    assert files.canonical_json(value) == (
        b'{\n  "Z": [],\n  "a": {\n    "": 1e-09,\n    "\xc3\xa9": "x"\n  },\n'
        b'  "b": [\n    1,\n    2.5,\n    null,\n    true\n  ]\n}\n'
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [{"a": -float("inf")}]])
def test_json_has_no_nan_and_no_infinity(value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.canonical_json(value)


@given(value=st.dictionaries(st.text(), JSON, max_size=4))
def test_json_comes_back_and_order_does_not_matter(value: dict[str, Any]) -> None:
    data = files.canonical_json(value)
    assert json.loads(data) == value
    assert files.canonical_json(dict(reversed(value.items()))) == data


def test_missing_and_broken_json_are_artifact_errors(tmp_path: Path) -> None:
    with pytest.raises(errors.ArtifactError, match=r"a\.json is not there"):
        files.read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(b'{"a": ')
    with pytest.raises(errors.ArtifactError, match=r"a\.json is not valid JSON"):
        files.read_json(tmp_path / "a.json")
    with pytest.raises(errors.ArtifactError, match="nothing is not there"):
        files.need(tmp_path / "nothing")
    assert files.need(tmp_path) == tmp_path


def test_digests_are_of_the_bytes_by_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("g/sub/__pycache__").mkdir(parents=True)
    for name in ("g/b", "g/sub/a", "g/.gitkeep", "g/sub/__pycache__/x.pyc"):
        Path(name).write_bytes(b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256(Path("g/b")) == abc
    assert files.digests(Path("g/b")) == {"g/b": abc}
    assert list(files.digests(Path("g")).items()) == [("g/b", abc), ("g/sub/a", abc)]
    with pytest.raises(errors.ArtifactError, match="g/c is not there"):
        files.sha256(Path("g/c"))


def test_a_digest_of_many_chunks(tmp_path: Path) -> None:
    (tmp_path / "zeros").write_bytes(bytes(3 << 20))
    wanted = hashlib.sha256(bytes(3 << 20)).hexdigest()
    assert files.sha256(tmp_path / "zeros") == wanted


def test_a_block_that_raises_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out" / "a.bin"
    files.write_bytes(path, b"old")
    with pytest.raises(KeyError, match="stop"):
        write_half(path)
    assert path.read_bytes() == b"old"
    assert listing(tmp_path) == ["out", "out/a.bin"]


def test_a_block_that_raises_leaves_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "graph"
    write_folder(path, a="old", b="old")
    with pytest.raises(KeyError, match="stop"):
        write_half_a_folder(path)
    assert listing(tmp_path) == ["graph", "graph/a", "graph/b"]
    assert (path / "a").read_text() == "old"


def test_a_block_that_writes_nothing_fails_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"\.a\."), files.writing(tmp_path / "a"):
        pass
    assert listing(tmp_path) == []


@pytest.mark.parametrize("swap", [True, False])
def test_a_folder_is_replaced_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, swap: bool
) -> None:
    if not swap:  # a system without renameat2
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    path = tmp_path / "graph"
    write_folder(path, a="1", b="1")
    write_folder(path, a="2", c="2")
    assert listing(tmp_path) == ["graph", "graph/a", "graph/c"]
    assert (path / "a").read_text() == "2"


def test_a_folder_is_there_all_the_time_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("graph")  # relative, as all paths of stages are
    write_folder(path, a="0")
    seen, done = set(), threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.add(path.is_dir())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(60):
        write_folder(path, a=str(number))
    done.set()
    watcher.join()
    assert seen == {True}


def test_file_and_folder_can_take_each_others_place(tmp_path: Path) -> None:
    path = tmp_path / "a"
    files.write_bytes(path, b"file")
    write_folder(path, a="1")
    assert listing(tmp_path) == ["a", "a/a"]
    files.write_bytes(path, b"file")
    assert listing(tmp_path) == ["a"]


def test_links_are_replaced_not_written_through(tmp_path: Path) -> None:
    cached, linked = tmp_path / "cached", tmp_path / "linked"
    cached.write_bytes(b"in the cache")
    for link in (os.link, os.symlink):
        link(cached, linked)
        files.write_bytes(linked, b"new")
        assert cached.read_bytes() == b"in the cache"
        assert not linked.is_symlink()
        linked.unlink()
    (tmp_path / "folder").mkdir()
    linked.symlink_to(tmp_path / "folder")
    write_folder(linked, a="1")
    assert listing(tmp_path) == ["cached", "folder", "linked", "linked/a"]
    assert not linked.is_symlink()


KILLED = """
import sys, time
from pathlib import Path
from stages.lib import files
with files.writing(Path(sys.argv[1])) as temporary:
    if sys.argv[2] == "folder":
        temporary.mkdir()
        temporary = temporary / "model.onnx"
    temporary.write_bytes(b"half")
    print("half", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_kill_leaves_the_old_one_and_the_next_run_sweeps(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    if kind == "file":
        files.write_bytes(path, b"old")
    else:
        write_folder(path, a="old")
    before = listing(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), kind],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
    left = set(listing(tmp_path)) - set(before)
    assert f".a.{process.pid}.tmp" in left
    assert set(before) <= set(listing(tmp_path))
    (tmp_path / ".ab.1.tmp").touch()  # another output's

    if kind == "file":
        assert path.read_bytes() == b"old"
        files.write_bytes(path, b"new")
    else:
        assert (path / "a").read_text() == "old"
        write_folder(path, a="new")
    assert listing(tmp_path) == sorted([".ab.1.tmp", *before])


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of 64 KiB at `folder`; skips where this user may not mount."""
    options = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"not run: no right to mount a small disk ({done.stderr.strip()})")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def small_files(limit: int) -> Iterator[None]:
    """No file of this process may grow beyond `limit`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_a_storage_error_and_leaves_the_old_one(tmp_path: Path) -> None:
    with small_disk(tmp_path):
        path = tmp_path / "a"
        files.write_bytes(path, b"old")
        with pytest.raises(errors.StorageError, match="No space left") as caught:
            files.write_bytes(path, bytes(1 << 20))
        assert caught.value.exit_code == 16
        assert f"df -h {tmp_path}" in caught.value.mend
        assert path.read_bytes() == b"old"
        assert listing(tmp_path) == ["a"]
        with pytest.raises(errors.StorageError, match="No space left"):
            write_folder(tmp_path / "graph", a="x" * (1 << 20))
        assert listing(tmp_path) == ["a"]


def test_a_refused_write_is_a_storage_error_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    files.write_bytes(path, b"old")
    with small_files(1000), pytest.raises(errors.StorageError, match="File too large"):
        files.write_bytes(path, bytes(1 << 20))
    assert path.read_bytes() == b"old"
    assert listing(tmp_path) == ["a"]


def test_scratch_is_swept_and_knows_a_full_disk() -> None:
    with files.scratch() as folder:
        (folder / "a").write_text("x")
    assert not folder.exists()
    with pytest.raises(errors.StorageError, match="No space left"), files.scratch() as folder:
        Path("/dev/full").write_bytes(b"x")
    assert not folder.exists()


def test_hashing_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as stream:
        stream.truncate(256 << 20)
    tracemalloc.start()
    try:
        assert files.hashes(path, "sha256") == (hashlib.sha256(bytes(256 << 20)).hexdigest(),)
        tracemalloc.reset_peak()
        files.hashes(path, "sha256", "md5")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_scratch_without_any_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", none)
    with pytest.raises(errors.StorageError, match="No usable temporary directory") as caught:
        files.scratch().__enter__()
    assert "TMPDIR" in caught.value.mend


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of root, which may write anywhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_folder_that_may_not_be_written_is_a_storage_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with nobody(), pytest.raises(errors.StorageError, match="Permission denied") as caught:
            files.write_bytes(tmp_path / "b" / "a", b"new")
        assert "ls -ld" in caught.value.mend
    finally:
        tmp_path.chmod(0o700)


def test_a_source_that_may_not_be_read_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    secret = tmp_path / "source" / "weights"
    secret.parent.mkdir()
    secret.write_bytes(b"w")
    secret.chmod(0)
    with nobody(), pytest.raises(PermissionError), files.storage_errors(tmp_path / "out" / "a"):
        secret.read_bytes()
