# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The command of a consumer: it takes nothing on trust, and places all or nothing."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec

from stages import fetch as fetching
from stages.lib import files
from stages.promotion import signing
from stages.storage import opening, pointers, transfer
from stages.storage.driver import Source
from stages.storage.records import Entry
from stages.storage.store import object_name
from tests import stores_zoo as zoo

if TYPE_CHECKING:
    from pathlib import Path

    from stages.storage.records import Record

SPEC = {"method": signing.KEY}


class Producer:
    """Somebody with a key, a store, and packages in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = opening.open_store(str(folder / "store"))
        self.private = self.key("own")

    def key(self, name: str) -> Path:
        """Make a key pair; <name>.pub beside the private one."""
        made, path = ec.generate_private_key(ec.SECP256R1()), self.folder / name
        plain = form.NoEncryption()
        data = made.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, plain)
        path.write_bytes(data)
        public = form.PublicFormat.SubjectPublicKeyInfo
        told = made.public_key().public_bytes(form.Encoding.PEM, public)
        path.with_suffix(".pub").write_bytes(told)
        return path

    def promote(self, seed: int, *, signed: bool = True, engine: str = zoo.ENGINE) -> Record:
        package = self.folder / f"package-{seed}"
        listed = zoo.package(package, seed, engine=engine)
        sources, signature = transfer.sources_of(package, listed), None
        if signed:
            path = self.folder / f"package-{seed}.sig"
            signing.sign(package, path, SPEC, key=self.private, certificate=None)
            signature = Entry(files.sha256(path), path.stat().st_size)
            sources.append(Source(path, signature.sha256, signature.bytes))
        made = zoo.record(self.store, listed, f"v{seed}", signature=signature, engine=engine)
        return transfer.publish(self.store, made, sources, zoo.nobody)

    def overwrite(self, sha256: str, data: bytes) -> None:
        (self.folder / "store" / object_name(sha256)).write_bytes(data)


@pytest.fixture
def producer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Producer:
    monkeypatch.chdir(zoo.ROOT)
    return Producer(tmp_path)


def fetch(producer: Producer, *words: str) -> subprocess.CompletedProcess[str]:
    place = [str(producer.folder / "store"), zoo.CHANNEL, "--to", str(producer.folder / "models")]
    return subprocess.run(
        [sys.executable, "-m", "stages.fetch", *place, *words],
        cwd=zoo.ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )


def by_key(producer: Producer, name: str = "own") -> tuple[str, str]:
    return "--key", str(producer.folder / f"{name}.pub")


def placed(producer: Producer, engine: str = zoo.ENGINE) -> dict[str, bytes]:
    root = producer.folder / "models" / engine
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def original(producer: Producer, seed: int) -> dict[str, bytes]:
    root = producer.folder / f"package-{seed}"
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_what_serves_is_placed_and_replaced(producer: Producer) -> None:
    for seed in (1, 2):
        producer.promote(seed)
        done = fetch(producer, *by_key(producer))
        assert done.returncode == 0, done.stderr
        assert f"v{seed}, record {seed} of staging, by Ann" in done.stdout
        assert "signed by key sha256:" in done.stdout
        assert placed(producer) == original(producer, seed)
    words = {"channel": zoo.CHANNEL, "engine": zoo.ENGINE, "who": "Bea", "when": zoo.WHEN}
    pointers.append(producer.store, pointers.rollback(producer.store, **words))
    assert fetch(producer, *by_key(producer)).returncode == 0
    assert placed(producer) == original(producer, 1)
    assert [path.name for path in (producer.folder / "models").iterdir()] == [zoo.ENGINE]


def test_every_engine_of_a_channel_or_one(producer: Producer) -> None:
    producer.promote(1)
    producer.promote(2, engine="other")
    assert fetch(producer, "--engine", "other", *by_key(producer)).returncode == 0
    assert placed(producer, "other") == original(producer, 2)
    assert placed(producer) == {}
    assert fetch(producer, *by_key(producer)).returncode == 0
    assert placed(producer) == original(producer, 1)


@pytest.mark.parametrize("what", ["config.pbtxt", "1/model.plan", "signature"])
def test_an_object_changed_in_the_store_is_refused(producer: Producer, what: str) -> None:
    producer.promote(1)
    assert fetch(producer, *by_key(producer)).returncode == 0
    made = producer.promote(2)
    entry = made.signature if what == "signature" else made.files[what]
    assert entry is not None
    producer.overwrite(entry.sha256, b"x" * entry.bytes)
    done = fetch(producer, *by_key(producer))
    assert done.returncode == 18
    assert "is not what its name says" in done.stderr
    assert what == "config.pbtxt" or placed(producer) == original(producer, 1)


def test_another_plan_under_a_true_digest_is_refused_by_the_signature(producer: Producer) -> None:
    """Who may write to the store can write a record for other files, but not sign them."""
    honest = producer.promote(1)
    package = producer.folder / "package-2"
    listed = zoo.package(package, 2)
    forged = zoo.record(producer.store, listed, "v1", signature=honest.signature)
    signature = producer.folder / "package-1.sig"
    assert honest.signature is not None
    source = Source(signature, honest.signature.sha256, honest.signature.bytes)
    sources = [*transfer.sources_of(package, listed), source]
    transfer.publish(producer.store, forged, sources, zoo.nobody)
    done = fetch(producer, *by_key(producer))
    assert done.returncode == 31
    assert "do not deploy it: nothing was placed" in done.stderr
    assert placed(producer) == {}


def test_signed_files_of_another_engine_are_refused(producer: Producer) -> None:
    """Who may write to the store could else serve a signed package under another's name."""
    honest = producer.promote(1, engine="other")
    forged = zoo.record(producer.store, dict(honest.files), "v1", signature=honest.signature)
    pointers.append(producer.store, forged)
    done = fetch(producer, "--engine", zoo.ENGINE, *by_key(producer))
    assert done.returncode == 18
    assert f"record 1 of staging serves a package of other as {zoo.ENGINE}" in done.stderr
    assert placed(producer) == {}


