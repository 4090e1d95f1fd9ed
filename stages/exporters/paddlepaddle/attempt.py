# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""One run of paddle2onnx, in a child process: it aborts where others raise."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import paddle
import paddle2onnx

if TYPE_CHECKING:
    from pathlib import Path

GRAPH = "model.onnx"
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_REASONS = (
    re.compile(r"^\[ERROR\]\[Paddle2ONNX\] (.+)$", re.MULTILINE),
    re.compile(r"Failed to convert PaddlePaddle model: (.+)$", re.MULTILINE),
    re.compile(r"^\[Paddle2ONNX\] (.+ failed)", re.MULTILINE),
    re.compile(r"what\(\): +(.+)$", re.MULTILINE),
)
_NO_MEMORY = re.compile(r"bad_alloc|Cannot allocate memory|MemoryError")
_UNBUFFERED = 2  # _IONBF of glibc


@dataclass(frozen=True)
class Refusal:
    """All that paddle2onnx said before it gave up, and how it ended."""

    text: str
    status: int

    @property
    def reasons(self) -> list[str]:
        """Its complaints, the last of which ended it."""
        for pattern in _REASONS:
            if found := pattern.findall(self.text):
                return list(dict.fromkeys(one.strip().rstrip(".") for one in found))
        how = signal.Signals(-self.status).name if self.status < 0 else f"status {self.status}"
        return [f"it gave no reason, and ended with {how}"]


def run(program: Path, weights: Path | None, opset: int, folder: Path) -> Refusal | None:
    """Write `model.onnx` into `folder`.

    Args:
        program: in the `.json` form.
        weights: the parameters; None for none.
        opset: the exact opset.
        folder: is there.

    Raises:
        MemoryError: it needs more memory than it may have.
    """
    with tempfile.TemporaryFile() as said:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            _child(program, weights, opset, folder, said.fileno())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        text = _COLOUR.sub("", said.read().decode(errors="replace"))
    print(text)  # noqa: T201 (into the log of the export)
    if status == 0:
        return None
    if status == -signal.SIGKILL or _NO_MEMORY.search(text):
        raise MemoryError
    return Refusal(text, status)


def _child(program: Path, weights: Path | None, opset: int, folder: Path, said: int) -> NoReturn:
    code = 1
    try:
        os.dup2(said, 1)
        os.dup2(said, 2)
        libc = ctypes.CDLL(None)
        # Else its last words are lost when it aborts.
        libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, _UNBUFFERED, 0)
        paddle.disable_signal_handler()
        data = paddle2onnx.export(
            str(program),
            str(weights or ""),
            None,  # a file's name would make it optimize by Polygraphy, which installs packages
            opset_version=opset,
            auto_upgrade_opset=False,
            verbose=True,
            enable_onnx_checker=False,
            enable_optimize=False,
        )
        (folder / GRAPH).write_bytes(data)
        code = 0 if data else 1  # it may say that it failed, and give an empty graph
    finally:
        os._exit(code)
