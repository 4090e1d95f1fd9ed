# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What MindSpore's exceptions say, without their C++ stacks and advice to report bugs."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

import mindspore

_HEADING = re.compile(r"\n*-{20,}\n- (.*?):?\n-{20,}\n")
_USERS_CODE = "The Traceback of Net Construct Code"
_UNKNOWN_OP = re.compile(
    r"Exporting (\w+) operator is not yet supported|the (\w+) operator in your model is not support"
)
_LINES = 12
_LIBRARY = Path(mindspore.__file__).parent
EXPORTER = f"mindspore.onnx.export (MindSpore {mindspore.__version__})"


def of(error: BaseException) -> str:
    """Its cause, and where in the user's own code that is."""
    said = f"\n{error}"
    cause, *sections = _HEADING.split(said)
    shown = [cause, *(text for title, text in _pairs(sections) if title == _USERS_CODE)]
    lines = [line.rstrip() for text in shown for line in text.splitlines() if line.strip()]
    return f"{type(error).__name__}: " + "\n".join(lines[:_LINES]) + _line(error)


def _line(error: BaseException) -> str:
    """The line of the user's own construct() that raised it, if one ran."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if frame.name == "construct" and _LIBRARY not in Path(frame.filename).parents
    ]
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""


def line(error: BaseException, file: Path) -> int | None:
    """The last line of a file of the user's that ran before it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [one.lineno for one in frames if Path(one.filename).resolve() == file.resolve()]
    return own[-1] if own else None


def unknown_op(error: Exception) -> str | None:
    """The op that the exporter does not know, if that is what it says."""
    found = _UNKNOWN_OP.search(str(error))
    return found and (found[1] or found[2])


def _pairs(items: list[str]) -> zip[tuple[str, str]]:
    return zip(items[::2], items[1::2], strict=False)