def test_a_signature_of_somebody_else_is_refused(producer: Producer) -> None:
    producer.promote(1)
    producer.key("other")
    done = fetch(producer, *by_key(producer, "other"))
    assert done.returncode == 31
    assert placed(producer) == {}


def test_an_unsigned_one_only_where_that_is_asked_for(producer: Producer) -> None:
    producer.promote(1, signed=False)
    done = fetch(producer, *by_key(producer))
    assert (done.returncode, placed(producer)) == (31, {})
    assert "is not signed (record 1)" in done.stderr
    done = fetch(producer)
    assert (done.returncode, placed(producer)) == (31, {})
    assert "say whom to believe" in done.stderr
    done = fetch(producer, "--unsigned")
    assert done.returncode == 0
    assert "its signature was not looked at" in done.stdout
    assert placed(producer) == original(producer, 1)


@pytest.mark.parametrize(
    "more",
    [
        ["--unsigned"],
        ["--identity", "CN=promoter"],
        ["--certificates", "root.pem"],
        ["--trust-config", "trust.json"],
    ],
)
def test_no_option_is_passed_over(producer: Producer, more: list[str]) -> None:
    """Whoever names somebody believes that it is looked at."""
    producer.promote(1)
    done = fetch(producer, *by_key(producer), *more)
    assert (done.returncode, placed(producer)) == (31, {})
    assert "it is not clear whose signature counts" in done.stderr


def test_a_consumer_may_be_anywhere(producer: Producer) -> None:
    producer.promote(1)
    words = [sys.executable, "-m", "stages.fetch", "store", zoo.CHANNEL, "--to", "models"]
    subprocess.run(
        [*words, "--key", "own.pub"],
        cwd=producer.folder,
        env={**os.environ, "PYTHONPATH": str(zoo.ROOT)},
        check=True,
    )
    assert placed(producer) == original(producer, 1)


def test_a_manifest_of_another_kind_is_refused(producer: Producer) -> None:
    package = producer.folder / "package"
    listed = zoo.package(package, 1)
    (package / "manifest.json").write_bytes(b"[]")
    listed["manifest.json"] = Entry(files.sha256(package / "manifest.json"), 2)
    made = zoo.record(producer.store, listed, "v1")
    sources = transfer.sources_of(package, listed)
    transfer.publish(producer.store, made, sources, zoo.nobody)
    assert fetch(producer, "--unsigned").returncode == 18


