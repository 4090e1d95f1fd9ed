# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Environments made by the real pip from wheels of a few bytes: whole, or not there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import pytest

from stages.lib import environments, errors, layout

ROOT = Path(__file__).parents[2]
FRAMEWORK = "tiny"
# Slow to unpack, so that there is a middle in which to kill it.
PACKAGES = {"small-one": 1, "small-two": 1, "large": 2000}
MAKE = "from stages.lib import environments; environments.make('tiny')"


def wheel(folder: Path, name: str, count: int) -> None:
    """A wheel (packaging.python.org, binary distribution format) of `count` modules."""
    stem = f"{name.replace('-', '_')}-1.0"
    info = f"{stem}.dist-info"
    files = {f"{name.replace('-', '_')}/m{number}.py": "x = 1\n" * 50 for number in range(count)}
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = "".join(f"{path},,\n" for path in files) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for name, count in PACKAGES.items():
        wheel(folder, name, count)
    return folder


@pytest.fixture
def cache(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one lock, an empty cache, and a pip that has those wheels alone."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    project = tmp_path / "project"
    (project / "requirements").mkdir(parents=True)
    (project / "stages").symlink_to(ROOT / "stages")
    monkeypatch.chdir(project)
    lock("small_one==1.0", "small-two==1.0")
    return tmp_path / "cache/enginery/environments"


def lock(*lines: str) -> None:
    Path(f"requirements/export-{FRAMEWORK}.txt").write_text("\n".join(["# Pinned.", *lines, ""]))


def left(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if not path.name.endswith(".lock")]


def imports(python: Path, module: str) -> bool:
    words = [str(python), "-c", f"import {module}"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def test_made_on_first_use_and_kept(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert environments.frameworks() == [FRAMEWORK]
    assert not environments.ready(FRAMEWORK)
    assert environments.packages(FRAMEWORK) == {}
    python = environments.interpreter(FRAMEWORK, {})
    assert imports(python, "small_one, small_two")
    assert not imports(python, "pip")
    assert not imports(python, "numpy")
    assert environments.packages(FRAMEWORK) == {"small-one": "1.0", "small-two": "1.0"}
    first, last = capsys.readouterr().out.splitlines()
    assert first == f"environment of tiny: 2 packages into {python.parents[1]}"
    assert last.startswith("environment of tiny: made in ")
    before = python.parents[1].stat().st_mtime_ns
    assert environments.interpreter(FRAMEWORK, {}) == python
    assert python.parents[1].stat().st_mtime_ns == before
    assert capsys.readouterr().out == ""
    assert left(cache) == [python.parents[1].name]


def test_another_lock_makes_another_one(cache: Path) -> None:
    first = environments.interpreter(FRAMEWORK, {})
    lock("small-one==1.0")
    second = environments.interpreter(FRAMEWORK, {})
    assert first != second
    assert not imports(second, "small_two")
    assert imports(first, "small_two")
    assert len(left(cache)) == 2


def test_what_is_set_for_python_brings_nothing_in(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else pip takes what lies there for installed."""
    info = tmp_path / "elsewhere/small_one-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: small-one\nVersion: 1.0\n")
    monkeypatch.setenv("PYTHONPATH", str(info.parent))
    assert imports(environments.interpreter(FRAMEWORK, {}), "small_one")
    assert left(cache)


@pytest.mark.parametrize("damage", ["mark", "package", "more", "python"])
def test_one_that_is_not_whole_is_made_anew(cache: Path, damage: str) -> None:
    python = environments.interpreter(FRAMEWORK, {})
    home = python.parents[1]
    site = next(home.glob("lib/python*/site-packages"))
    if damage == "mark":
        (home / "enginery.json").unlink()
        (home / "half-made").touch()
    elif damage == "package":
        shutil.rmtree(site / "small_two")
        shutil.rmtree(site / "small_two-1.0.dist-info")
    elif damage == "more":
        shutil.copytree(site / "small_two-1.0.dist-info", site / "sneaky-2.0.dist-info")
        metadata = site / "sneaky-2.0.dist-info/METADATA"
        metadata.write_text("Metadata-Version: 2.1\nName: sneaky\nVersion: 2.0\n")
    else:
        for path in python.parent.glob("python*"):
            path.unlink()
        python.symlink_to("/gone/python3.11")
    assert not environments.ready(FRAMEWORK)
    assert environments.interpreter(FRAMEWORK, {}) == python
    assert environments.ready(FRAMEWORK)
    assert imports(python, "small_one, small_two")
    assert not (home / "half-made").exists()
    assert not (home / "tmp").exists()
    assert left(cache) == [home.name]


def start(**variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAKE],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def users(place: Path) -> list[str]:
    """Commands of processes that have `place` in them."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(place).encode() in (said := file.read_bytes()):
                found.append(said.decode(errors="replace"))
    return found


def gone(place: Path) -> bool:
    for _ in range(150):
        if not users(place):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("there", ["pyvenv.cfg", "lib/python*/site-packages/large/*"])
def test_killed_at_any_moment_it_is_made_anew(
    cache: Path, tmp_path: Path, there: str, sent: signal.Signals
) -> None:
    lock("small-one==1.0", "small-two==1.0", "large==1.0")
    home = environments.folder(FRAMEWORK)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    killed = start(TMPDIR=str(scratch))
    for _ in range(3000):
        if next(home.glob(there), None):
            break
        time.sleep(0.005)
    assert killed.poll() is None, "made before it was killed: make it larger"
    killed.send_signal(sent)
    killed.communicate(timeout=20)
    assert not environments.ready(FRAMEWORK)
    assert gone(cache), users(cache)  # pip, and the pip that it starts
    if there == "pyvenv.cfg":  # early enough to tell
        assert not list(home.rglob("large-1.0.dist-info/RECORD")), "it went on to the end"
    assert not list(scratch.iterdir()), "pip left what it had unpacked"
    if sent == signal.SIGINT:
        assert left(cache) == []
    (home / "half-made").parent.mkdir(parents=True, exist_ok=True)
    (home / "half-made").touch()
    python = environments.interpreter(FRAMEWORK, {})
    assert imports(python, "large.m1999")
    assert not (home / "half-made").exists()


def test_two_at_once_make_one(cache: Path) -> None:
    both = [start(), start()]
    said = "".join(process.communicate(timeout=60)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert said.count("made in ") == 1
    assert environments.ready(FRAMEWORK)
    assert len(left(cache)) == 1


def test_it_waits_for_a_pip_that_outlives_its_stage(cache: Path) -> None:
    """Its lock is pip's as well."""
    home = environments.folder(FRAMEWORK)
    home.parent.mkdir(parents=True)
    with home.with_name(f"{home.name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        sleeper = subprocess.Popen(["sleep", "1"], pass_fds=[stream.fileno()])
    waiting = start()
    said, _ = waiting.communicate(timeout=60)
    assert sleeper.poll() == 0
    assert said.startswith(f"another process makes {home.name}: waiting for it\n")
    assert environments.ready(FRAMEWORK)
    assert len(left(cache)) == 1


def test_on_a_terminal_pip_shows_its_progress(cache: Path) -> None:
    main, side = pty.openpty()
    done = subprocess.Popen([sys.executable, "-c", MAKE], stdout=subprocess.PIPE, stderr=side)
    os.close(side)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while data := os.read(main, 1 << 16):
            shown += data
    os.close(main)
    done.communicate(timeout=60)
    assert b"Successfully installed small-two-1.0 small_one-1.0" in shown
    assert left(cache)


def refused(words: str) -> errors.EnvironmentUnmadeError:
    with pytest.raises(errors.EnvironmentUnmadeError, match=words) as caught:
        environments.make(FRAMEWORK)
    assert "the environment of the exporter tiny could not be made:" in caught.value.what
    assert not environments.ready(FRAMEWORK)
    return caught.value


def test_offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_RETRIES", "0")
    error = refused(r"No matching distribution found for small[-_]one==1\.0")
    assert "`make envs FRAMEWORK=tiny` where the package index can be reached" in error.mend
    assert "`interpreters: {tiny: /path/to/bin/python}` in params.yaml" in error.mend
    assert left(cache) == []


def test_a_version_that_the_index_has_not(cache: Path) -> None:
    lock("small-one==7.0")
    error = refused(r"from versions: 1\.0")
    assert error.mend == "see .logs/environment-tiny.log, then `make envs FRAMEWORK=tiny`"
    assert "small-one==7.0" in layout.log("environment", FRAMEWORK).read_text()
    assert left(cache) == []


def test_packages_that_go_elsewhere(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))
    error = refused(r"not all is there:\nsmall-one 1\.0, found nothing\nsmall-two")
    assert "`pip config list` and the PIP_* variables" in error.mend
    assert left(cache) == []


def test_full_disk(cache: Path) -> None:
    cache.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", "size=300k", "tmpfs", str(cache)]
    done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"not run: no right to mount a small disk ({done.stderr.strip()})")
    lock("large==1.0")
    try:
        error = refused("No space left on device")
        assert f"make room (`df -h {cache}`; " in error.mend
        assert "or set XDG_CACHE_HOME to a folder on another disk" in error.mend
        assert left(cache) == []
        subprocess.run(["mount", "-o", "remount,size=64m", str(cache)], check=True)
        environments.make(FRAMEWORK)
        subprocess.run(["mount", "-o", "remount,ro", str(cache)], check=True)
        assert imports(environments.interpreter(FRAMEWORK, {}), "large")  # nothing is written
        lock("small-one==1.0")
        assert "set XDG_CACHE_HOME to a folder" in refused("Read-only file system").mend
    finally:
        subprocess.run(["umount", "--lazy", str(cache)], check=True)


@pytest.mark.usefixtures("cache")
def test_no_file_may_grow() -> None:
    code = textwrap.dedent("""
        import resource, sys
        from stages.lib import console, environments
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        sys.exit(console.guarded("t", lambda: environments.make("tiny"), debug=False))
    """)
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == errors.EnvironmentUnmadeError.exit_code
    assert "File too large" in done.stderr
    assert "To mend it: make room" in done.stderr


def test_a_cache_folder_that_cannot_be_written(cache: Path) -> None:
    cache.parents[1].write_text("a file")
    error = refused("Not a directory|File exists")
    assert f"set XDG_CACHE_HOME to a folder that you may write to (now {cache})" in error.mend


def test_without_pip(cache: Path, tmp_path: Path) -> None:
    """The chain's own environment lacks it: made by another tool than `make`."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "v")], check=True)
    site = next((tmp_path / "v").glob("lib/python*/site-packages"))
    (site / "platformdirs").symlink_to(Path(sys.modules["platformdirs"].__path__[0]))
    python = tmp_path / "v/bin/python"
    code = (
        "import sys; from stages.lib import console, environments;"
        "sys.exit(console.guarded('t', lambda: environments.make('tiny'), debug=False))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == errors.EnvironmentUnmadeError.exit_code
    assert f"{python} has no pip" in done.stderr
    assert f"To mend it: `{python} -m ensurepip`, then `make envs`" in done.stderr
    assert left(cache) == []


@pytest.mark.usefixtures("cache")
def test_given_interpreters(tmp_path: Path) -> None:
    path = tmp_path / "python"
    with pytest.raises(errors.EnvironmentUnmadeError, match="python, which is not there") as caught:
        environments.interpreter(FRAMEWORK, {FRAMEWORK: str(path)})
    assert caught.value.mend.startswith("correct `interpreters` in params.yaml: ")
    path.touch(0o644)
    with pytest.raises(errors.EnvironmentUnmadeError, match="python, which cannot be run"):
        environments.interpreter(FRAMEWORK, {FRAMEWORK: str(path)})
    assert environments.interpreter(FRAMEWORK, {FRAMEWORK: sys.executable}) == Path(sys.executable)
    assert not environments.folder(FRAMEWORK).exists()
    assert environments.mend(FRAMEWORK, path) == caught.value.mend
    own = environments.folder(FRAMEWORK)
    assert environments.mend(FRAMEWORK, own / "bin/python") == f"`rm -r {own}`, then `make envs`"
