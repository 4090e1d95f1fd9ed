# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The three verdicts on an output that was made again, and what is told beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

IDENTICAL = "identical"
EQUIVALENT = "equivalent"
DIFFERENT = "different"
_ORDER = (IDENTICAL, EQUIVALENT, DIFFERENT)
_SHOWN = 4


@dataclass(frozen=True)
class Verdict:
    """One output, recorded and made again.

    Attributes:
        kind: identical (byte for byte), equivalent (other bytes of the same meaning) or different.
        what: what differs, one line each; empty if nothing does.
    """

    kind: str
    what: tuple[str, ...] = ()


def worst(kinds: Iterable[str]) -> str:
    """The worst of several kinds; identical if there is none."""
    return max(kinds, key=_ORDER.index, default=IDENTICAL)


def join(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on a whole from those on its parts."""
    lines = tuple(line for verdict in verdicts for line in verdict.what)
    return Verdict(worst(verdict.kind for verdict in verdicts), lines)


def names(title: str, found: Sequence[str]) -> str:
    """A title, how many names there are, and the first few."""
    more = ", ..." if len(found) > _SHOWN else ""
    return f"{title} ({len(found)}): {', '.join(found[:_SHOWN])}{more}"
