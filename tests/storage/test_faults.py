# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Promotions that go wrong: killed, cut off, refused, out of room, in each other's way."""

from __future__ import annotations

import base64
import errno
import hashlib
import multiprocessing
import os
import random
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from fsspec.implementations.local import LocalFileSystem

from stages.lib import errors
from stages.storage import collecting, faults, opening, pointers, transfer
from stages.storage.cloud import Cloud
from stages.storage.driver import PART, Source
from stages.storage.store import object_name
from tests import faulty_proxy
from tests import stores_zoo as zoo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.storage.records import Record
    from stages.storage.store import Store

# 50 moments in all; a promotion is cut at a random share of the time that a whole one takes.
KILLS = {"file": 20, "s3": 15, "ssh": 15}
BYTES = {"file": PART, "s3": PART + 1000, "ssh": PART}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with zoo.s3_server(tmp_path_factory.mktemp("moto")) as address:
        yield address


@pytest.fixture
def bucket(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty store on S3."""
    monkeypatch.chdir(zoo.ROOT)
    for key, value in zoo.s3_environment(endpoint).items():
        monkeypatch.setenv(key, value)
    boto3.client("s3").create_bucket(Bucket=zoo.BUCKET)
    return f"s3://{zoo.BUCKET}/{tmp_path.name}"


@pytest.fixture
def sshd(monkeypatch: pytest.MonkeyPatch) -> Iterator[zoo.Sshd]:
    server = zoo.Sshd()
    monkeypatch.chdir(zoo.ROOT)
    monkeypatch.setenv("HOME", str(server.home))
    yield server
    server.stop()


@pytest.fixture
def folder_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(zoo.ROOT)
    return opening.open_store(str(tmp_path / "store"))


def serving(store: Store) -> Record:
    found = pointers.current(store, zoo.CHANNEL, zoo.ENGINE)
    assert found is not None
    return found


def whole(store: Store, record: Record, into: Path) -> None:
    """See that every object of a record is what it says."""
    into.mkdir(parents=True)
    transfer.download(store, record.files, into, zoo.nobody)


@pytest.mark.parametrize("kind", KILLS)
def test_killed_at_any_moment(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(zoo.ROOT)
    if kind == "file":
        url = str(tmp_path / "store")
    else:
        found = request.getfixturevalue({"s3": "bucket", "ssh": "sshd"}[kind])
        url = found if kind == "s3" else found.url("store")
    store, moments = opening.open_store(url), random.Random(6)  # noqa: S311 (the same in each run)
    zoo.promote(store, tmp_path, 0, plan_bytes=BYTES[kind])
    # Forked from a process that has imported all, so that time goes into the promotion.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.stores_zoo", "s3fs", "sshfs"])

    def start(seed: int) -> multiprocessing.process.BaseProcess:
        words = (dict(os.environ), url, tmp_path, seed, BYTES[kind])
        process = processes.Process(target=zoo.promote_in_child, args=words)
        process.start()
        return process

    start(1).join()  # the first one imports
    times, old = [], 0
    for seed in (2, 3):
        begin = time.monotonic()
        start(seed).join()
        times.append(time.monotonic() - begin)
        assert serving(store).version == f"v{seed}"
    for seed in range(4, 4 + KILLS[kind]):
        before = serving(store)
        process = start(seed)
        process.join(moments.uniform(0.05, 1.0) * min(times))
        process.kill()
        process.join()
        after = serving(store)
        assert after.version in (before.version, f"v{seed}")
        old += after.version == before.version
        whole(store, after, tmp_path / f"checked-{seed}")
        if after.version == before.version:
            zoo.promote(store, tmp_path, seed, plan_bytes=BYTES[kind])
        assert serving(store).version == f"v{seed}"
        whole(store, serving(store), tmp_path / f"finished-{seed}")
    assert old > KILLS[kind] // 4, f"only {old} of {KILLS[kind]} promotions were cut"


@pytest.mark.parametrize("seed", range(4))
def test_a_server_that_fails_now_and_then(
    bucket: str, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Every fifth request or so gets an error, no answer, or half of one."""
    direct = opening.open_store(bucket)
    zoo.promote(direct, tmp_path, 1, plan_bytes=2 * PART)
    with faulty_proxy.before(endpoint, share=0.2, seed=seed) as (address, proxy):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        store = opening.open_store(bucket)
        for attempt in range(30):
            try:
                zoo.promote(store, tmp_path, 2, plan_bytes=2 * PART)
                whole(store, serving(store), tmp_path / f"fetched-{attempt}")
            except errors.StoreError:
                pass  # told, and run again as it says
            else:
                break
        assert proxy.faults
    assert serving(direct).version == "v2"
    whole(direct, serving(direct), tmp_path / "after")


@pytest.mark.parametrize("kind", ["500", "cut", "half", "short"])
def test_a_server_that_always_fails_is_told(
    bucket: str, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    made = zoo.promote(opening.open_store(bucket), tmp_path, 1)
    with faulty_proxy.before(endpoint, share=1.0, seed=0, kinds=(kind,)) as (address, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        store = opening.open_store(bucket)
        with pytest.raises(errors.StoreError, match=rf"^{bucket} failed: "):
            whole(store, made, tmp_path / "fetched")
    assert "the same command, run again" in errors.StoreError.usually


@pytest.mark.parametrize(("forgets", "size"), [(False, 2 * PART), (True, 2 * PART), (True, 9000)])
def test_a_server_that_stores_something_else_is_noticed(
    bucket: str,
    endpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    forgets: bool,
    size: int,
) -> None:
    """By its own checksum, or where it keeps none by reading back."""
    kinds = (faulty_proxy.FLIP,)
    with faulty_proxy.before(endpoint, share=1.0, seed=0, kinds=kinds) as (address, proxy):
        proxy.forgets = forgets
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        store = opening.open_store(bucket)
        with pytest.raises(errors.StoreError, match="is not in the store what was sent"):
            zoo.promote(store, tmp_path, 1, plan_bytes=size)
        plan = zoo.package(tmp_path, 1, plan_bytes=size)["1/model.plan"]
        assert object_name(plan.sha256) not in store.names("objects")
        proxy.share = 0.0
        zoo.promote(store, tmp_path, 1, plan_bytes=size)
        whole(store, serving(store), tmp_path / "fetched")


@pytest.mark.parametrize("forgets", [False, True])
def test_promoted_again_nothing_is_sent_but_a_record(
    bucket: str, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, forgets: bool
) -> None:
    with faulty_proxy.before(endpoint, share=0.0, seed=0) as (address, proxy):
        proxy.forgets = forgets
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        store = opening.open_store(bucket)
        zoo.promote(store, tmp_path, 1, plan_bytes=2 * PART)
        assert proxy.received > 2 * PART
        proxy.received = 0
        assert zoo.promote(store, tmp_path, 1, plan_bytes=2 * PART).number == 2
        assert proxy.received < 4000


def test_no_server_is_told(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{zoo.free_port()}")
    with pytest.raises(errors.StoreError, match="Could not connect to the endpoint URL"):
        pointers.current(opening.open_store(bucket), zoo.CHANNEL, zoo.ENGINE)


def test_a_bucket_that_is_not_there_is_told(bucket: str, tmp_path: Path) -> None:
    store = opening.open_store(bucket.replace(zoo.BUCKET, "no-such-bucket"))
    with pytest.raises(errors.StoreError, match="The specified bucket does not exist"):
        zoo.promote(store, tmp_path, 1)


def test_wrong_keys_of_s3_are_told_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(zoo.ROOT)
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    with zoo.s3_server(tmp_path, INITIAL_NO_AUTH_ACTION_COUNT="0") as endpoint:
        for key, value in zoo.s3_environment(endpoint).items():
            monkeypatch.setenv(key, value)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        with pytest.raises(errors.AccessError, match="does not let us in") as caught:
            zoo.promote(opening.open_store(f"s3://{zoo.BUCKET}"), tmp_path, 1)
        assert "aws sts get-caller-identity" in caught.value.mend
        assert secret not in caught.value.paragraph()


def test_no_keys_of_s3_are_told(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in zoo.KEYS:
        monkeypatch.delenv(key)
    with pytest.raises(errors.AccessError, match=r"(?i)unable to locate credentials"):
        pointers.current(opening.open_store(bucket), zoo.CHANNEL, zoo.ENGINE)


def test_a_key_that_ssh_does_not_know_is_told(sshd: zoo.Sshd) -> None:
    key = sshd.home / ".ssh" / "id_ed25519"
    key.unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    key.with_suffix(".pub").unlink()
    with pytest.raises(errors.AccessError, match="Permission denied for user"):
        opening.open_store(sshd.url("store"))


def test_a_host_that_is_not_known_is_not_trusted(sshd: zoo.Sshd) -> None:
    (sshd.home / ".ssh" / "known_hosts").write_text("")
    with pytest.raises(errors.AccessError, match="Host key is not trusted"):
        opening.open_store(sshd.url("store"))


@pytest.mark.parametrize("url", ["s3://key:hush@bucket/a", "ssh://ann:hush@host/a"])
def test_a_password_in_the_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(errors.AccessError, match="holds a password or a key") as caught:
        opening.open_store(url)
    assert "hush" not in caught.value.paragraph()


@pytest.mark.parametrize("url", ["ssh://[host/a", "ssh://ann:hush\u2100@host/a"])
def test_what_is_no_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(errors.UnfitStoreError, match="the URL of the store is none") as caught:
        opening.open_store(url)
    assert "hush" not in caught.value.paragraph()


@pytest.mark.parametrize("url", ["https://host/a", "memory://a", "ftp://host/a", "hf://a/b"])
def test_what_cannot_create_exclusively_is_refused(url: str) -> None:
    with pytest.raises(errors.UnfitStoreError, match="only if it is not there"):
        opening.open_store(url)


def test_no_secret_stays_in_what_is_told() -> None:
    text = "at //ann:hush@host?sig=hush1&Signature=hush2 password: hush3 x-amz-security-token=hush4"
    text += " Authorization: Bearer hush5"
    with pytest.raises(errors.StoreError, match="failed: ") as caught, faults.told("u", "s3"):
        raise RuntimeError(text)
    assert "hush" not in caught.value.paragraph()


def test_a_full_disk_leaves_the_old_version(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"not run: no right to mount a small disk ({done.stderr.strip()})")
    try:
        store = opening.open_store(str(disk / "store"))
        zoo.promote(store, tmp_path, 1)
        with pytest.raises(errors.StorageError, match="No space left on device"):
            zoo.promote(store, tmp_path, 2, plan_bytes=300_000)
        assert serving(store).version == "v1"
        whole(store, serving(store), tmp_path / "one")
        assert store.names("incoming") == []
        subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)
        zoo.promote(store, tmp_path, 2, plan_bytes=300_000)
        whole(store, serving(store), tmp_path / "two")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_removed_under_a_promotion_it_uploads_again(
    folder_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects without a record yet are garbage to `--gc`; so it is looked for them afterwards."""
    append = pointers.append

    def late(store: Store, record: Record) -> Record:
        removed = collecting.collect(store, 1, dry_run=False, who="Bea")
        assert len(removed) == 3
        return append(store, record)

    monkeypatch.setattr(pointers, "append", late)
    zoo.promote(folder_store, tmp_path, 1)
    whole(folder_store, serving(folder_store), tmp_path / "fetched")


def test_records_that_cannot_be_read_are_not_taken_for_none(
    folder_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the folder of a channel is another user's: its objects are no garbage."""
    made, listing = zoo.promote(folder_store, tmp_path, 1), os.scandir

    def denied(path: str) -> Any:
        if str(path).endswith(zoo.CHANNEL):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return listing(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", denied)
        with pytest.raises(errors.AccessError, match="does not let us in: PermissionError"):
            collecting.collect(folder_store, 1, dry_run=False, who="Ann")
    whole(folder_store, made, tmp_path / "fetched")


def test_a_folder_of_ssh_that_is_read_only_is_told(sshd: zoo.Sshd, tmp_path: Path) -> None:
    store = opening.open_store(sshd.url("store"))
    zoo.promote(store, tmp_path, 1)
    incoming = sshd.data / "store/incoming"
    incoming.chmod(0o555)
    with pytest.raises(errors.AccessError, match=r"(?i)permission denied"):
        zoo.promote(store, tmp_path, 2)


class _Summing(LocalFileSystem):
    """A file system that knows MD5s, as that of GCS does."""

    def info(self, path: str, **kwargs: Any) -> Any:
        found = super().info(path, **kwargs)
        if found["type"] == "file":
            md5 = hashlib.md5(Path(path).read_bytes(), usedforsecurity=False)
            found["md5Hash"] = base64.b64encode(md5.digest()).decode()
        return found


@pytest.mark.parametrize("size", [999, 1000])
def test_a_file_that_changes_while_a_cloud_takes_it_never_appears(
    tmp_path: Path, size: int
) -> None:
    cloud = Cloud(_Summing(auto_mkdir=True), str(tmp_path / "bucket"))
    listed = zoo.package(tmp_path, 7, plan_bytes=1000)
    source = Source(tmp_path / "1/model.plan", listed["1/model.plan"].sha256, 1000)
    cloud.put("objects/whole", source, zoo.nobody)
    assert cloud.holds("objects/whole", source)
    source.path.write_bytes(b"!" * size)
    with pytest.raises((errors.IntegrityError, OSError), match=r"was changed|is not in the store"):
        cloud.put("objects/changed", source, zoo.nobody)
    assert [name for name, _ in cloud.walk("objects")] == ["objects/whole"]


def test_while_somebody_removes_nobody_promotes(
    folder_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo.promote(folder_store, tmp_path, 1)
    folder_store.create(collecting.LOCK, b'{"who": "Bea"}')
    with pytest.raises(errors.TakenError, match=r'somebody removes objects .*"Bea"'):
        zoo.promote(folder_store, tmp_path, 2)
    with pytest.raises(errors.TakenError, match=r'somebody removes objects .*"Bea"'):
        collecting.collect(folder_store, 1, dry_run=False, who="Cid")
    assert serving(folder_store).version == "v1"
    monkeypatch.setattr(collecting, "_WAIT_S", 0.0)
    with pytest.raises(errors.TakenError, match="or was killed while doing so") as caught:
        collecting.wait(folder_store)
    assert f"delete {folder_store.url}/collecting.json and run this again" in caught.value.mend


def test_what_a_killed_upload_left_is_removed_after_a_day(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = [opening.open_store(bucket), opening.open_store(str(tmp_path / "store"))]
    name = f"{tmp_path.name}/objects/sha256/aa/{'a' * 64}"
    boto3.client("s3").create_multipart_upload(Bucket=zoo.BUCKET, Key=name)
    (tmp_path / "store/incoming").mkdir(parents=True)
    (tmp_path / "store/incoming/1234").write_bytes(b"half")
    # moto dates every upload to 2010.
    assert collecting.collect(stores[1], 1, dry_run=True, who="Ann") == []
    monkeypatch.setattr(collecting, "_ABANDONED_S", -3600.0)
    for store in stores:
        (left,) = collecting.collect(store, 1, dry_run=False, who="Ann")
        assert left.why == "an upload that was not finished"
        assert collecting.collect(store, 1, dry_run=False, who="Ann") == []
