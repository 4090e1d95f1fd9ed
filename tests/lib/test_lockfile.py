# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""dvc.lock against the files, measured by what DVC itself writes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from stages.lib import errors, files, layout, lockfile, params

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
PIPELINE = """
stages:
  make:
    cmd: mkdir out && cp in/b out/b && cp in/b one
    deps: [in, a]
    params: [models.digits.threads, models.digits.inputs, models.digits.parity, models.digits.opset]
    outs: [out, one]
"""


@pytest.fixture(scope="module")
def _reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("reproduced")
    for name in ("b", "B", "a/deep/er", "a.b", "\u00e9", "empty"):
        files.write_bytes(root / "in" / name, b"" if name == "empty" else name.encode())
    for name in ("__pycache__/b.pyc", "a/x.pyc", ".gitkeep"):
        files.write_bytes(root / "in" / name, b"ignored")
    (root / "a").write_bytes(bytes(range(256)) * 4096 + b"end")
    (root / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    for name in (".dvcignore", "params.yaml", "schemas/params.schema.json"):
        files.write_bytes(root / name, (ROOT / name).read_bytes())
    for words in (["init", "--quiet", "--no-scm"], ["repro", "--quiet"]):
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *words],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def reproduced(_reproduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which DVC has run one stage over files and folders of all kinds."""
    ignored = shutil.ignore_patterns(".dvc")
    shutil.copytree(_reproduced, tmp_path / "reproduced", ignore=ignored)
    monkeypatch.chdir(tmp_path / "reproduced")
    return tmp_path / "reproduced"


def compare(stage: str = "make") -> list[tuple[str, str]]:
    found = lockfile.compare(lockfile.read(), stage, lockfile.Tree(), params.load())
    return [(difference.kind, difference.path) for difference in found]


def edit(change: Callable[[Any], None]) -> None:
    document = YAML(typ="safe").load(layout.LOCK)
    change(document["stages"]["make"])
    with layout.LOCK.open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump(document, stream)


@pytest.mark.usefixtures("reproduced")
def test_what_dvc_recorded_is_what_is_found() -> None:
    recorded = lockfile.read()["make"]
    assert [record["path"] for record in recorded["deps"]] == ["a", "in"]
    assert recorded["deps"][1]["nfiles"] == 6
    assert recorded["params"]["params.yaml"]["models.digits.opset"] == 22
    assert compare() == []


@pytest.mark.usefixtures("reproduced")
@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda: Path("in/a/deep/er").write_bytes(b"x"), ("dep", "in")),
        (lambda: Path("in/new").write_bytes(b""), ("dep", "in")),
        (lambda: Path("in/b").rename("in/c"), ("dep", "in")),
        (lambda: Path("a").unlink(), ("dep", "a")),
        (lambda: Path("one").write_bytes(b"B"), ("out", "one")),
        (lambda: Path("out/b").unlink(), ("out", "out")),
    ],
)
def test_changed_file(change: Callable[[], object], path: tuple[str, str]) -> None:
    change()
    assert compare() == [path]


@pytest.mark.usefixtures("reproduced")
def test_ignored_files_do_not_count() -> None:
    Path("in/a/y.pyc").write_bytes(b"x")
    assert compare() == []


@pytest.mark.usefixtures("reproduced")
@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda stage: stage["deps"][0].update(md5="0" * 32), ("dep", "a")),
        (lambda stage: stage["deps"][0].update(size=1), ("dep", "a")),
        (lambda stage: stage["deps"][1].update(nfiles=1), ("dep", "in")),
        (lambda stage: stage["deps"][1].pop("nfiles"), ("dep", "in")),
        (lambda stage: stage["outs"][0].update(md5="0" * 32), ("out", "one")),
        (lambda stage: stage["outs"][0].update(path="two"), ("out", "two")),
        (
            lambda stage: stage["params"]["params.yaml"].update({"models.digits.threads": 3}),
            ("param", "models.digits.threads"),
        ),
        (
            lambda stage: stage["params"]["params.yaml"].update({"models.gone": 2}),
            ("param", "models.gone"),
        ),
    ],
)
def test_lock_edited_by_hand(change: Callable[[Any], None], path: tuple[str, str]) -> None:
    edit(change)
    assert compare() == [path]


@pytest.mark.usefixtures("reproduced")
def test_changed_param() -> None:
    text = layout.PARAMS.read_text(encoding="utf-8")
    layout.PARAMS.write_text(text.replace("atol: 1.0e-4", "atol: 0.5", 1), encoding="utf-8")
    (found,) = lockfile.compare(lockfile.read(), "make", lockfile.Tree(), params.load())
    assert (found.kind, found.path, found.found["atol"]) == ("param", "models.digits.parity", 0.5)
    assert lockfile.compare(lockfile.read(), "make", lockfile.Tree(), None) == []


@pytest.mark.usefixtures("reproduced")
def test_difference_is_told_in_one_line() -> None:
    Path("one").unlink()
    Path("out/b").write_bytes(b"xyz")
    one, out = lockfile.compare(lockfile.read(), "make", lockfile.Tree(), None)
    told = (
        "one (out of make): dvc.lock says 92eb5ffee6ae2fec3ad71c777531578f (1 bytes), found nothing"
    )
    assert str(one) == told
    assert str(out).endswith(".dir (3 bytes)")


@pytest.mark.usefixtures("reproduced")
def test_each_file_is_read_once_for_all_stages() -> None:
    tree = lockfile.Tree()
    before = tree.entry("a")
    Path("a").write_bytes(b"")
    assert tree.entry("a") is before
    assert lockfile.Tree().entry("a") != before


def test_committed_lock_has_the_digests_of_the_committed_models() -> None:
    tree = lockfile.Tree(ROOT)
    records = [
        record
        for stage in lockfile.read(ROOT / layout.LOCK).values()
        for record in stage["deps"]
        if record["path"].startswith("models/")
    ]
    assert len(records) >= 10
    for record in records:
        assert tree.entry(record["path"]) == lockfile.recorded(record), record["path"]


def test_what_is_ignored_is_what_dvcignore_says() -> None:
    lines = (ROOT / ".dvcignore").read_text(encoding="utf-8").splitlines()
    anywhere = [line.rstrip("/") for line in lines if not line.startswith("/")]
    assert anywhere == list(lockfile.IGNORED)


@pytest.mark.usefixtures("reproduced")
def test_stage_that_is_not_there() -> None:
    with pytest.raises(errors.IntegrityError, match=r"no stage 'mak'. Did you mean 'make'\?"):
        compare("mak")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "dvc.lock is not YAML"),
        ("a: 1\na: 2\n", "dvc.lock is not YAML"),
        ("\x00", "dvc.lock is not YAML"),
        ("", "no lock file of DVC"),
        ("[]", "no lock file of DVC"),
        ("schema: '1.0'\nstages: {}\n", "no lock file of DVC"),
        ("schema: '2.0'\nstages: {make: 1}\n", "entry of make is malformed: no mapping"),
        ("schema: '2.0'\nstages: {make: {deps: 1}}\n", "deps is no list"),
        ("schema: '2.0'\nstages: {make: {outs: [1]}}\n", "without a path in outs"),
        ("schema: '2.0'\nstages: {make: {outs: [{path: a}]}}\n", "a has no md5"),
        ("schema: '2.0'\nstages: {make: {deps: []}}\n", "it records no output"),
        ("schema: '2.0'\nstages: {make: {outs: [%s], params: 1}}\n", "params is no mapping"),
    ],
)
def test_what_is_no_lock(tmp_path: Path, text: str, message: str) -> None:
    text = text.replace("%s", "{path: a, hash: md5, md5: '0'}")
    (tmp_path / "dvc.lock").write_text(text, encoding="utf-8")
    with pytest.raises(errors.IntegrityError, match=message) as caught:
        lockfile.read(tmp_path / "dvc.lock")
    assert "git checkout" in caught.value.mend


def test_missing_lock(tmp_path: Path) -> None:
    with pytest.raises(errors.IntegrityError, match=r"dvc.lock is not there"):
        lockfile.read(tmp_path / "dvc.lock")
