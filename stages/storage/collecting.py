# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Removes what nobody can go back to: `promote --gc`.

A promotion may find an object there, and rely on it, at the very moment when it is removed. So
whoever removes says so first (`collecting.json`) and reads the records after that; and whoever has
appended a record waits until nobody removes, looks for its objects again and uploads those that
went (transfer.publish).
"""

from __future__ import annotations

import contextlib
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.lib import errors, files
from stages.storage import pointers
from stages.storage.store import OBJECTS, object_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.storage.store import Store

LOCK = "collecting.json"
_ABANDONED_S = 24 * 3600.0  # an unfinished upload that nobody goes on with
_WAIT_S, _LOOK_S = 600.0, 1.0


@dataclass(frozen=True)
class Garbage:
    """One thing to remove: its name in the store, size in bytes (0 if unknown), and why."""

    name: str
    bytes: int
    why: str


def collect(store: Store, keep: int, *, dry_run: bool, who: str) -> list[Garbage]:
    """Remove objects that no kept record needs, and uploads that were killed a day ago.

    Kept are, of each channel and engine, what serves, what `--rollback` would bring back, and the
    newest `keep` records. The records themselves stay: they are the history.

    Args:
        store: to look through.
        keep: 1 or more.
        dry_run: whether only to tell.
        who: shown to others while it runs.

    Returns:
        What was, or would be, removed, by name.

    Raises:
        TakenError: another one runs.
        UnfitStoreError: the store has another layout: its records would look like none.
        StoreError, AccessError, StorageError: as of the store.
    """
    store.need_format()
    with contextlib.nullcontext() if dry_run else _alone(store, who):
        needed = {object_name(sha256) for sha256 in _needed(store, keep)}
        objects = store.sizes(OBJECTS)
        found = [
            Garbage(name, size, f"no kept record ({keep} of each engine) needs it")
            for name, size in sorted(objects.items())
            if name not in needed
        ]
        left = [
            Garbage(name, 0, "an upload that was not finished")
            for name in store.leftovers(_ABANDONED_S)
        ]
        if not dry_run:
            for one in found:
                store.delete(one.name)
            for one in left:
                store.clear(one.name)
    return [*found, *left]


def refuse(store: Store) -> None:
    """See that nobody removes objects right now.

    Raises:
        TakenError: somebody does, or was killed while doing so.
    """
    if (data := store.read(LOCK)) is not None:
        raise _told(store, data)


def wait(store: Store) -> None:
    """Wait until nobody removes objects.

    Raises:
        TakenError: that took more than ten minutes.
    """
    end = time.monotonic() + _WAIT_S
    while (data := store.read(LOCK)) is not None:
        if time.monotonic() > end:
            raise _told(store, data)
        time.sleep(_LOOK_S)


def _needed(store: Store, keep: int) -> set[str]:
    """Digests that kept records name."""
    found: set[str] = set()
    for channel, engine in pointers.engines(store):
        records = pointers.history(store, channel, engine)
        back = {record.previous for record in records[:1]}
        for record in records:
            if record in records[:keep] or record.number in back:
                found |= {entry.sha256 for entry in record.entries()}
    return found


@contextlib.contextmanager
def _alone(store: Store, who: str) -> Iterator[None]:
    try:
        store.create(LOCK, files.canonical_json({"who": who, "token": uuid.uuid4().hex}))
    except errors.TakenError:
        raise _told(store, store.read(LOCK) or b"") from None
    try:
        yield
    finally:
        store.delete(LOCK)


def _told(store: Store, data: bytes) -> errors.TakenError:
    who = " ".join(data.decode(errors="replace").split())
    msg = f"somebody removes objects from {store.url}, or was killed while doing so: {who}"
    mend = f"wait for it; if it was killed, delete {store.url}/{LOCK} and run this again"
    return errors.TakenError(msg, mend=mend)
