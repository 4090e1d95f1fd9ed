# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Versions and approvals by tags that the real `gto` makes, in a real repository."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stages.lib import layout
from stages.promotion import approval
from tests import promotions_zoo as zoo

if TYPE_CHECKING:
    from collections.abc import Iterator

ENGINE = zoo.ENGINE


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> zoo.Checkout:
    """A repository whose commits record packages, as small as can be."""
    for name, value in zoo.GIT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    made = zoo.Checkout(tmp_path)
    made.git("init", "--quiet")
    build(made, "one")
    return made


def build(checkout: zoo.Checkout, text: str) -> str:
    """Another package, and the commit that records it."""
    package = layout.package(ENGINE)
    package.mkdir(parents=True, exist_ok=True)
    (package / "manifest.json").write_text(text)
    checkout.lock()
    return checkout.commit(text)


def gto(*words: str) -> None:
    command = [str(Path(sys.executable).with_name("gto")), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def version() -> str | None:
    package = approval.recorded(ENGINE)
    assert package
    tag = approval.version(approval.tags(ENGINE), package)
    return tag.version if tag else None


def approved(stage: str = "production") -> bool:
    package = approval.recorded(ENGINE)
    assert package
    return approval.stage(approval.tags(ENGINE), stage, package)[0] is not None


def test_a_version_that_gto_registers(checkout: zoo.Checkout) -> None:
    assert version() is None
    gto("register", ENGINE, "--version", "v1.2.0")
    assert version() == "v1.2.0"
    (tag,) = approval.tags(ENGINE)
    assert (tag.tag, tag.by) == (f"{ENGINE}@v1.2.0", "Ada <ada@localhost>")
    assert tag.commit == checkout.git("rev-parse", "HEAD")


def test_the_version_of_another_package_is_not_taken(checkout: zoo.Checkout) -> None:
    gto("register", ENGINE, "--version", "v1.2.0")
    build(checkout, "two")
    assert version() is None
    gto("register", ENGINE, "--version", "v1.10.0")
    assert version() == "v1.10.0"


def test_another_commit_with_the_same_package_does(checkout: zoo.Checkout) -> None:
    gto("register", ENGINE, "--version", "v1.2.0")
    (checkout.root / "README").write_text("more")
    checkout.commit()
    assert version() == "v1.2.0"


def test_the_highest_version_counts(checkout: zoo.Checkout) -> None:
    for name in ("v1.10.0", "v1.9.0", "v2.0.0-rc.2", "v2.0.0-rc.10"):
        checkout.git("tag", f"{ENGINE}@{name}")
    assert version() == "v2.0.0-rc.10"
    checkout.git("tag", f"{ENGINE}@v2.0.0")
    assert version() == "v2.0.0"


def test_a_version_that_was_taken_back_does_not_count() -> None:
    gto("register", ENGINE, "--version", "v1.0.0")
    gto("deprecate", ENGINE, "v1.0.0")
    assert version() is None


@pytest.mark.parametrize("simple", ["true", "false"])
def test_an_assignment_that_gto_makes(simple: str) -> None:
    assert not approved()
    gto("register", ENGINE)
    gto("assign", ENGINE, "--stage", "production", "--simple", simple)
    assert approved()
    assert not approved("staging")


def test_an_assignment_that_was_taken_back() -> None:
    gto("assign", ENGINE, "HEAD", "--stage", "production")
    assert approved()
    gto("deprecate", ENGINE, "v0.0.1", "production")
    assert not approved()
    gto("assign", ENGINE, "--version", "v0.0.1", "--stage", "production")
    assert approved()
    gto("deprecate", ENGINE)
    assert not approved()


def test_what_takes_back_in_the_same_second_has_the_last_word(checkout: zoo.Checkout) -> None:
    checkout.git("tag", f"{ENGINE}#production#1", when=1_900_000_000)
    assert approved()
    checkout.git("tag", f"{ENGINE}@deprecated", when=1_900_000_000)
    assert not approved()


def test_an_approval_is_of_one_package(checkout: zoo.Checkout) -> None:
    checkout.git("tag", f"{ENGINE}#production")
    assert approved()
    first = build(checkout, "two")
    assert not approved()
    tag, found = approval.stage(
        approval.tags(ENGINE), "production", approval.recorded(ENGINE) or {}
    )
    assert tag is None
    assert "whose dvc.lock records another" in found
    checkout.git("tag", f"{ENGINE}#production#2", first, when=1_900_000_000)
    assert approved()


def test_the_last_assignment_counts(checkout: zoo.Checkout) -> None:
    old = checkout.git("rev-parse", "HEAD")
    gto("assign", ENGINE, "HEAD", "--stage", "production")
    build(checkout, "two")
    gto("assign", ENGINE, "HEAD", "--stage", "production")
    assert approved()
    checkout.git("checkout", "--quiet", old)
    assert not approved()


@pytest.mark.parametrize(
    "name", [f"{ENGINE}-b#production", f"x{ENGINE}#production", ENGINE, f"{ENGINE}#production#x"]
)
def test_other_tags_approve_nothing(checkout: zoo.Checkout, name: str) -> None:
    checkout.git("tag", name)
    assert not approved()


def test_a_tag_of_a_commit_without_dvc_lock(checkout: zoo.Checkout) -> None:
    checkout.git("rm", "--quiet", "dvc.lock", "--cached")
    checkout.git("commit", "--quiet", "--message", "without")
    checkout.git("tag", f"{ENGINE}#production")
    assert not approved()


def test_what_dvc_lock_does_not_record_cannot_be_approved(checkout: zoo.Checkout) -> None:
    (checkout.root / "dvc.lock").write_text('schema: "2.0"\nstages: {}\n')
    assert approval.recorded(ENGINE) is None
    (checkout.root / "dvc.lock").unlink()
    assert approval.recorded(ENGINE) is None


def names() -> Iterator[str]:
    for undone in ("", "!"):
        for count in ("", "#7"):
            yield f"{ENGINE}@v1.2.3{undone}{count}"
            yield f"{ENGINE}@v1.2.3-rc.1+b{undone}{count}"
            yield f"{ENGINE}#production{undone}{count}"
    yield from (f"{ENGINE}@1.2.3", f"{ENGINE}@deprecated", f"{ENGINE}##", f"{ENGINE}@v1", ENGINE)


@pytest.mark.parametrize("name", list(names()))
def test_tags_are_read_as_gto_reads_them(name: str) -> None:
    from gto.tag import parse_name

    theirs = parse_name(name, raise_on_fail=False)
    ours = list(approval._parsed(ENGINE, [f"{name}\0aa\0\0 \x001"]))
    if not theirs or theirs["action"].value == "create":
        assert not ours
    else:
        (tag,) = ours
        assert (tag.version, tag.stage) == (theirs.get("version"), theirs.get("stage"))
        undone = theirs["action"].value in ("deregister", "unassign")
        assert tag.undone == undone
        gives = theirs["action"].value in ("register", "assign")
        assert tag.order == (1, theirs.get("counter", 0 if gives else math.inf))


def test_a_name_with_a_line_end_of_python_alone_is_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GIT_COMMITTER_NAME", "Ada\u2028B")
    subprocess.run(["git", "tag", "-a", "-m", "x", f"{ENGINE}@v1.0.0"], check=True)
    assert version() == "v1.0.0"
    (tag,) = approval.tags(ENGINE)
    assert tag.by.startswith("Ada\u2028B")