def test_what_is_not_placed_yet_is_no_folder_of_the_repository(
    producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton takes each for a model, and by default does not start when one is none."""
    producer.promote(1)
    seen: list[list[str]] = []

    def seeing(*words: Any) -> None:
        seen.append([path.name for path in (producer.folder / "models").iterdir()])
        download(*words)

    download = transfer.download
    monkeypatch.setattr(transfer, "download", seeing)
    place = [str(producer.folder / "store"), zoo.CHANNEL, "--to", str(producer.folder / "models")]
    fetching.main(fetching.parser().parse_args([*place, *by_key(producer)]))
    assert seen == [[], []]
    assert placed(producer) == original(producer, 1)
    assert not list(producer.folder.glob(".*"))


def test_two_at_once_do_not_disturb_each_other(
    producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one would remove what the first has begun, as a killed one's."""
    producer.promote(1)
    place = [str(producer.folder / "store"), zoo.CHANNEL, "--to", str(producer.folder / "models")]
    words = [*place, *by_key(producer)]
    others: list[subprocess.Popen[bytes]] = []

    def slow(*given: Any) -> None:
        if "signature" in given[1]:  # all else is there
            others.append(subprocess.Popen([sys.executable, "-m", "stages.fetch", *words]))
            with contextlib.suppress(subprocess.TimeoutExpired):
                others[0].wait(3.0)
        download(*given)

    download = transfer.download
    monkeypatch.setattr(transfer, "download", slow)
    fetching.main(fetching.parser().parse_args(words))
    assert others[0].wait() == 0
    assert placed(producer) == original(producer, 1)


def test_a_channel_that_serves_nothing(producer: Producer) -> None:
    done = fetch(producer, *by_key(producer))
    assert done.returncode == 15
    assert "there is no valid pointer record" in done.stderr


@pytest.mark.parametrize("path", ["../outside", "/outside", "1/../../outside", "a\\b", ""])
def test_a_record_cannot_write_elsewhere(producer: Producer, path: str) -> None:
    made = producer.promote(1)
    for number, name in enumerate([made.manifest, path], 2):
        files_of = {**made.files, name: made.files["1/model.plan"]}
        evil = type(made)(**{**vars(made), "number": number, "files": files_of})
        producer.store.create(pointers.name(zoo.CHANNEL, zoo.ENGINE, number), evil.data())
    serving = pointers.current(producer.store, zoo.CHANNEL, zoo.ENGINE)
    assert serving is not None
    assert serving.number == 2  # the other one is no valid record


def test_a_full_disk_places_nothing(producer: Producer) -> None:
    producer.promote(1)
    disk = producer.folder / "models"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"not run: no right to mount a small disk ({done.stderr.strip()})")
    try:
        told = fetch(producer, *by_key(producer))
        assert told.returncode == 16, told.stderr
        assert "No space left on device" in told.stderr
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def by_hand(producer: Producer, *, strict: bool = True) -> subprocess.CompletedProcess[str]:
    """Do what README.md says, with the tools of a folder in the place of a cloud's."""
    text = (zoo.ROOT / "README.md").read_text()
    (block,) = re.findall(r"```sh\n(STORE=.*?)```", text, flags=re.DOTALL)
    steps = block.splitlines()[3:]
    tools = [
        f"set -{'eu' if strict else 'u'}",
        f"STORE={producer.folder}/store CHANNEL={zoo.CHANNEL} ENGINE={zoo.ENGINE}",
        'list() { ls "$STORE/$1"; }',
        'get() { cp "$STORE/$1" "$2"; }',
        f'model_signing() {{ {shlex.quote(sys.executable)} -m model_signing "$@"; }}',
    ]
    here = producer.folder / "by-hand"
    (here / "models").mkdir(parents=True)
    (here / "production.pub").write_bytes((producer.folder / "own.pub").read_bytes())
    return subprocess.run(
        ["sh", "-c", "\n".join([*tools, *steps])],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_the_readme_says_does_it_by_hand(producer: Producer) -> None:
    producer.promote(1)
    producer.promote(2)
    done = by_hand(producer)
    assert done.returncode == 0, done.stderr
    root = producer.folder / "by-hand/models" / zoo.ENGINE
    assert {path: (root / path).read_bytes() for path in original(producer, 2)} == original(
        producer, 2
    )


def test_what_the_readme_says_finds_what_was_changed(producer: Producer) -> None:
    made = producer.promote(1)
    producer.overwrite(made.plan, b"x" * made.files["1/model.plan"].bytes)
    done = by_hand(producer)
    assert done.returncode != 0
    assert "1/model.plan: FAILED" in done.stdout
    assert list((producer.folder / "by-hand/models").iterdir()) == []


def test_what_the_readme_says_stops_in_a_shell_that_goes_on_after_errors(
    producer: Producer,
) -> None:
    producer.promote(1)
    producer.key("own")
    done = by_hand(producer, strict=False)
    assert done.returncode != 0
    assert list((producer.folder / "by-hand/models").iterdir()) == []


@pytest.mark.parametrize("name", ["../outside", "/outside", "a\n{} ../outside"])
def test_what_the_readme_says_writes_nowhere_else(producer: Producer, name: str) -> None:
    made = producer.promote(1)
    path = producer.folder / "store" / pointers.name(zoo.CHANNEL, zoo.ENGINE, 1)
    record = json.loads(path.read_bytes())
    record["files"][name.format(made.plan)] = {"sha256": made.plan, "bytes": 1}
    path.write_text(json.dumps(record))
    assert by_hand(producer).returncode != 0
    found = {one.name for one in (producer.folder / "by-hand").iterdir()}
    assert "outside" not in found


def test_what_the_readme_says_finds_another_engine(producer: Producer) -> None:
    honest = producer.promote(1, engine="other")
    forged = zoo.record(producer.store, dict(honest.files), "v1", signature=honest.signature)
    pointers.append(producer.store, forged)
    assert by_hand(producer).returncode != 0
    assert list((producer.folder / "by-hand/models").iterdir()) == []


def test_help_and_misuse() -> None:
    words = [sys.executable, "-m", "stages.fetch"]
    told = subprocess.run([*words, "--help"], cwd=zoo.ROOT, capture_output=True, check=False)
    assert (told.returncode, b"--trust-config" in told.stdout) == (0, True)
    told = subprocess.run([*words, "url"], cwd=zoo.ROOT, capture_output=True, check=False)
    assert (told.returncode, b"usage: " in told.stderr) == (64, True)
