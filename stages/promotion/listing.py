# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Records as lines of text: channels, versions, digests, who and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stages.storage.records import Record

Row = tuple[str, ...]

_HEAD = (
    "channel", "engine", "record", "", "version", "manifest", "plan", "signed", "commit", "when",
    "who",
)  # fmt: skip
_DIGITS = 12


def rows(records: Sequence[Record]) -> list[Row]:
    """One row for each record of one channel and engine; the newest, which serves, comes first."""
    return [
        (
            record.channel,
            record.engine,
            str(record.number),
            "serves" if position == 0 else record.action,
            record.version,
            record.manifest[:_DIGITS],
            record.plan[:_DIGITS],
            "yes" if record.signature else "no",
            (record.commit or "-")[:_DIGITS],
            record.when,
            record.who,
        )
        for position, record in enumerate(records)
    ]


def table(found: Iterable[Row]) -> str:
    """Rows under a head, in columns."""
    every = [_HEAD, *found]
    widths = [max(len(row[column]) for row in every) for column in range(len(_HEAD))]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in every
    )
    return "\n".join(line.rstrip() for line in padded)
