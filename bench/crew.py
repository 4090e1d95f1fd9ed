# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Worker processes for work that may crash or hang: neither ends the run."""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from multiprocessing.connection import Connection

Task = tuple[str, tuple[Any, ...]]
"""Name, and arguments of the job."""
_DYING = 10.0  # seconds
_SPAWN = multiprocessing.get_context("spawn")


def run(
    job: Callable[..., None], tasks: Iterable[Task], *, workers: int, seconds: float
) -> dict[str, dict[str, Any]]:
    """Do all tasks.

    Args:
        job: a function of a module, called as `job(tell, *arguments)`; `tell(key, value)` records
            a finding, and what was told before a crash is kept.
        tasks: by name.
        workers: processes at a time.
        seconds: limit for one task.

    Returns:
        Findings by name of the task; "ended" among them is "well", "by an exception: ...",
        "after <seconds> s" or "by signal <n>".
    """
    todo: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    found: dict[str, dict[str, Any]] = {}
    for task in tasks:
        found[task[0]] = {}
        todo.put(task)
    threads = [
        threading.Thread(target=_serve, args=(job, todo, found, seconds)) for _ in range(workers)
    ]
    for thread in threads:
        todo.put(None)
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _serve(
    job: Callable[..., None],
    todo: queue.SimpleQueue[Task | None],
    found: dict[str, dict[str, Any]],
    seconds: float,
) -> None:
    worker = None
    while task := todo.get():
        worker = worker or _Worker(job)
        name, arguments = task
        ended = worker.do(arguments, found[name], seconds)
        found[name]["ended"] = ended
        if not worker.alive:
            worker = None
    if worker is not None:
        worker.end()


class _Worker:
    """One process, and the pipe to it."""

    def __init__(self, job: Callable[..., None]) -> None:
        self.pipe, far = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_work, args=(job, far), daemon=True)
        self.process.start()
        far.close()
        self.pipe.recv()  # it has begun: its start is not part of a task's time
        self.alive = True

    def do(self, arguments: tuple[Any, ...], findings: dict[str, Any], seconds: float) -> str:
        """Have one task done; how it ended."""
        self.pipe.send(arguments)
        try:
            while self.pipe.poll(seconds):
                key, value = self.pipe.recv()
                if key == "ended":
                    return str(value)
                findings[key] = value
        except (EOFError, ConnectionResetError):
            self.process.join(_DYING)  # its signal is known only when it is gone
            self.end()
            return f"by signal {-(self.process.exitcode or 0)}"
        self.end()
        return f"after {seconds:g} s"

    def end(self) -> None:
        """End the process, whatever it does."""
        if self.process.is_alive() and not self.pipe.closed:
            self.process.join(0.2)
        self.process.kill()
        self.process.join()
        self.pipe.close()
        self.alive = False


def _work(job: Callable[..., None], pipe: Connection) -> None:
    # Libraries write of each refusal; what matters is told through the pipe.
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    pipe.send("begun")
    while True:
        try:
            arguments = pipe.recv()
        except EOFError:
            return
        try:
            job(lambda key, value: pipe.send((key, value)), *arguments)
            pipe.send(("ended", "well"))
        except Exception as error:
            pipe.send(("ended", f"by an exception: {type(error).__name__}: {error}"))
