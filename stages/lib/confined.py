# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Work on bytes of unknown origin, in a child process with a limit of memory and of time.

A damaged or hostile graph can make a library allocate without end, loop or crash; here it takes
only the child along. The child is a fork, so it starts in milliseconds with all imports done, and
`work` may be any function. It is no sandbox: code that takes over the child has the user's rights.

Memory is limited by RLIMIT_DATA: private writable memory (setrlimit(2), since Linux 4.7). So
weights that are mapped from files, libraries, and address space that is only reserved do not
count, as they would with RLIMIT_AS.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import re
import resource
import select
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from stages.lib import console, errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PR_SET_PDEATHSIG = 1
_CHUNK = 1 << 16
_NO_ANSWER = 3  # no memory even to say that there is none
# What libraries say in exceptions of their own when memory ends.
NO_MEMORY = re.compile(
    r"bad_alloc|bad allocation|Failed to allocate memory|cannot allocate memory|out of memory|"
    r"Allocate memory failed|\bMemoryError\b",
    re.IGNORECASE,
)


def run(
    work: Callable[[], Any], limits: Mapping[str, int], *, what: str, key: str, label: str
) -> Any:
    """Do `work` in a child process and return its result, which must be JSON.

    Args:
        work: what it changes in memory stays in the child; what it writes to files is there.
        limits: {"memory_mib": most memory, "seconds": most time}.
        what: the subject of messages, such as the path of the graph.
        key: where the limits stand in params.yaml.
        label: of the time shown on a terminal.

    Raises:
        EngineryError: as `work` does.
        OSError: as `work` does, such as for a full disk.
        LimitError: it needs more memory or time, or was killed.
        SourceModelError: it crashed.
        RuntimeError: `work` raised something else; the note holds its traceback.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    answers, writing = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _child(work, limits, writing, parent)
    os.close(writing)
    over = False
    try:
        with console.elapsing(label):
            data, over = _listen(answers, limits["seconds"])
    finally:
        os.close(answers)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)  # it has answered, is late, or nobody waits any more
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if over:
        raise late(what, limits, key)
    return result(data, status, limits, what, key)


def _child(
    work: Callable[[], Any], limits: Mapping[str, int], writing: int, parent: int
) -> NoReturn:
    code = _NO_ANSWER
    try:
        confine(limits["memory_mib"] << 20, parent)
        said = answer(work)
        sys.stdout.flush()
        with os.fdopen(writing, "wb") as stream:
            stream.write(said)
        code = 0
    finally:
        # Whatever happens, no code of the caller runs a second time in this copy of it.
        os._exit(code)


def confine(memory: int, parent: int) -> None:
    """Limit this process to `memory` bytes, and let it end with its `parent`."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # the parent tells of it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = memory if most == resource.RLIM_INFINITY else min(memory, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def answer(work: Callable[[], Any]) -> bytes:
    """Do `work`, and say in JSON what came of it; `result` understands that."""
    said: dict[str, Any]
    try:
        return json.dumps({"result": work()}).encode()
    except MemoryError:
        said = {"memory": True}
    except OSError as error:
        name = None if error.filename is None else str(error.filename)
        said = {"memory": error.errno == errno.ENOMEM, "os": [error.errno, name]}
    except BaseException as error:  # sys.exit of foreign code must not end in the caller's frames
        said = {"memory": bool(NO_MEMORY.search(str(error))), "trace": traceback.format_exc()}
        said["what"] = f"{type(error).__name__}: {error}"
        if isinstance(error, errors.EngineryError):
            said |= {"error": type(error).__name__, "what": error.what, "mend": error.mend}
    return json.dumps(said).encode()


def _listen(answers: int, seconds: int) -> tuple[bytes, bool]:
    """All that the child says until it ends, and whether it is late."""
    deadline, data = time.monotonic() + seconds, bytearray()
    while True:
        ready, _, _ = select.select([answers], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return bytes(data), True
        if not (more := os.read(answers, _CHUNK)):
            return bytes(data), False
        data += more


def result(data: bytes, status: int, limits: Mapping[str, int], what: str, key: str) -> Any:
    """What `answer` said in another process that ended with `status`; see `run`.

    Raises:
        EngineryError, OSError, RuntimeError: as `run` does.
    """
    try:
        said = json.loads(data)
    except ValueError:  # it ended before it had said all
        raise _ended(status, limits, what, key) from None
    if "result" in said:
        return said["result"]
    if said["memory"]:
        raise short_of_memory(what, limits, key, said.get("what", ""))
    if "os" in said:
        number, name = said["os"]
        raise OSError(number, os.strerror(number), name)
    failure: Exception
    if "error" in said:
        kind: type[errors.EngineryError] = getattr(errors, said["error"])
        failure = kind(said["what"], mend=said["mend"])
    else:
        failure = RuntimeError(said["what"])
    failure.add_note(said["trace"])
    raise failure


def late(what: str, limits: Mapping[str, int], key: str) -> errors.LimitError:
    """The error of work that did not end in time."""
    return _over(f"{what} takes longer than {limits['seconds']} s", key)


def short_of_memory(
    what: str, limits: Mapping[str, int], key: str, said: str = ""
) -> errors.LimitError:
    """The error of work whose memory did not suffice."""
    words = f": {said}" if said else ""
    return _over(f"{what} needs more than {limits['memory_mib']} MiB of memory{words}", key)


def _ended(status: int, limits: Mapping[str, int], what: str, key: str) -> errors.EngineryError:
    if status in (-signal.SIGKILL, _NO_ANSWER):
        return _over(f"{what} exhausted the memory of the process that works on it", key)
    name = signal.Signals(-status).name if status < 0 else f"status {status}"
    msg = f"{what} crashed the process that works on it ({name}); nothing of it was kept"
    mend = (
        "export the model again. If it is sound, give it more memory"
        f" ({key}.memory_mib, now {limits['memory_mib']}), or report it with the file"
    )
    return errors.SourceModelError(msg, mend=mend)


def _over(what: str, key: str) -> errors.LimitError:
    return errors.LimitError(what, mend=f"if you trust the model, raise {key} in params.yaml")
