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

# Two steps: what is imported lands below the first address, and what the build allocates below the
# second, however much the imports took. Far below anything that the kernel itself places.
_LIBRARIES_BELOW = 0x2000_0000_0000
_MEMORY_BELOW = 0x1000_0000_0000
_STACK_BYTES = 64 << 20
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Build one engine."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    plan = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints is a message, not a plan
    order: dict[str, Any] = json.load(sys.stdin)
    sys.path[:0] = order["path"]
    from stages.backends import address_space

    kept = address_space.make_room()
    arranged = order["arrange"] and _arrange(_LIBRARIES_BELOW)
    for library in order["libraries"]:
        ctypes.CDLL(library)
    from stages.backends.build_api import Order
    from stages.lib import plugins

    backend = plugins.load("stages.backends", f"{order['backend']}.build")
    wanted = Order(**order["order"])
    arranged = arranged and _arrange(_MEMORY_BELOW)
    # A thread of its own has a malloc arena without a history.
    threading.stack_size(_STACK_BYTES)
    thread = threading.Thread(target=_build, args=(backend, wanted, plan, arranged))
    thread.start()
    thread.join()
    del kept


def _arrange(floor: int) -> bool:
    from stages.backends import address_space

    try:
        address_space.reserve_above(floor)
    except OSError as error:  # an engine all the same, but its bytes follow the machine
        _tell({"log": f"[warning] the address space cannot be arranged (ulimit -v?): {error}"})
        return False
    return True


def _build(backend: Any, order: Any, plan: int, arranged: bool) -> None:
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
    face = {
        key: getattr(engine, key) for key in ("inputs", "outputs", "profiles", "layers", "command")
    }
    code = [m.__file__ for name, m in sys.modules.items() if name.startswith("stages.")]
    _tell({"engine": face, "arranged": arranged, "code": [file for file in code if file]})


def _tell(value: dict[str, Any]) -> None:
    os.write(2, (json.dumps(value) + "\n").encode())


if __name__ == "__main__":
    main()
