# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""How a stage starts, shows progress and ends."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stages.lib import errors

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Mapping

_PR_SET_PDEATHSIG = 1
_SHOWN_AFTER_S = 2.0
_USAGE = 64  # EX_USAGE of sysexits.h
_INTERNAL = 70  # EX_SOFTWARE
_KEYS = ("model", "engine")  # of params.yaml

T = TypeVar("T")


def _die_with_dvc() -> None:
    """Ask Linux to end this process when DVC is killed: DVC itself leaves its commands running.

    Between the two stands a shell, or none: bash replaces itself by its last command, dash waits
    for it and would outlive DVC, so there the grandparent is watched too.
    """
    if sys.platform != "linux":
        return
    # SIGKILL: a supervisor may have started DVC with SIGTERM ignored, and that is inherited.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if "DVC_STAGE" not in os.environ:
        return
    parent = os.getppid()
    if b"stages." in _command(parent):
        _watch(_parent(parent))
    elif b"dvc" not in _command(parent):
        _end()


def _watch(process: int) -> None:
    """End this process when DVC's `process` does."""
    try:
        handle = os.pidfd_open(process)
    except OSError:  # gone; or a kernel before 5.3, where its going is not noticed
        handle = None
    if b"dvc" not in _command(process):
        _end()
    if handle is not None:
        threading.Thread(target=_wait, args=(handle,), daemon=True).start()


def _wait(handle: int) -> None:
    select.select([handle], [], [])
    _end()


def _end() -> None:
    sys.stderr.write("DVC, which started this stage, is gone: so it ends\n")
    sys.stderr.flush()
    os._exit(128 + signal.SIGKILL)


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _parent(process: int) -> int:
    """Parent of a process, 0 when it is gone (proc(5): the fourth field of stat)."""
    try:
        return int(Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def run(stage: str, main: Callable[..., int | None], *names: str) -> None:
    """Run `main` with the command line's words, one for each of `names`, and exit.

    A name in brackets is optional. What `main` returns is the status of the process.

    `--debug`, or ENGINERY_DEBUG=1 in the environment, shows tracebacks.
    """
    words = [word for word in sys.argv[1:] if word != "--debug"]
    required = sum(not name.startswith("[") for name in names)
    asked = {"-h", "--help"} & set(words)
    if asked or not required <= len(words) <= len(names):
        usage = " ".join(name if name.startswith("[") else f"<{name}>" for name in names)
        sys.stderr.write(f"usage: python -m stages.{stage} {usage} [--debug]\n")
        raise SystemExit(0 if asked else _USAGE)
    told = zip((name.strip("[]") for name in names), words, strict=False)
    given = {name: word for name, word in told if name in _KEYS}
    _run(stage, words, lambda: main(*words), given)


def run_parsed(
    stage: str, main: Callable[[argparse.Namespace], int | None], parser: argparse.ArgumentParser
) -> None:
    """As `run`, for a command with options: `main` takes what `parser` makes of the words."""
    words = [word for word in sys.argv[1:] if word != "--debug"]
    try:
        parsed = parser.parse_args(words)
    except SystemExit as end:
        raise SystemExit(_USAGE if end.code else 0) from None
    _run(stage, words, lambda: main(parsed))


def _run(
    stage: str,
    words: list[str],
    work: Callable[[], int | None],
    given: Mapping[str, str] | None = None,
) -> None:
    _die_with_dvc()
    # Else a stage that a supervisor ends leaves its temporary files.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    debug = "--debug" in sys.argv[1:] or os.environ.get("ENGINERY_DEBUG") == "1"
    code = guarded(" ".join([stage, *words]), work, debug=debug, given=given)
    # Else the exit walks every object of every library once more: a tenth of a second.
    gc.freeze()
    sys.exit(code)


def guarded(
    title: str,
    work: Callable[[], int | None],
    *,
    debug: bool,
    given: Mapping[str, str] | None = None,
) -> int:
    """Do `work`; print what went wrong as a paragraph; return the exit code.

    `given` says which `<model>` (or `<m>`) and `<engine>` (`<e>`) the messages speak of.
    """
    try:
        return work() or 0
    except errors.EngineryError as error:
        if debug:
            traceback.print_exc()
        said = error.paragraph()
        for kind, name in (given or {}).items():
            said = said.replace(f"<{kind}>", name).replace(f"<{kind[0]}>", name)
        sys.stderr.write(f"\n{title}: {said}\n\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{title}: interrupted; nothing half-written was left in place\n")
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 (Python flushes it at exit)
        return 128 + signal.SIGPIPE
    except (Exception, SystemExit) as error:  # a model's own code may call sys.exit
        if debug:
            traceback.print_exc()
        sys.stderr.write(
            f"\n{title}: unexpected {type(error).__name__}: {error}\n\n"
            "This is a fault of enginery, not of your files. Run the same command with --debug"
            " for the traceback, and report it.\n\n"
        )
        return _INTERNAL


def say(line: str) -> None:
    """Print one line for the person who watches."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def elapsing(label: str) -> Iterator[None]:
    """Show the time that a block takes which cannot tell how far it is; none without a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()

    def tick() -> None:
        begin = time.monotonic()
        while not done.wait(1.0):
            if (seconds := time.monotonic() - begin) > _SHOWN_AFTER_S:
                sys.stderr.write(f"\r{label}: {seconds:.0f} s")
                sys.stderr.flush()

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        done.set()
        ticker.join()
        sys.stderr.write("\r\033[K")  # clear the line


def progress(items: Iterable[T], *, total: int | None, unit: str, label: str) -> Iterator[T]:
    """Pass `items` on under a progress bar with rate and time left; none without a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from tqdm import tqdm  # a third of the start-up of a small stage

    bar: Any = tqdm(items, total=total, unit=unit, desc=label, leave=False, delay=_SHOWN_AFTER_S)
    yield from bar


@contextlib.contextmanager
def counting(total: int, *, label: str) -> Iterator[Callable[[int], None]]:
    """Yield what takes bytes done, for a bar of `total` bytes; silent without a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from tqdm import tqdm

    bar: Any = tqdm(
        total=total, unit="B", unit_scale=True, desc=label, leave=False, delay=_SHOWN_AFTER_S
    )
    try:
        yield bar.update
    finally:
        bar.close()
