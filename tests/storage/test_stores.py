# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What every kind of store must do, against a folder, moto's S3 server and OpenSSH's sshd."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from stages.lib import errors
from stages.storage import collecting, opening, pointers, transfer
from stages.storage.driver import PART, Source
from stages.storage.store import object_name
from tests import stores_zoo as zoo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.storage.store import Store

KINDS = ("file", "s3", "ssh")
BIG = 2 * PART + 12_345  # three parts


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with zoo.s3_server(tmp_path_factory.mktemp("moto")) as address:
        yield address


@pytest.fixture(scope="module")
def sshd() -> Iterator[zoo.Sshd]:
    server = zoo.Sshd()
    yield server
    server.stop()


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of an empty store."""
    monkeypatch.chdir(zoo.ROOT)
    if request.param == "file":
        return str(tmp_path / "store")
    if request.param == "ssh":
        server = request.getfixturevalue("sshd")
        monkeypatch.setenv("HOME", str(server.home))
        return str(server.url(tmp_path.name))
    for key, value in zoo.s3_environment(request.getfixturevalue("endpoint")).items():
        monkeypatch.setenv(key, value)
    boto3.client("s3").create_bucket(Bucket=zoo.BUCKET)
    return f"s3://{zoo.BUCKET}/{tmp_path.name}"


@pytest.fixture
def store(url: str) -> Store:
    return opening.open_store(url)


def overwrite(store: Store, name: str, data: bytes) -> None:
    """As somebody else would, with a client of their own."""
    if store.kind == "s3":
        bucket, _, key = f"{store.url}/{name}".removeprefix("s3://").partition("/")
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=data)
    else:
        path = store.url if store.kind == "file" else "/" + store.url.split("/", 3)[3]
        (Path(path) / name).write_bytes(data)


def test_a_name_is_taken_once(store: Store) -> None:
    store.create("channels/a/b/00000001.json", b"first")
    with pytest.raises(errors.TakenError, match="is there"):
        store.create("channels/a/b/00000001.json", b"second")
    store.create(
        "channels/a/b/00000001.json", b"first"
    )  # sent again by a client that lost the answer
    assert store.read("channels/a/b/00000001.json") == b"first"
    assert store.names("channels") == ["channels/a/b/00000001.json"]
    assert store.names("") == ["channels/a/b/00000001.json"]


def test_of_many_at_once_one_wins(url: str) -> None:
    stores = [opening.open_store(url) for _ in range(6)]
    ready = threading.Barrier(len(stores))

    def work(number: int) -> bool:
        ready.wait()
        try:
            stores[number].create("channels/a/b/00000001.json", b"%d" % number)
        except errors.TakenError:
            return False
        return True

    with ThreadPoolExecutor(len(stores)) as pool:
        won = list(pool.map(work, range(len(stores))))
    assert won.count(True) == 1
    assert stores[0].read("channels/a/b/00000001.json") == b"%d" % won.index(True)


def test_what_is_not_there(store: Store) -> None:
    assert store.read("format.json") is None
    assert store.names("channels") == []
    assert pointers.current(store, zoo.CHANNEL, zoo.ENGINE) is None
    store.delete("format.json")


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, BIG])
def test_a_file_goes_there_and_back(store: Store, tmp_path: Path, size: int) -> None:
    listed = zoo.package(tmp_path / "package", 7, plan_bytes=size)
    source = Source(tmp_path / "package/1/model.plan", listed["1/model.plan"].sha256, size)
    sent: list[int] = []
    assert not store.has_object(source)
    store.put_object(source, sent.append)
    assert sum(sent) == size
    assert store.has_object(source)
    store.get_object(source.sha256, size, tmp_path / "back", zoo.nobody)
    assert (tmp_path / "back").read_bytes() == source.path.read_bytes()
    assert not [name for name in store.names("") if "incoming" in name]


@pytest.mark.parametrize("size", [1000, BIG])
def test_a_file_that_changes_while_it_is_sent_never_appears(
    store: Store, tmp_path: Path, size: int
) -> None:
    listed = zoo.package(tmp_path, 7, plan_bytes=size)
    source = Source(tmp_path / "1/model.plan", listed["1/model.plan"].sha256, size)
    with source.path.open("r+b") as stream:
        stream.seek(size - 1)
        stream.write(b"!")
    with pytest.raises(errors.IntegrityError, match="was changed while it was uploaded"):
        store.put_object(source, zoo.nobody)
    assert store.names("") == []


def test_promoted_rolled_back_and_listed(store: Store, tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        zoo.promote(store, tmp_path, seed)
    back = pointers.rollback(
        store, channel=zoo.CHANNEL, engine=zoo.ENGINE, who="Bea", when=zoo.WHEN
    )
    pointers.append(store, back)
    told = [
        (record.number, record.action, record.version, record.previous)
        for record in pointers.history(store, zoo.CHANNEL, zoo.ENGINE)
    ]
    assert told == [
        (4, "rollback", "v2", 1),
        (3, "promote", "v3", 2),
        (2, "promote", "v2", 1),
        (1, "promote", "v1", None),
    ]
    longer = zoo.record(store, dict(back.files), "v9", engine=f"{zoo.ENGINE}-b64")
    assert pointers.append(store, longer).number == 1
    assert len(pointers.history(store, zoo.CHANNEL, zoo.ENGINE)) == 4
    assert pointers.engines(store) == [(zoo.CHANNEL, zoo.ENGINE), (zoo.CHANNEL, longer.engine)]
    (tmp_path / "back").mkdir()
    transfer.download(store, back.files, tmp_path / "back", zoo.nobody)
    for name in back.files:
        assert (tmp_path / "back" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_unchanged_content_is_not_sent_again(store: Store, tmp_path: Path) -> None:
    zoo.promote(store, tmp_path, 1, plan_bytes=BIG)
    listed = zoo.package(tmp_path / "1", 1, plan_bytes=BIG)
    sources = transfer.sources_of(tmp_path / "1", listed)
    told: list[int] = []
    assert transfer.upload(store, sources, told.append) == 0
    assert sum(told) == sum(entry.bytes for entry in listed.values())


@pytest.mark.parametrize("seed_bytes", [20_000, BIG])
def test_an_object_changed_in_the_store_is_found_and_mended(
    store: Store, tmp_path: Path, seed_bytes: int
) -> None:
    made = zoo.promote(store, tmp_path, 1, plan_bytes=seed_bytes)
    plan = made.files["1/model.plan"]
    overwrite(store, object_name(plan.sha256), b"?" * plan.bytes)
    with pytest.raises(errors.IntegrityError, match="is not what its name says: its SHA-256"):
        transfer.download(store, made.files, tmp_path / "a", zoo.nobody)
    zoo.promote(store, tmp_path, 1, plan_bytes=seed_bytes)
    transfer.download(store, made.files, tmp_path / "b", zoo.nobody)


def test_an_object_that_went_or_shrank_is_told(store: Store, tmp_path: Path) -> None:
    made = zoo.promote(store, tmp_path, 1)
    zoo.promote(store, tmp_path, 2)
    plan = made.files["1/model.plan"]
    overwrite(store, object_name(plan.sha256), b"short")
    words = {"channel": zoo.CHANNEL, "engine": zoo.ENGINE, "who": "Ann", "when": zoo.WHEN}
    with pytest.raises(errors.IntegrityError, match="has 5 bytes, not 20000"):
        pointers.rollback(store, **words)
    store.delete(object_name(plan.sha256))
    with pytest.raises(errors.IntegrityError, match="is missing"):
        pointers.rollback(store, **words)


def test_two_promoters_one_is_told(store: Store, tmp_path: Path) -> None:
    zoo.promote(store, tmp_path, 1)
    listed = zoo.package(tmp_path / "2", 2)
    late = zoo.record(store, listed, "v2")
    zoo.promote(store, tmp_path, 3)
    with pytest.raises(errors.TakenError, match=r"Ann .* promoted v3 to staging at 2026-01-31T12"):
        transfer.publish(store, late, transfer.sources_of(tmp_path / "2", listed), zoo.nobody)
    serving = pointers.current(store, zoo.CHANNEL, zoo.ENGINE)
    assert serving is not None
    assert serving.version == "v3"


def test_garbage_is_told_first_then_removed(store: Store, tmp_path: Path) -> None:
    made = [zoo.promote(store, tmp_path, seed) for seed in (1, 2, 3)]
    first = {made[0].files[name].sha256 for name in ("1/model.plan", "manifest.json")}
    before = store.names("")
    dry = collecting.collect(store, 1, dry_run=True, who="Ann")
    assert {one.name for one in dry} == {object_name(sha256) for sha256 in first}
    assert store.names("") == before
    assert collecting.collect(store, 1, dry_run=False, who="Ann") == dry
    assert set(before) - set(store.names("")) == {one.name for one in dry}
    for record in made[1:]:  # what serves, and what a rollback would bring back
        for entry in record.entries():
            store.need_object(entry.sha256, entry.bytes)
    assert collecting.collect(store, 1, dry_run=False, who="Ann") == []


def test_objects_of_a_channel_behind_a_link_are_no_garbage(store: Store, tmp_path: Path) -> None:
    zoo.promote(store, tmp_path, 1)
    if store.kind == "s3":
        return  # it has no links
    root = Path(store.url if store.kind == "file" else "/" + store.url.split("/", 3)[3])
    (root / "channels" / zoo.CHANNEL).rename(root / "elsewhere")
    (root / "channels" / zoo.CHANNEL).symlink_to(root / "elsewhere")
    assert pointers.engines(store) == [(zoo.CHANNEL, zoo.ENGINE)]
    assert collecting.collect(store, 1, dry_run=False, who="Ann") == []


def test_nothing_is_removed_from_a_store_of_another_layout(store: Store, tmp_path: Path) -> None:
    """Its records may look like none."""
    zoo.promote(store, tmp_path, 1)
    overwrite(store, "format.json", b'{"schema_version": 2}')
    for dry_run in (True, False):
        with pytest.raises(errors.UnfitStoreError, match=r"another layout: see format\.json"):
            collecting.collect(store, 1, dry_run=dry_run, who="Ann")


def test_an_upload_that_ends_meanwhile_is_no_leftover(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver: Any = store._driver
    if store.kind != "s3":
        monkeypatch.setattr(driver, "walk", lambda _: [("incoming/gone", 1)])
    assert store.leftovers(-3600.0) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("store", "./store/"),
        ("/srv/store", "file:///srv/store"),
        ("s3://bucket/a", "s3://bucket/a/"),
        ("gs://bucket/a", "gcs://bucket/a"),
        ("ssh://ann@host:22/a", "sftp://ann@host:22/a"),
    ],
)
def test_one_store_by_other_words(one: str, other: str) -> None:
    assert opening.place(one) == opening.place(other)
    assert opening.place(one) != opening.place(f"{other.rstrip('/')}2")


def test_a_store_that_overwrites_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As S3's imitations do that do not know `If-None-Match`."""

    def careless(path: str, data: bytes) -> None:
        (tmp_path / Path(path).name).write_bytes(data)

    driver: Any = store._driver
    monkeypatch.setattr(driver, "create", careless)
    with pytest.raises(errors.UnfitStoreError, match="Two promotions at once could both"):
        zoo.promote(store, tmp_path, 1)
    assert [name for name in store.names("") if name != "format.json"] == []


def test_what_is_no_record_is_skipped(store: Store, tmp_path: Path) -> None:
    zoo.promote(store, tmp_path, 1)
    good = store.read(pointers.name(zoo.CHANNEL, zoo.ENGINE, 1)) or b""
    torn = [b"", b"[]", good[:-1], good, good.replace(b'"number": 1', b'"number": 4') + b" "]
    # No UTF-8 has such a character; and no folder has both such a file and such a folder.
    torn.append(good.replace(b'"v1"', b'"\\ud800"').replace(b'"number": 1', b'"number": 7'))
    first = zoo.record(store, zoo.package(tmp_path / "1", 1), "v1")
    both = {**first.files, "1/model.plan/x": first.files["1/model.plan"]}
    torn.append(type(first)(**{**vars(first), "number": 8, "files": both}).data())
    for number, data in enumerate(torn, 2):
        store.create(pointers.name(zoo.CHANNEL, zoo.ENGINE, number), data)
    serving = pointers.current(store, zoo.CHANNEL, zoo.ENGINE)
    assert serving is not None
    assert serving.number == 1
    assert zoo.promote(store, tmp_path, 2).number == len(torn) + 2
