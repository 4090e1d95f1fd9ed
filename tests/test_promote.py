# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The command promote, as people run it: real package, Git, keys and a store in a folder."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stages.lib import files, layout, schema
from stages.promotion import channels
from stages.storage import opening, pointers
from tests import promotions_zoo as zoo
from tests.promotions_zoo import BY_KEY, CHANNEL, ENGINE

if TYPE_CHECKING:
    from tests.promotions_zoo import Checkout

PACKAGE, SIGNATURE = layout.package(ENGINE), layout.signature(ENGINE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.make(tmp_path_factory.mktemp("promote") / "project").root


@pytest.fixture
def checkout(made: Path, tmp_path: Path) -> Checkout:
    """A checkout of its own, which may promote to an open channel."""
    shutil.copytree(made, tmp_path / "project")
    shutil.copy(made.parent / "signing.key", tmp_path)
    return zoo.Checkout(tmp_path / "project")


def told(done: subprocess.CompletedProcess[str], code: int = 0) -> str:
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def records(checkout: Checkout) -> list[Any]:
    folder = checkout.root / "store/channels" / CHANNEL / ENGINE
    return [files.read_json(path) for path in sorted(folder.glob("*.json"))]


def objects(checkout: Checkout) -> set[str]:
    return {path.name for path in (checkout.root / "store/objects").rglob("*") if path.is_file()}


def test_what_is_promoted_is_all_of_the_package(checkout: Checkout) -> None:
    text = told(checkout.promote())
    assert f"staging serves {ENGINE} sha256:" in text
    assert "record 1, device: not run" in text
    (record,) = records(checkout)
    packed = {path for path in (checkout.root / PACKAGE).rglob("*") if path.is_file()}
    assert objects(checkout) == {files.sha256(path) for path in packed}
    assert set(record["files"]) == {
        path.relative_to(checkout.root / PACKAGE).as_posix() for path in packed
    }
    assert (record["who"], record["commit"]) == (zoo.WHO, checkout.git("rev-parse", "HEAD"))


def test_a_promotion_is_a_diff_of_git(checkout: Checkout) -> None:
    told(checkout.promote())
    path = layout.channel(CHANNEL, ENGINE).as_posix()
    assert checkout.git("status", "--porcelain", "--untracked-files=all") == f"?? {path}"
    document = checkout.told()
    kind = zoo.ROOT / layout.schema("channel")
    assert schema.problems(document, schema.read(kind)) == []
    (entry,) = document["history"]
    manifest = files.read_json(checkout.root / PACKAGE / "manifest.json")
    assert entry["plan_sha256"] == manifest["plan"]["sha256"]
    assert entry["verdict"]["device"] == "not run"
    assert document["serves"] == entry["number"] == 1
    checkout.commit()
    checkout.package("b")
    told(checkout.promote())
    diff = checkout.git("diff", "--stat", "--", path)
    assert "1 file changed" in diff
    assert [entry["number"] for entry in checkout.told()["history"]] == [2, 1]


def test_unchanged_content_makes_no_new_record(checkout: Checkout) -> None:
    told(checkout.promote())
    before = checkout.told()
    assert "already: record 1" in told(checkout.promote())
    assert len(records(checkout)) == 1
    assert checkout.told() == before


def test_an_interrupted_run_is_made_up_for_by_the_next(checkout: Checkout) -> None:
    """The record is there and the file of Git is not: as after a kill between the two."""
    told(checkout.promote())
    document = checkout.told()
    (checkout.root / layout.channel(CHANNEL, ENGINE)).unlink()
    told(checkout.promote())
    assert checkout.told() == document


def test_rollback_and_back(checkout: Checkout) -> None:
    told(checkout.promote())
    first = checkout.told()["history"][0]
    checkout.package("b")
    told(checkout.promote())
    text = told(checkout.promote("--rollback"))
    assert f"serves {ENGINE} {first['version']} again: record 3" in text
    newest = checkout.told()["history"][0]
    assert (newest["action"], newest["number"]) == ("rollback", 3)
    assert newest["manifest_sha256"] == first["manifest_sha256"]
    assert newest["verdict"] == first["verdict"]
    text = told(checkout.promote("--rollback"), 15)
    assert "has no version to go back to" in text
    told(checkout.promote())
    assert [record["action"] for record in records(checkout)] == 2 * ["promote"] + [
        "rollback",
        "promote",
    ]


def test_rollback_leads_to_other_files_not_to_another_name_of_the_same(checkout: Checkout) -> None:
    told(checkout.promote())
    first = checkout.told()["history"][0]
    checkout.package("b")
    told(checkout.promote())
    checkout.commit()
    checkout.git("tag", f"{ENGINE}@v2.0.0")
    assert "serves digits-int8-b1 v2.0.0 now: record 3" in told(checkout.promote())
    told(checkout.promote("--rollback"))
    assert checkout.told()["history"][0]["manifest_sha256"] == first["manifest_sha256"]


def test_rollback_needs_no_engine_in_params_and_no_package(checkout: Checkout) -> None:
    told(checkout.promote())
    checkout.package("b")
    told(checkout.promote())
    shutil.rmtree(checkout.root / PACKAGE)
    assert "again: record 3" in told(checkout.promote("--rollback"))


def test_no_rollback_to_what_is_not_signed_where_that_is_asked(checkout: Checkout) -> None:
    told(checkout.promote())
    checkout.channel(signature=BY_KEY)
    checkout.package("b")
    told(checkout.promote("--key", str(checkout.key)))
    text = told(checkout.promote("--rollback"), 31)
    assert "which served before, is not signed" in text
    assert len(records(checkout)) == 2


def test_list_shows_channels_versions_digests_who_and_when(checkout: Checkout) -> None:
    assert "nothing was promoted yet" in told(checkout.run("--list"))
    told(checkout.promote())
    checkout.package("b")
    told(checkout.promote())
    (_, serves, before) = told(checkout.run("--list")).strip().splitlines()
    (one, two) = records(checkout)
    for line, record in ((serves, two), (before, one)):
        digests = (record["manifest"][:12], record["plan"][:12])
        for part in (CHANNEL, ENGINE, record["version"], *digests, record["when"]):
            assert part in line
        assert line.endswith(zoo.WHO)
    assert "serves" in serves
    assert told(checkout.run("--list", "--channel", "production")).strip().endswith("yet")


def test_gc_tells_first_and_then_removes(checkout: Checkout) -> None:
    for mark in ("", "b", "c", "d"):
        if mark:
            checkout.package(mark)
        told(checkout.promote())
    before = objects(checkout)
    # The other channels share the store, and keep more: so nothing goes.
    assert "0 files" in told(checkout.run("--gc", "--channel", CHANNEL))
    checkout.channel("production", url="elsewhere")
    text = told(checkout.run("--gc", "--channel", CHANNEL))
    assert "to remove; --yes removes them" in text
    assert objects(checkout) == before
    text = told(checkout.run("--gc", "--channel", CHANNEL, "--yes"))
    kept = {entry["sha256"] for r in records(checkout)[-2:] for entry in r["files"].values()}
    assert objects(checkout) == kept
    assert f"{len(before - kept)} files" in text
    assert "again" in told(checkout.promote("--rollback"))


def test_signed_once_with_a_key_and_verified_from_then_on(checkout: Checkout) -> None:
    checkout.channel(signature=BY_KEY)
    text = told(checkout.promote(), 30)
    assert "may not go to staging, by rule 2 (signature)" in text
    assert "is not signed" in text
    assert not records(checkout)
    assert checkout.verdict()["verdict"] == "failed"
    told(checkout.promote("--key", str(checkout.key)))
    (record,) = records(checkout)
    signature = checkout.root / SIGNATURE
    assert record["signature"]["sha256"] == files.sha256(signature)
    assert record["signature"]["sha256"] in objects(checkout)
    assert checkout.told()["history"][0]["verdict"]["signed_by"].startswith("key sha256:")
    assert "already" in told(checkout.promote())
    assert "already" in told(checkout.promote("--key", str(checkout.key)))


def test_the_key_is_in_no_artifact_and_no_message(checkout: Checkout) -> None:
    checkout.channel(signature=BY_KEY)
    key = checkout.key.read_text()
    checkout.key.unlink()
    text = told(checkout.promote(ENGINERY_SIGNING_KEY=key))
    body = key.splitlines()[1]
    assert body not in text
    for path in checkout.root.parent.rglob("*"):
        assert not path.is_file() or body.encode() not in path.read_bytes(), path


def test_a_key_that_the_channel_does_not_know(checkout: Checkout) -> None:
    checkout.channel(signature=BY_KEY)
    checkout.keys()
    other = checkout.key.read_text()
    checkout.keys()
    checkout.key.write_text(other)
    assert "does not hold" in told(checkout.promote("--key", str(checkout.key)), 31)
    assert not records(checkout)


def test_a_wrong_key_leaves_the_signature_that_is_there(checkout: Checkout) -> None:
    """It holds for another channel."""
    checkout.channel(signature=BY_KEY)
    told(checkout.promote("--key", str(checkout.key)))
    signature = (checkout.root / SIGNATURE).read_bytes()
    right = checkout.root / "keys/right.pub"
    shutil.move(checkout.root / "keys/staging.pub", right)
    key = checkout.key.read_text()
    checkout.keys()
    checkout.key.write_text(key)
    assert "does not hold" in told(checkout.promote("--key", str(checkout.key)), 31)
    assert (checkout.root / SIGNATURE).read_bytes() == signature
    shutil.move(right, checkout.root / "keys/staging.pub")
    assert "already: record 1" in told(checkout.promote())


def test_an_altered_package_is_refused_by_every_channel(checkout: Checkout) -> None:
    plan = checkout.root / PACKAGE / "1/model.plan"
    plan.write_bytes(plan.read_bytes()[:-1] + b"x")
    assert "was changed" in told(checkout.promote(), 18)
    assert not (checkout.root / "store").exists()


def test_a_package_made_again_wants_another_signature(checkout: Checkout) -> None:
    checkout.channel(signature=BY_KEY)
    told(checkout.promote("--key", str(checkout.key)))
    checkout.package("b")
    assert "Signature mismatch" in told(checkout.promote(), 30)
    told(checkout.promote("--key", str(checkout.key)))
    assert len(records(checkout)) == 2


def test_code_that_is_not_committed_is_refused(checkout: Checkout) -> None:
    checkout.channel(require_commit=True)
    told(checkout.promote())
    path = checkout.root / "stages/build.py"
    path.write_text(path.read_text() + "# edited\n")
    facts = checkout.root / layout.facts("build", ENGINE)
    document = files.read_json(facts)
    document["code"]["stages/build.py"] = files.sha256(path)
    files.write_json(facts, document)
    again(checkout)
    text = told(checkout.promote(), 30)
    assert "stages/build.py as it ran: that code is not committed" in text
    commit = checkout.commit()
    told(checkout.promote())
    assert records(checkout)[-1]["commit"] == commit


def again(checkout: Checkout) -> None:
    """Package once more, from the facts as they lie there now."""
    command = [sys.executable, "-B", "-m", "stages.package", ENGINE]
    subprocess.run(command, cwd=checkout.root, check=True, capture_output=True)
    checkout.lock()


def test_a_device_run_is_bound_to_the_plan(checkout: Checkout) -> None:
    checkout.channel(require_device_run=True)
    assert "never run on a device: `python -m stages.device" in told(checkout.promote(), 30)
    evidence = json.loads((zoo.ROOT / "schemas/examples/good/device-l4.json").read_text())
    path = checkout.root / layout.device_evidence(ENGINE)
    files.write_json(path, evidence | {"engine": ENGINE})
    assert "is of another plan" in told(checkout.promote(), 30)
    plan = {"path": "x", "sha256": files.sha256(checkout.root / layout.plan(ENGINE))}
    files.write_json(path, evidence | {"engine": ENGINE, "plan": plan})
    assert "device: run" in told(checkout.promote())
    assert checkout.verdict()["device"] == {"state": "run", "gpu": "NVIDIA L4"}
    path.write_text("{}")
    assert "missing key" in told(checkout.promote(), 15)


def test_an_approval_and_its_version(checkout: Checkout) -> None:
    checkout.channel(approval="stage")
    assert "nothing is assigned to staging" in told(checkout.promote(), 30)
    checkout.git("tag", "--annotate", "--message", "yes", f"{ENGINE}#staging#1")
    checkout.git("tag", f"{ENGINE}@v1.2.0")
    assert f"serves {ENGINE} v1.2.0 now" in told(checkout.promote())
    checkout.package("b")
    assert "whose dvc.lock records another" in told(checkout.promote(), 30)


def test_two_promotions_at_once_one_wins(checkout: Checkout, tmp_path: Path) -> None:
    """The other one promotes while this one is judged: a tag command that Git runs does it."""
    shutil.copytree(checkout.root, tmp_path / "other")
    other = zoo.Checkout(tmp_path / "other")
    store = str(checkout.root / "store")
    other.channel(url=store)
    checkout.channel(url=store)
    other.package("b")
    wrapper = tmp_path / "bin/git"
    wrapper.parent.mkdir()
    done = tmp_path / "done"
    wrapper.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *for-each-ref*) if mkdir {done} 2>/dev/null; then cd {other.root} && '
        f"PATH={Path('/usr/bin')} {shlex.quote(sys.executable)} -B -m stages.promote {ENGINE}"
        f" --channel {CHANNEL} >/dev/null; fi;; esac\n"
        'exec /usr/bin/git "$@"\n'
    )
    wrapper.chmod(0o755)
    paths = f"{wrapper.parent}:/usr/bin:/bin"
    text = told(checkout.promote(PATH=paths), 36)
    assert f"{zoo.WHO} changed staging" in text
    assert len(records(checkout)) == 1
    told(checkout.promote())
    assert len(records(checkout)) == 2


