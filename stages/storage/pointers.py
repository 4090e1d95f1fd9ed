# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Numbered pointer records: the highest valid one of a channel and engine is what serves.

A record is never changed or removed. A number that is taken by something that is no record, such
as what a killed writer left in a store without links, is skipped.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING

from stages.lib import errors
from stages.storage import records
from stages.storage.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stages.storage.records import Entry
    from stages.storage.store import Store

_NAME = re.compile(r"channels/([^/]+)/([^/]+)/(\d{8})\.json")


def promotion(
    store: Store,
    *,
    channel: str,
    engine: str,
    version: str,
    files: Mapping[str, Entry],
    signature: Entry | None,
    manifest: str,
    plan: str,
    commit: str | None,
    who: str,
    when: str,
) -> Record:
    """The record that would promote these files; to be made first, before policy and upload.

    Its number is settled here, so that whoever promotes in between is noticed by `append`.

    Args:
        store: where it shall be appended.
        channel: name of the channel.
        engine: key of the engine.
        version: what people call it.
        files: by path in the package.
        signature: of the detached signature, an object too; None if it is not signed.
        manifest: SHA-256 of manifest.json.
        plan: SHA-256 of the plan.
        commit: that holds the code; None if nobody looked.
        who: who promotes.
        when: UTC, as 2026-01-31T12:00:00Z.
    """
    number = _next(store, channel, engine)  # first: who appends after this is noticed
    serving = current(store, channel, engine)
    return Record(
        number=number,
        channel=channel,
        engine=engine,
        action=records.PROMOTE,
        version=version,
        files=dict(files),
        signature=signature,
        manifest=manifest,
        plan=plan,
        commit=commit,
        who=who,
        when=when,
        previous=serving.number if serving else None,
        token=uuid.uuid4().hex,
    )


def rollback(store: Store, *, channel: str, engine: str, who: str, when: str) -> Record:
    """The record that would bring back what served before what serves now; then `append` it.

    Rolled back twice, it goes back by two versions: what a rollback brought back has that version's
    own predecessor.

    Raises:
        ArtifactError: nothing serves, or nothing served before.
        IntegrityError: objects of that version are gone or have another size.
    """
    number = _next(store, channel, engine)
    serving = current(store, channel, engine)
    target = _at(store, channel, engine, serving.previous) if serving else None
    if serving is None or target is None:
        what = "is the first, or the same files under another name" if serving else "has none"
        msg = f"{engine} has no version to go back to: what serves on {channel} {what}"
        mend = "`python -m stages.promote --list` shows what there is"
        raise errors.ArtifactError(msg, mend=mend)
    for entry in target.entries():
        store.need_object(entry.sha256, entry.bytes)
    told = {
        "number": number,
        "action": records.ROLLBACK,
        "who": who,
        "when": when,
        "token": uuid.uuid4().hex,
    }
    return Record(**{**vars(target), **told})


def append(store: Store, record: Record) -> Record:
    """Write a record under its number; from then on it serves.

    Raises:
        TakenError: somebody else was first; the message says who.
    """
    records.check(json.loads(record.data()))
    try:
        store.create(name(record.channel, record.engine, record.number), record.data())
    except errors.TakenError as error:
        first = current(store, record.channel, record.engine)
        who = f"{first.who} promoted {first.version}" if first else "somebody else promoted"
        at = f" at {first.when} (record {first.number})" if first else ""
        msg = (
            f"{who} to {record.channel}{at} while this was on its way: {record.engine} serves that"
        )
        raise errors.TakenError(msg, mend=error.mend) from None
    return record


def current(store: Store, channel: str, engine: str) -> Record | None:
    """What serves: the highest valid record; None if there is none."""
    return next(_downward(store, channel, engine), None)


def history(store: Store, channel: str, engine: str) -> list[Record]:
    """All valid records, the newest first."""
    return list(_downward(store, channel, engine))


def engines(store: Store, channel: str | None = None) -> list[tuple[str, str]]:
    """Each (channel, engine) that has a record, sorted."""
    names = store.names(f"channels/{channel}" if channel else "channels")
    found = (_NAME.fullmatch(name) for name in names)
    return sorted({(match[1], match[2]) for match in found if match})


def name(channel: str, engine: str, number: int) -> str:
    """Where a record lies in the store."""
    return f"channels/{channel}/{engine}/{number:08d}.json"


def _numbers(store: Store, channel: str, engine: str) -> list[int]:
    matches = (_NAME.fullmatch(found) for found in store.names(f"channels/{channel}/{engine}"))
    return sorted((int(match[3]) for match in matches if match), reverse=True)


def _next(store: Store, channel: str, engine: str) -> int:
    return max(_numbers(store, channel, engine), default=0) + 1


def _downward(store: Store, channel: str, engine: str) -> Iterator[Record]:
    for number in _numbers(store, channel, engine):
        if (record := _at(store, channel, engine, number)) is not None:
            yield record


def _at(store: Store, channel: str, engine: str, number: int | None) -> Record | None:
    """A record; None if it is not there or not valid."""
    if number is None or (data := store.read(name(channel, engine, number))) is None:
        return None
    record = records.parse(data)
    same = record and (record.channel, record.engine, record.number) == (channel, engine, number)
    return record if same else None
