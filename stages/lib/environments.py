# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Virtual environments of exporters that cannot share the chain's own.

Each is made once from a version-pinned lock, `requirements/export-<framework>.txt`, in the user's
cache folder (XDG Base Directory Specification), and named by the lock's digest: clones share it,
and a new lock makes another one. It has no pip, so nothing can install itself into it later.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

from stages.lib import console, errors, files, layout, pins, unmade

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LOCKS = "export-*.txt"
_MARK = "enginery.json"  # written last: an environment without it is half-made
_SCRATCH = "tmp"  # pip's own, below the environment: what a kill leaves there goes with it
_DIGITS = 16
_PIN = re.compile(r"^([\w.-]+)==(\S+)$", re.MULTILINE)
# pip starts itself a second time, in the environment. When we are killed, it shall interrupt that
# one; until both are gone it holds our lock, so nobody else begins in the same folder.
_PIP = (
    "import ctypes, os, runpy, signal, sys;"
    "signal.signal(signal.SIGINT, signal.default_int_handler);"
    "ctypes.CDLL(None).prctl(1, signal.SIGINT);"  # PR_SET_PDEATHSIG
    "os.getppid() == int(sys.argv.pop(1)) or sys.exit(1);"
    "runpy.run_module('pip', run_name='__main__', alter_sys=True)"
)


def frameworks() -> list[str]:
    """Frameworks with an environment of their own, sorted."""
    locks = layout.LOCKS.glob(_LOCKS)
    return sorted(path.stem.removeprefix("export-") for path in locks)


def lock(framework: str) -> Path:
    """The lock of a framework's environment; without one it runs in the chain's own."""
    return layout.LOCKS / f"export-{framework}.txt"


def pinned(framework: str) -> dict[str, str]:
    """Version by package of a framework's lock; names as pins.name makes them."""
    found = _PIN.findall(lock(framework).read_text(encoding="utf-8"))
    return {pins.name(package): version for package, version in found}


def folder(framework: str) -> Path:
    """Where a framework's environment lies, or will."""
    import platformdirs  # `doctor` runs without it

    name = f"{framework}-py{pins.python_minor()}-{files.sha256(lock(framework))[:_DIGITS]}"
    return platformdirs.user_cache_path("enginery") / "environments" / name


def ready(framework: str) -> bool:
    """Whether it is made, holds what its lock names and no more, and its Python is there."""
    home = folder(framework)
    whole = (home / _MARK).is_file() and _python(home).exists()
    return whole and packages(framework) == pinned(framework)


def packages(framework: str) -> dict[str, str]:
    """Installed version by package in a framework's environment; nothing if it is not made."""
    return pins.installed_below(_site(folder(framework)))


def interpreter(framework: str, given: Mapping[str, str]) -> Path:
    """The interpreter of a framework's environment, which is made if there is none.

    Args:
        framework: one of `frameworks()`.
        given: interpreters that others have made, by framework: `interpreters` in params.yaml.

    Raises:
        EnvironmentUnmadeError: it is not there, or cannot be made.
    """
    if framework in given:
        path = Path(given[framework])
        if not (path.is_file() and os.access(path, os.X_OK)):
            fault = "cannot be run" if path.exists() else "is not there"
            msg = f"interpreters.{framework} in params.yaml names {path}, which {fault}"
            raise errors.EnvironmentUnmadeError(msg, mend=unmade.OTHER)
        return path
    make(framework)
    return _python(folder(framework))


def mend(framework: str, used: Path) -> str:
    """What to do when an interpreter cannot run its exporter."""
    home = folder(framework)
    return f"`rm -r {home}`, then `make envs`" if used == _python(home) else unmade.OTHER


def make(framework: str) -> None:
    """Make a framework's environment, unless it is there.

    Raises:
        EnvironmentUnmadeError: it cannot be made; nothing of it is left.
    """
    if ready(framework):  # nothing is written then: it may lie on a read-only disk
        return
    home = folder(framework)
    with _reporting(framework), _alone(home) as held:
        if ready(framework):
            return
        _clear(home)
        try:
            _fill(framework, home, held)
        except BaseException:
            with contextlib.suppress(OSError):
                _clear(home)
            raise


@contextlib.contextmanager
def _reporting(framework: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        said = f"{error.strerror or error}: {error.filename or folder(framework)}"
        raise unmade.error(framework, folder(framework).parent, said) from error
    except errors.StorageError as error:
        raise unmade.error(framework, folder(framework).parent, error.what) from error


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[IO[str]]:
    """One process at a time; the others wait for what it makes."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_name(f"{home.name}.lock").open("w", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.say(f"another process makes {home.name}: waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream


def _clear(home: Path) -> None:
    """Remove an environment; its mark first, so that a kill leaves nothing that looks whole."""
    (home / _MARK).unlink(missing_ok=True)
    if home.exists():
        shutil.rmtree(home)


def _fill(framework: str, home: Path, held: IO[str]) -> None:
    begin, wanted = time.monotonic(), pinned(framework)
    if pins.installed("pip") is None:
        raise unmade.without_pip(framework)
    console.say(f"environment of {framework}: {len(wanted)} packages into {home}")
    _run(framework, ["-m", "venv", "--without-pip", str(home)], held)
    (home / _SCRATCH).mkdir()
    log = layout.log("environment", framework)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    # All of it is in the lock, so nothing is resolved and nothing else can come along.
    pip = ["--python", str(_python(home)), "install", "--no-deps", "--no-input"]
    pip += [] if sys.stderr.isatty() else ["--quiet", "--progress-bar", "off"]
    pip += ["--disable-pip-version-check", "--log", str(log), "--requirement"]
    _run(framework, ["-P", "-c", _PIP, str(os.getpid()), *pip, str(lock(framework))], held)
    if (found := packages(framework)) != wanted:
        raise unmade.other(framework, found, wanted)
    shutil.rmtree(home / _SCRATCH)
    os.sync()  # what the mark vouches for is on the disk before it
    files.write_json(home / _MARK, {"lock": files.sha256(lock(framework)), "packages": wanted})
    console.say(f"environment of {framework}: made in {time.monotonic() - begin:.0f} s")


def _run(framework: str, words: list[str], held: IO[str]) -> None:
    """Run Python; its progress goes to the terminal, and what it complains of is kept."""
    process = subprocess.Popen(
        [sys.executable, *words],
        env=_variables() | {"TMPDIR": str(folder(framework) / _SCRATCH)},
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno() if sys.stderr.isatty() else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        pass_fds=[held.fileno()],
        start_new_session=True,
    )
    try:
        _, said = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode:
        said = said.strip() or f"status {process.returncode}"
        raise unmade.error(framework, folder(framework).parent, said)


def _variables() -> dict[str, str]:
    """What is set for pip stays; what is set for Python would bring modules of elsewhere."""
    settings = os.environ.items()  # noqa: TID251 (the lock alone decides what is installed)
    return {name: value for name, value in settings if not name.startswith("PYTHON")}


def _site(home: Path) -> Path:
    return home / "lib" / f"python{pins.python_minor()}" / "site-packages"


def _python(home: Path) -> Path:
    return home / "bin" / "python"
