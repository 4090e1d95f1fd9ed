# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Builds an engine in a child process whose surroundings are always the same.

TensorRT-RTX numbers internal symbols, and orders some of its work, by the addresses of objects; so
what moves an object in memory moves the bytes of the plan. The child therefore allocates through a
pinned allocator (oneTBB's `tbbmalloc`, whose blocks do not depend on the C library), in a thread of
its own that has no history; it is told a fixed number of processors; its environment holds nothing
else, and its folder nothing but the graph. A backend that builds on a GPU cannot promise bytes: it
gets none of this and keeps its environment, which tells it which GPU, and where CUDA lies.
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

from stages.backends import child, libraries, processors
from stages.backends.build_api import Engine
from stages.lib import errors, files, pins

if TYPE_CHECKING:
    from collections.abc import Callable

    from stages.backends.build_api import Order

REPRODUCIBLE = frozenset({"tensorrt_rtx"})

# To add a plugin's layer, TensorRT-RTX's parser opens the library by the first name, and dies where
# there is none (1.7.1); the wheel has the second alone.
_LIBRARY = ("libtensorrt_rtx.so", "libtensorrt_rtx.so.1")
_ALLOCATOR = ("libtbbmalloc_proxy.so.2", "libtbbmalloc.so.2")
_PROCESSORS = "libprocessors.so"
# What the builder is told of the machine. Of more it starts more threads, and is no quicker.
_COUNT = 1
_PRELOADED = (_PROCESSORS, _ALLOCATOR[0])
# The loader splits LD_PRELOAD at spaces, so the path is in the other one: the child's folder.
_ENVIRONMENT = {"LD_LIBRARY_PATH": ".", "LD_PRELOAD": ":".join(_PRELOADED), "PYTHONHASHSEED": "0"}
# The C library sizes the stacks of the builder's threads by it, and Linux lays out memory by it.
_STACK = 8 << 20
# For a second build that shall show a dependence on what the recipe leaves open.
_OTHER_ENVIRONMENT = {
    **_ENVIRONMENT,
    "LC_ALL": "C.UTF-8",
    "PADDING": "x" * 5000,
    "PYTHONHASHSEED": "1",
    "TZ": "Asia/Kathmandu",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    """What the child says.

    Attributes:
        engine: its `plan` is empty: it is in the file.
        code: files of ours that ran in the child.
    """

    engine: Engine
    code: list[Path]


def build(
    backend: str,
    order: Order,
    log: Callable[[str], None],
    plan: Path,
    *,
    otherwise: bool = False,
) -> Built:
    """Build by `stages/backends/<backend>/build.py` in a child.

    Args:
        backend: name of the backend.
        order: what to build.
        log: takes each message of the builder, one line each.
        plan: file to write the plan to; half-written, or empty, if this raises.
        otherwise: for a proof: with other surroundings, on one core.

    Raises:
        PinError, GraphError, UnsupportedError, BuildError: as the backend does; BuildError too if
            the child ends without an answer.
        OSError: the plan cannot be written.
    """
    with files.scratch() as folder, plan.open("wb") as stream:
        reproducible = backend in REPRODUCIBLE
        if reproducible:
            _furnish(folder, order.graph.parent)
        if reproducible and order.plugins:
            name, versioned = _LIBRARY
            (folder / name).symlink_to(pins.file("tensorrt_rtx_cu13_libs", versioned))
        plugins = libraries.copies(order.plugins, folder)
        if not reproducible:
            plugins = [(str(folder / path), digest) for path, digest in plugins]
        process = subprocess.Popen(
            [sys.executable, "-P", "-s", "-S", "-B", "-X", "utf8", child.__file__],
            cwd=folder if reproducible else order.graph.parent,
            env=(_OTHER_ENVIRONMENT if otherwise else _ENVIRONMENT) if reproducible else None,
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.PIPE,
            preexec_fn=_prepare(reproducible=reproducible, otherwise=otherwise),  # noqa: PLW1509
            text=True,
        )
        last = _talk(process, _message(backend, order, plugins), log)
    if "engine" not in last or process.returncode:
        raise _failure(last, process.returncode)
    root = Path.cwd()
    code = [Path(file) for file in last["code"] if Path(file).is_relative_to(root)]
    return Built(
        engine=Engine(plan=b"", **last["engine"]),
        code=[file.relative_to(root) for file in code],
    )


def _talk(
    process: subprocess.Popen[str], message: dict[str, Any], log: Callable[[str], None]
) -> dict[str, Any]:
    """Give the child its order; return its answer."""
    if process.stdin is None or process.stderr is None:
        raise AssertionError
    with contextlib.suppress(BrokenPipeError), process.stdin as order_book:
        json.dump(message, order_book)
    last: dict[str, Any] = {}
    with process.stderr as messages:
        for line in messages:
            last = _heard(line, log)
    process.wait()
    return last


def _message(backend: str, order: Order, plugins: list[tuple[str, str]]) -> dict[str, Any]:
    fields = {field.name: getattr(order, field.name) for field in dataclasses.fields(order)}
    return {
        "preloaded": _PRELOADED if backend in REPRODUCIBLE else [],
        "backend": backend,
        "order": {**fields, "graph": order.graph.name, "plugins": plugins},
        "path": [str(Path.cwd()), *(entry for entry in sys.path if "site-packages" in entry)],
    }


def _furnish(folder: Path, graph: Path) -> None:
    """Fill the child's folder: the graph's files, which may be large, and what is preloaded."""
    for file in graph.iterdir():
        (folder / file.name).symlink_to(file.resolve())
    for name in _ALLOCATOR:
        (folder / name).symlink_to(pins.file("tbb", name))
    (folder / _PROCESSORS).write_bytes(processors.library(_COUNT))


def _prepare(*, reproducible: bool, otherwise: bool) -> Callable[[], None]:
    """What the child does before it becomes an interpreter; nothing there may take a lock."""

    def prepare() -> None:
        if reproducible:
            _, most = resource.getrlimit(resource.RLIMIT_STACK)
            size = _STACK if most == resource.RLIM_INFINITY else min(_STACK, most)
            resource.setrlimit(resource.RLIMIT_STACK, (size, most))
        if otherwise:
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    return prepare


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
