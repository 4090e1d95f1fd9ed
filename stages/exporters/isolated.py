# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Runs an exporter in its own environment: a process that exchanges files with the stage.

It gets a few variables and no more: what a framework finds in the user's environment or home
folder must not decide how a model is exported. It cannot install anything, and ends with the stage.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.exporters import worker
from stages.lib import confined, console, environments, errors, files, layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from stages.exporters.api import Arrays, Framework, Order

# Not by `-m`, which would need the project on a PYTHONPATH, where a path may hold no colon.
_START = (
    "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
    "from stages.exporters import worker;"
    "worker.main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))"
)
# The traceback of a crash is its last word, and a line is written before the crash.
_OPTIONS = ("-s", "-B", "-u", "-X", "faulthandler", "-c")
_LAST_LINES, _LAST_BYTES, _COLUMNS = 12, 1 << 16, 160


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """Where an exporter runs.

    Attributes:
        framework: name of the exporter.
        interpreter: Python of its environment.
        pins: exact version by package, which that environment must have.
        python: minor version of Python, likewise.
    """

    framework: str
    interpreter: Path
    pins: Mapping[str, str]
    python: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Job:
    """One process, and the words for what may come of it."""

    what: str
    key: str
    mend: str
    limits: Mapping[str, int]
    root: Path
    exchange: Path
    log: Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exported:
    """What the process left besides the graph.

    Attributes:
        framework: gives its outputs for the probe batches, in their order; None for ONNX itself.
        code: files of ours that ran there.
    """

    framework: Framework | None
    code: list[Path]


def export(
    environment: Environment,
    order: Order,
    batches: Sequence[Arrays],
    folder: Path,
    *,
    limits: Mapping[str, int],
    key: str,
    log: Path,
) -> Exported:
    """Write the graph folder `folder` by the exporter of `environment`.

    Args:
        environment: where it runs.
        order: what to export.
        batches: the probe samples.
        folder: does not exist yet.
        limits: {"memory_mib": most memory, "seconds": most time}.
        key: of the model in params.yaml, such as `models.digits`.
        log: file that takes all that the framework prints.

    Raises:
        PinError: the environment has other versions, or the exporter installed packages.
        SourceModelError: the source cannot be read or exported, or the exporter crashed.
        LimitError: it needs more memory or time.
    """
    interpreter = environment.interpreter
    with files.scratch() as exchange:
        job = _Job(
            what=f"{environment.framework}: {order.path}",
            key=f"{key}.limits",
            mend=environments.mend(environment.framework, interpreter),
            limits=limits,
            root=Path.cwd(),
            exchange=exchange,
            log=log,
        )
        _hand_over(job, environment, order, batches, folder)
        with _telling(job):
            said = _answer(job, _run(job, interpreter, order.threads), interpreter)
            if not (folder / layout.GRAPH_FILE).is_file():
                msg = f"{job.what}: the exporter wrote no {layout.GRAPH_FILE}"
                raise errors.SourceModelError(msg, mend=f"see {log}")
        outputs = [
            worker.arrays(exchange / worker.OUTPUTS / f"{number:06}.npz", order.outputs)
            for number in range(0 if said["onnx"] else len(batches))
        ]
    return Exported(
        framework=None if said["onnx"] else _replaying(outputs),
        code=[Path(file) for file in said["code"]],
    )


def _hand_over(
    job: _Job, environment: Environment, order: Order, batches: Sequence[Arrays], folder: Path
) -> None:
    """Write all that the process reads."""
    told = {
        "framework": environment.framework,
        "order": dataclasses.asdict(order) | {"source": str(order.source.resolve())},
        "graph": str(folder.resolve()),
        "limits": dict(job.limits),
        "log": str(job.log),
        "mend": job.mend,
        "pins": dict(environment.pins),
        "python": environment.python,
    }
    (job.exchange / worker.ORDER).write_text(json.dumps(told), encoding="utf-8")
    for name in (worker.FEEDS, "tmp"):
        (job.exchange / name).mkdir()
    for number, feeds in enumerate(batches):
        worker.save(job.exchange / worker.FEEDS / f"{number:06}.npz", feeds, list(order.inputs))


def _run(job: _Job, interpreter: Path, threads: int) -> int:
    """Start it, wait until it ends, and end what it has started; return its status."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    words = [interpreter.absolute(), *_OPTIONS, _START, job.root, job.exchange, os.getpid()]
    with job.log.open("wb") as stream:
        try:
            process = subprocess.Popen(
                [str(word) for word in words],
                cwd=job.exchange,
                env=_environment(job.exchange, threads),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that what it starts ends with it
            )
        except OSError as error:
            msg = f"{interpreter} cannot be started: {error.strerror}"
            raise errors.EnvironmentUnmadeError(msg, mend=job.mend) from error
        try:
            with console.elapsing(job.what):
                return process.wait(timeout=job.limits["seconds"])
        except subprocess.TimeoutExpired:
            raise confined.late(job.what, job.limits, job.key) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answer(job: _Job, status: int, interpreter: Path) -> Any:
    """What it said, or the error that it told or died of."""
    if not (job.exchange / worker.STARTED).exists():
        msg = f"{interpreter} cannot run the exporter (it ended with status {status})"
        raise errors.EnvironmentUnmadeError(msg, mend=job.mend)
    path = job.exchange / worker.ANSWER
    data = path.read_bytes() if path.is_file() else b""
    if not data and confined.NO_MEMORY.search(_last_words(job.log)):
        raise confined.short_of_memory(job.what, job.limits, job.key)
    return confined.result(data, status, job.limits, job.what, job.key)


def _environment(exchange: Path, threads: int) -> dict[str, str]:
    return {
        "CUDA_VISIBLE_DEVICES": "",  # a graph must not depend on whether a GPU is there
        "HOME": str(exchange),
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": str(threads),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PIP_NO_INDEX": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
        "TMPDIR": str(exchange / "tmp"),
    }


@contextlib.contextmanager
def _telling(job: _Job) -> Iterator[None]:
    """Say in an error what a process that ended without an answer said last; no path of ours."""
    try:
        yield
    except errors.EngineryError as error:
        if not (job.exchange / worker.ANSWER).is_file():
            words = _last_words(job.log) or "  none"
            error.what += f"\nIts last words ({job.log} has all of them):\n{words}"
        for place in (job.root, job.exchange):
            error.what = error.what.replace(f"{place}/", "")
            error.mend = error.mend.replace(f"{place}/", "")
        error.args = (error.what,)
        raise


def _last_words(log: Path) -> str:
    """The end of a log, which may be of any size."""
    if not log.is_file():
        return ""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _LAST_BYTES))
        lines = stream.read().decode("utf-8", errors="replace").splitlines()
    said = [line.rstrip()[:_COLUMNS] for line in lines if line.strip()]
    return "\n".join(f"  {line}" for line in said[-_LAST_LINES:])


def _replaying(outputs: list[Arrays]) -> Framework:
    """The source model, as it answered there."""
    stored = iter(outputs)

    def answer(feeds: dict[str, Any]) -> Arrays:  # noqa: ARG001 (asked in the same order)
        return next(stored)

    return answer
