# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""How values, places and near misses are put into words, alike in every message."""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST = 80


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` was most likely meant to be."""
    folded = {name.lower().replace("_", "-"): name for name in sorted(known, reverse=True)}
    near = difflib.get_close_matches(word.lower().replace("_", "-"), folded, n=1)
    return folded[near[0]] if near else None


def suggestion(word: Any, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` with a leading space, or nothing."""
    near = nearest(word, known) if isinstance(word, str) else None
    return f" Did you mean {near!r}?" if near else ""


def place(path: Iterable[str | int]) -> str:
    """A path as a person writes it: `profiles.b1[0].image.min`; nothing for the root."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def short(value: Any) -> str:
    """A value as Python writes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:60]}...{text[-10:]}"


def found(value: Any) -> str:
    """What kind of value this is, and which one."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return f"the number {value!r}" if math.isfinite(value) else f"{value!r}, no finite number"
    if isinstance(value, str):
        return f"the text {short(value)}"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return f"{value} (a {type(value).__name__})"