def test_a_store_that_says_otherwise_than_git_is_noticed(checkout: Checkout) -> None:
    told(checkout.promote())
    path = checkout.root / layout.channel(CHANNEL, ENGINE)
    document = checkout.told()
    document["history"][0]["who"] = "Eve"
    files.write_json(path, document)
    text = told(checkout.promote(), 32)
    assert "contradicts the store in record 1: it says who Eve" in text


def test_a_channel_that_goes_to_another_store_begins_there(checkout: Checkout) -> None:
    told(checkout.promote())
    checkout.package("b")
    told(checkout.promote())
    before = checkout.told()
    shutil.copytree(checkout.root / "store", checkout.root / "copy")
    checkout.channel(url="copy")
    told(checkout.promote())
    assert checkout.told() == before | {"url": "copy"}
    checkout.channel(url="empty")
    told(checkout.promote())
    (entry,) = checkout.told()["history"]
    assert (entry["number"], entry["verdict"]["device"]) == (1, "not run")


def test_a_verdict_is_of_what_it_judged(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else may promote between our record and the file of Git."""
    told(checkout.promote())
    verdict = checkout.verdict()
    checkout.package("b")
    told(checkout.promote())
    monkeypatch.chdir(checkout.root)
    shutil.rmtree(layout.channel(CHANNEL, ENGINE).parent)
    store = opening.open_store("store")
    found = pointers.history(store, CHANNEL, ENGINE)
    path = channels.write(CHANNEL, ENGINE, "store", found, verdict)
    theirs, ours = files.read_json(path)["history"]
    assert theirs["verdict"] is None
    assert ours["verdict"]["rules"]["gates"] == "passed"


def test_gc_keeps_what_a_channel_keeps_that_writes_its_url_otherwise(checkout: Checkout) -> None:
    for mark in ("", "b", "c"):
        if mark:
            checkout.package(mark)
        told(checkout.promote())
    checkout.channel(keep=1)
    checkout.channel("production", url="./store/", keep=3)
    assert "0 files" in told(checkout.run("--gc", "--channel", CHANNEL))
    checkout.channel("production", url="elsewhere", keep=3)
    assert "0 files" not in told(checkout.run("--gc", "--channel", CHANNEL))


def test_nobody_rolls_back_while_somebody_removes(checkout: Checkout) -> None:
    told(checkout.promote())
    checkout.package("b")
    told(checkout.promote())
    (checkout.root / "store/collecting.json").write_text('{"who": "Bea"}')
    assert "somebody removes objects" in told(checkout.promote("--rollback"), 36)
    assert len(records(checkout)) == 2


def test_another_checkout_fills_in_what_it_did_not_see(checkout: Checkout) -> None:
    told(checkout.promote())
    checkout.package("b")
    (checkout.root / layout.channel(CHANNEL, ENGINE)).unlink()
    told(checkout.promote())
    new, old = checkout.told()["history"]
    assert new["verdict"]["device"] == "not run"
    assert old["verdict"] is None


def test_the_package_of_another_engine_is_not_taken(checkout: Checkout) -> None:
    other = "digits-int8-b64"
    shutil.move(checkout.root / PACKAGE, checkout.root / layout.package(other))
    text = told(checkout.run(other, "--channel", CHANNEL), 18)
    assert f"holds another engine, {ENGINE}" in text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "give an engine and --channel"),
        ([ENGINE], 2, "give --channel"),
        (["--gc"], 2, "give --channel"),
        ([ENGINE, "--channel", CHANNEL, "--yes"], 2, "give --gc, if --yes"),
        (["--gc", "--channel", f"{CHANNEL}.keep"], 2, "give --channel without a dot"),
        ([ENGINE, "--channel", "stagin"], 2, "Did you mean 'staging'?"),
        (["digits-int8", "--channel", CHANNEL], 2, "has no engine 'digits-int8'"),
        (["--list", "--gc"], 64, "not allowed with argument"),
        (["--help"], 0, "--rollback"),
        (["digits-int8-b64", "--channel", CHANNEL], 15, "there is no such folder"),
    ],
)
def test_what_makes_no_sense_is_said(made: Path, words: list[str], code: int, said: str) -> None:
    assert said in told(zoo.Checkout(made).run(*words), code)


def test_without_a_name_in_git_nobody_promotes(checkout: Checkout) -> None:
    nobody = {"GIT_COMMITTER_NAME": "", "GIT_COMMITTER_EMAIL": "", "EMAIL": ""}
    text = told(checkout.promote(**nobody), 32)
    assert "Git does not know who you are" in text
    text = told(checkout.promote(GIT_COMMITTER_NAME="A" * 200), 32)
    assert "have 216 characters; a record takes 200" in text
    assert not (checkout.root / "store").exists()
