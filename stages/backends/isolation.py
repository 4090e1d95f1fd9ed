# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Builds an engine in a child process whose surroundings are always the same.

What an ordinary process takes along moves the bytes of a TensorRT-RTX plan: environment, hash
seed, stack limit, path of the model, modules imported before. The child gets an empty environment,
a fixed hash seed and stack limit, no site packages, the graph's folder as working directory, and
arranges its address space before it loads the builder (`address_space.py`). A backend that builds
on a GPU cannot promise bytes, so it keeps the environment and its address space.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.backends import child
from stages.backends.build_api import Engine
from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from stages.backends.build_api import Order

# Those that build without CUDA, which reserves address space itself.
_ARRANGED = frozenset({"tensorrt_rtx"})
_STACK_LIMIT = 8 << 20

# Without glibc's cache of each thread, memory that Python's start-up frees in the building thread
# goes back to where it came from: else the builder's next small object lies at a random address.
_ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0", "PYTHONHASHSEED": "0"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    """What the child says.

    Attributes:
        engine: its `plan` is empty: it is in the file.
        arranged: whether the address space was arranged, without which bytes follow the machine.
        code: files of ours that ran in the child.
    """

    engine: Engine
    arranged: bool
    code: list[Path]


def build(backend: str, order: Order, log: Callable[[str], None], plan: Path) -> Built:
    """Build by `stages/backends/<backend>/build.py` in a child.

    Args:
        backend: name of the backend.
        order: what to build.
        log: takes each message of the builder, one line each.
        plan: file to write the plan to; half-written, or empty, if this raises.

    Raises:
        PinError, GraphError, UnsupportedError, BuildError: as the backend does; BuildError too if
            the child ends without an answer.
        OSError: the plan cannot be written.
    """
    with plan.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-P", "-s", "-S", "-B", "-X", "utf8", child.__file__],
            cwd=order.graph.parent,
            # A builder that uses a GPU is told which one, and where CUDA lies, by the environment.
            env=_ENVIRONMENT if backend in _ARRANGED else None,
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.PIPE,
            preexec_fn=_limit_stack,  # noqa: PLW1509 (no other thread holds a lock)
            text=True,
        )
    if process.stdin is None or process.stderr is None:
        raise AssertionError
    with contextlib.suppress(BrokenPipeError), process.stdin as order_book:
        json.dump(_message(backend, order), order_book)
    last: dict[str, Any] = {}
    with process.stderr as messages:
        for line in messages:
            last = _heard(line, log)
    status = process.wait()
    if "engine" not in last or status:
        raise _failure(last, status)
    root = Path.cwd()
    code = [Path(file) for file in last["code"] if Path(file).is_relative_to(root)]
    return Built(
        engine=Engine(plan=b"", **last["engine"]),
        arranged=last["arranged"],
        code=[file.relative_to(root) for file in code],
    )


def _message(backend: str, order: Order) -> dict[str, Any]:
    arrange = backend in _ARRANGED
    fields = {field.name: getattr(order, field.name) for field in dataclasses.fields(order)}
    return {
        "arrange": arrange,
        "backend": backend,
        "libraries": _libraries(backend) if arrange else [],
        "order": {**fields, "graph": order.graph.name},
        "path": [str(Path.cwd()), *(entry for entry in sys.path if "site-packages" in entry)],
    }


def _limit_stack() -> None:
    """Without a limit the kernel lays out the address space the other way round."""
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    limit = _STACK_LIMIT if hard == resource.RLIM_INFINITY else min(hard, _STACK_LIMIT)
    resource.setrlimit(resource.RLIMIT_STACK, (limit, hard))


def _libraries(backend: str) -> list[str]:
    """The backend's own shared libraries, to be loaded first of all."""
    folders = [Path(entry) / f"{backend}_libs" for entry in sys.path]
    return [str(file) for folder in folders for file in sorted(folder.glob("*.so*"), reverse=True)]


def _heard(line: str, log: Callable[[str], None]) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(line)
    except ValueError:  # an interpreter that dies speaks no JSON
        value = {"log": line.rstrip("\n")}
    if "log" in value:
        log(value["log"])
    return value


def _failure(last: dict[str, Any], status: int) -> Exception:
    if "errno" in last:
        return OSError(last["errno"], os.strerror(last["errno"]))
    if "error" in last:
        kind: type[errors.EngineryError] = getattr(errors, last["error"])
        return kind(last["what"], mend=last["mend"])
    said = last.get("log", "nothing")
    ended = f"by signal {-status}" if status < 0 else f"with status {status}"
    msg = f"the building process ended {ended}; its last words: {said}"
    return errors.BuildError(
        msg, mend="look for a lack of memory (`dmesg | tail`) or a limit (`ulimit -a`); run again"
    )
