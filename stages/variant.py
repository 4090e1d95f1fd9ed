# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The chain with another params file: `python -m stages.variant params.frameworks.yaml`.

It runs the same dvc.yaml in a temporary clone of the working tree and leaves the project as it is.
DVC's cache is the project's own, and the last run's dvc.lock is kept beside its logs, so what was
made once is not made again.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from stages.lib import console, errors, files, layout

if TYPE_CHECKING:
    from collections.abc import Iterator

_LISTED = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
_DVC = ("-m", "dvc")
_PR_SET_PDEATHSIG = 1
_PATIENCE_S = 5.0
_PAUSE_S = 0.05


def main(words: argparse.Namespace) -> int:
    """Run the chain with `words.params` in the place of params.yaml; print the closing table.

    Returns:
        The status of what failed first, `check` or `dvc repro`; 0 if nothing did.
    """
    root, given = Path.cwd(), Path(words.params)
    if not given.is_file():
        msg = f"{given} is not there"
        raise errors.ParamsError(msg, mend="name a file with the schema of params.yaml")
    with files.scratch() as scratch:
        folder = scratch / "project" if words.keep is None else _kept(Path(words.keep), root)
        clone(root, folder)
        shutil.copyfile(given, folder / layout.PARAMS)
        logs = layout.LOGS / given.stem
        logs.mkdir(parents=True, exist_ok=True)
        # That of the project records the other file.
        (folder / layout.LOCK).unlink(missing_ok=True)
        last = logs / layout.LOCK
        if last.is_file():
            shutil.copyfile(last, folder / layout.LOCK)
        (folder / layout.LOGS).symlink_to(root / logs)
        console.say(
            f"in a temporary clone, where params.yaml is {given}, and .logs/ is {logs.as_posix()}/:"
        )
        status = _chain(folder, scratch, _cache(root))
        if (folder / layout.LOCK).is_file():
            files.write_bytes(last, (folder / layout.LOCK).read_bytes())
    if words.keep is not None:
        console.say(f"the clone is kept: {folder}")
    return status


def clone(root: Path, folder: Path) -> None:
    """Copy what Git tracks in `root`, or would, as it lies there: uncommitted edits count.

    `folder` becomes a repository of its own, without a commit, as DVC needs one.

    Raises:
        HistoryError: `root` is no Git repository.
    """
    listed = subprocess.run(_LISTED, cwd=root, capture_output=True, check=False)
    if listed.returncode:
        said = listed.stderr.decode("utf-8", "backslashreplace").strip()
        raise errors.HistoryError(f"git ls-files failed:\n{said}", mend="run it in a Git clone")
    for name in sorted({os.fsdecode(name) for name in listed.stdout.split(b"\0") if name}):
        source, target = root / name, folder / name
        if source.is_symlink() or source.is_file():  # else it was deleted, and not yet committed
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, env=_environment(), check=True)


def _kept(folder: Path, root: Path) -> Path:
    """Where the clone shall stay, as an absolute path."""
    folder = folder.resolve()
    if folder.is_relative_to(root):
        msg = f"{folder} lies in the project, and would be part of the next clone"
        raise errors.ParamsError(msg, mend="keep the clone in a folder elsewhere")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"{folder} is there already, and not empty"
        raise errors.ParamsError(msg, mend="name a new folder, or remove what is in it")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _cache(root: Path) -> Path:
    """DVC's cache of the project, wherever its configuration has it."""
    words = [sys.executable, *_DVC, "cache", "dir"]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"`dvc cache dir` failed:\n{done.stderr.strip()}"
        raise errors.ArtifactError(msg, mend="see what `dvc doctor` says")
    return root / done.stdout.strip()


def _chain(folder: Path, scratch: Path, cache: Path) -> int:
    """As `make repro` does it."""

    def run(*words: str, quietly: bool = False) -> int:
        with _running(folder, scratch, *words, quietly=quietly) as process:
            status = process.wait()
        return status if status >= 0 else 128 - status

    tracked = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.dvc"))
    data = [path for path in tracked if (folder / path).is_file()]  # models may be DVC's too
    status = run(*_DVC, "cache", "dir", "--local", str(cache))
    status = status or (run(*_DVC, "checkout", *data) if data else 0)
    status = status or run("-m", "stages.check")
    if not status:
        # Else DVC writes its lock once for each stage, which takes longer than all the rest. What
        # is not in the cache any more is made again.
        run(*_DVC, "checkout", "--force", quietly=True)
        status = run(*_DVC, "repro", "--keep-going")
        run("-m", "stages.table")
    return status


@contextlib.contextmanager
def _running(
    folder: Path, scratch: Path, *words: str, quietly: bool
) -> Iterator[subprocess.Popen[bytes]]:
    """A command in the clone; nothing that it started is left when the block ends."""
    here = _environment()
    programs = [str(Path(sys.executable).parent), here.get("PATH", os.defpath)]
    variables = {
        "DVC_NO_ANALYTICS": "true",
        "DVC_SITE_CACHE_DIR": str(scratch / "dvc"),  # else a folder in /var/tmp for each clone
        "PATH": os.pathsep.join(programs),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(scratch),
    }
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        env=here | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if quietly else None,
        stderr=subprocess.DEVNULL if quietly else None,
        process_group=0,  # DVC would go on with other stages after an interrupt
        preexec_fn=_end_with_us,  # noqa: PLW1509 (no threads here)
    )
    try:
        yield process
    finally:
        _end(process)


def _environment() -> dict[str, str]:
    """Without what would lead Git to the project: a hook has GIT_DIR set."""
    here = dict(os.environ)  # noqa: TID251 (no output has it)
    return {name: value for name, value in here.items() if not name.startswith("GIT_")}


def _end_with_us() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a process group; stages clean up after SIGTERM."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + _PATIENCE_S
        there = _signal(process.pid, number)
        while there and time.monotonic() < until:
            time.sleep(_PAUSE_S)
            process.poll()
            there = _signal(process.pid, 0)
        if not there:
            return


def _signal(group: int, number: int) -> bool:
    """Send a signal; return whether anybody is there to get it."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    made = argparse.ArgumentParser(prog="python -m stages.variant", description=__doc__)
    made.add_argument("params", help="a file with the schema of params.yaml")
    made.add_argument("--keep", metavar="FOLDER", help="keep the clone there, to look at packages")
    return made


if __name__ == "__main__":
    console.run_parsed("variant", main, parser())
