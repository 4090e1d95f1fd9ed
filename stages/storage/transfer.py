# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Files to a store and back: in parallel, only what is missing, and the pointer last."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from stages.lib import errors
from stages.storage import collecting, pointers
from stages.storage.driver import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from stages.storage.driver import Progress
    from stages.storage.records import Entry, Record
    from stages.storage.store import Store

_PARALLEL = 4

T = TypeVar("T")


def publish(store: Store, record: Record, sources: Iterable[Source], progress: Progress) -> Record:
    """Upload all that a record needs, then append the record: the whole of a promotion's writing.

    Killed at any point, what served before still serves, and the next run sends only what is
    missing.

    Args:
        store: where to.
        record: made by `pointers.promotion`.
        sources: a local file for each of `record.entries()`; `sources_of` makes them.
        progress: told the bytes of each piece that was sent or found to be there;
            `console.counting` shows them.

    Raises:
        ArtifactError: a file that the record names is not among the sources.
        UnfitStoreError: the store cannot create exclusively; nothing was uploaded.
        TakenError: somebody else promoted meanwhile; the message says who. Or `--gc` runs.
        IntegrityError: a file changed while it was uploaded.
        StoreError, AccessError, StorageError: as of the store.
    """
    sources = {source.sha256: source for source in sources}.values()
    if absent := {one.sha256 for one in record.entries()} - {one.sha256 for one in sources}:
        msg = f"the record names files that are not given: {', '.join(sorted(absent))}"
        raise errors.ArtifactError(msg, mend="make the package again: `make repro`")
    store.prove_exclusive()
    collecting.refuse(store)
    upload(store, sources, progress)
    made = pointers.append(store, record)
    collecting.wait(store)  # it may have taken ours for garbage before the record was
    for source in sources:
        try:
            store.need_object(source.sha256, source.bytes)
        except errors.IntegrityError:
            store.put_object(source, _nobody)
    return made


def upload(store: Store, sources: Iterable[Source], progress: Progress) -> int:
    """Upload what the store lacks, a few files at a time; return how many were sent.

    Raises:
        IntegrityError: a file changed while it was uploaded.
        StoreError, AccessError, StorageError: as of the store; what was uploaded stays there.
    """
    told = _locked(progress)

    def work(source: Source) -> bool:
        if store.has_object(source):
            told(source.bytes)
            return False
        store.put_object(source, told)
        return True

    return sum(_each(work, sorted(sources, key=lambda one: -one.bytes)))


def download(store: Store, listed: Mapping[str, Entry], folder: Path, progress: Progress) -> None:
    """Download files into an empty folder, by their paths there; each is checked on the way.

    Raises:
        IntegrityError: an object is missing, or not what its digest says.
        StoreError, AccessError: as of the store.
    """
    told = _locked(progress)

    def work(item: tuple[str, Entry]) -> bool:
        path, entry = folder / item[0], item[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        store.get_object(entry.sha256, entry.bytes, path, told)
        return True

    _each(work, sorted(listed.items()))


def sources_of(folder: Path, listed: Mapping[str, Entry]) -> list[Source]:
    """The local files of a package, to be uploaded; their digests are not checked here."""
    return [Source(folder / path, entry.sha256, entry.bytes) for path, entry in listed.items()]


def _each(work: Callable[[T], bool], items: Iterable[T]) -> list[bool]:
    """Do it for all, a few at a time; the first failure ends those that have not begun."""
    pool = ThreadPoolExecutor(_PARALLEL)
    try:
        return list(pool.map(work, items))
    finally:
        pool.shutdown(cancel_futures=True)


def _locked(progress: Progress) -> Progress:
    lock = threading.Lock()

    def told(count: int) -> None:
        with lock:
            progress(count)

    return told


def _nobody(count: int) -> None:
    """Progress that nobody sees."""
