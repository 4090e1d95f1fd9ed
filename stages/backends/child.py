# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The process in which an engine is built: a script, run by `isolation.py`.

It reads an order from standard input, writes the plan to standard output, and to standard error one
JSON value a line: the builder's messages, and last the result or the error.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from typing import Any

_STACK_BYTES = 64 << 20
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Build one engine."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    plan = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints is a message, not a plan
    order: dict[str, Any] = json.load(sys.stdin)
    sys.path[:0] = order["path"]
    _check(order["preloaded"])
    from stages.backends.build_api import Order
    from stages.lib import plugins

    backend = plugins.load("stages.backends", f"{order['backend']}.build")
    wanted = Order(**order["order"])
    # A thread of its own has a heap without a history.
    threading.stack_size(_STACK_BYTES)
    thread = threading.Thread(target=_build, args=(backend, wanted, plan))
    thread.start()
    thread.join()


def _check(preloaded: list[str]) -> None:
    """The loader only warns when it cannot preload a library, and the bytes would be others."""
    with open("/proc/self/maps", encoding="utf8") as stream:  # noqa: PTH123 (slow to import)
        maps = stream.read()
    if missing := [name for name in preloaded if name not in maps]:
        msg = f"{missing[0]} was not loaded into the building process"
        mend = "`python -m pip install --force-reinstall tbb`, in the version of params.yaml"
        _tell({"error": "PinError", "what": msg, "mend": mend})
        raise SystemExit(1)


def _build(backend: Any, order: Any, plan: int) -> None:
    from stages.lib import errors

    try:
        engine = backend.build(order, lambda line: _tell({"log": line}))
    except errors.EngineryError as error:
        _tell({"error": type(error).__name__, "what": error.what, "mend": error.mend})
        return
    try:
        with os.fdopen(plan, "wb", buffering=0) as stream:
            rest = memoryview(engine.plan)
            while rest:
                rest = rest[stream.write(rest) :]
    except OSError as error:
        _tell({"errno": error.errno})
        return
    keys = (
        "inputs",
        "outputs",
        "profiles",
        "layers",
        "precisions",
        "command",
        "timing_cache",
        "compiled",
    )
    face = {key: getattr(engine, key) for key in keys}
    code = [m.__file__ for name, m in sys.modules.items() if name.startswith("stages.")]
    _tell({"engine": face, "code": [file for file in code if file]})


def _tell(value: dict[str, Any]) -> None:
    os.write(2, (json.dumps(value) + "\n").encode())


if __name__ == "__main__":
    main()
