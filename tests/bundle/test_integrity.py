# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Packages that somebody or something changed: each is refused, with the file that it is about."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from stages.bundle import integrity, manifest, provenance
from stages.lib import errors, files, layout, lockfile
from tests import packages_zoo as zoo
from tests.packages_zoo import ENGINE

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = layout.package(ENGINE)
PLAN = "1/model.plan"
THREADS = "models.digits.threads"


@pytest.fixture(scope="module")
def _packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("packed")
    shutil.copy(zoo.ROOT / "params.yaml", root)
    shutil.copytree(zoo.ROOT / "schemas", root / "schemas")
    before = Path.cwd()
    os.chdir(root)
    try:
        zoo.write()
        done = zoo.run(root)
    finally:
        os.chdir(before)
    assert done.returncode == 0, done.stderr
    for name in ("stages", "schemas/examples"):
        shutil.rmtree(root / name)
    return root


@pytest.fixture
def package(_packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package as the stage makes it, in a project that is the current folder."""
    shutil.copytree(_packed, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return FOLDER


def faults(folder: Path) -> list[str]:
    """The lines that name the faults."""
    with pytest.raises(errors.IntegrityError, match=r"is not what was packed: \d+ fault") as caught:
        integrity.check(folder)
    assert caught.value.exit_code == 18
    head, _, *rows = caught.value.what.splitlines()
    assert head.split(": ")[1].split()[0] == str(len(rows))
    return [row.removeprefix(f"{folder}/") for row in rows]


def edit(name: str, change: Callable[[Any], None]) -> None:
    """Change a document, in the form that `package` writes."""
    document = files.read_json(FOLDER / name)
    change(document)
    (FOLDER / name).write_bytes(files.canonical_json(document))


def listed(name: str) -> None:
    """Make the manifest's list say what a file is now."""
    path = FOLDER / name
    entry = {"sha256": files.sha256(path), "bytes": path.stat().st_size}
    edit(manifest.FILE, lambda told: told["files"].update({name: entry}))


def flip() -> None:
    """Flip one bit, well behind the header."""
    data = bytearray((FOLDER / PLAN).read_bytes())
    data[1000] ^= 4
    (FOLDER / PLAN).write_bytes(data)


def test_package_as_it_was_made_is_whole(package: Path) -> None:
    told = integrity.check(package)
    assert told == files.read_json(package / manifest.FILE)
    assert told["engine"] == ENGINE


def test_package_elsewhere_is_checked_alone(package: Path, tmp_path: Path) -> None:
    shutil.move(package, tmp_path / "from-elsewhere")
    assert integrity.check(tmp_path / "from-elsewhere")["engine"] == ENGINE
    (tmp_path / "current").symlink_to("from-elsewhere")
    assert integrity.check(tmp_path / "current")["engine"] == ENGINE


def test_no_package_is_said_so(package: Path) -> None:
    with pytest.raises(errors.ArtifactError, match=r"packages/other is no package"):
        integrity.check(package.with_name("other"))


def test_plan_with_one_bit_flipped(package: Path) -> None:
    flip()
    (row,) = faults(package)
    assert row.startswith("1/model.plan: was changed: its SHA-256 is ")
    assert files.sha256(package / PLAN) in row


@pytest.mark.parametrize("size", [0, 20, 1000])
def test_truncated_plan(package: Path, size: int) -> None:
    os.truncate(package / PLAN, size)
    rows = faults(package)
    assert rows[0] == f"1/model.plan: is truncated: {size} of {len(zoo.PLAN)} bytes"
    header = ["1/model.plan: its header is too short, not vtrt 1.7.1.116"]
    assert rows[1:] == (header if size < 28 else [])


def test_plan_of_another_version(package: Path) -> None:
    data = bytearray((package / PLAN).read_bytes())
    data[26] = 2
    (package / PLAN).write_bytes(data)
    assert faults(package)[1] == "1/model.plan: its header is vtrt 1.7.2.116, not vtrt 1.7.1.116"


def test_manifest_made_to_fit_a_tampered_plan(package: Path) -> None:
    flip()
    listed(PLAN)
    digest = files.sha256(package / PLAN)
    rows = faults(package)
    assert any(row.startswith("manifest.json: plan.sha256 is ") for row in rows)
    edit(manifest.FILE, lambda told: told["plan"].update(sha256=digest))
    rows = faults(package)
    assert any(row.startswith(f"manifest.json: plan.sha256 is {digest}, report") for row in rows)
    assert any(row.startswith("verdict.json: plan_sha256 is ") for row in rows)
    assert any(row.startswith("provenance.json: subject 1/model.plan is ") for row in rows)


def test_manifest_and_statement_made_to_fit_a_tampered_plan(package: Path) -> None:
    flip()
    listed(PLAN)
    digest = files.sha256(package / PLAN)
    edit(manifest.FILE, lambda told: told["plan"].update(sha256=digest))
    statement = provenance.make(files.read_json(package / manifest.FILE))
    (package / provenance.FILE).write_bytes(files.canonical_json(statement))
    listed(provenance.FILE)
    assert [row.partition(":")[0] for row in faults(package)] == ["manifest.json", "verdict.json"]


@pytest.mark.parametrize(
    ("change", "row"),
    [
        (lambda m: m["verdict"]["rules"].update(max_accuracy_drop="no gate"), "verdict is not"),
        (lambda m: m["verdict"].update(verdict="failed"), "verdict.verdict: 'failed' is not"),
        (lambda m: m["metrics"]["task_metric"].update(engine=1.0), "metrics is not what report"),
        (lambda m: m.update(precision="fp16"), "precision is not what report.json"),
        (lambda m: m.update(engine="other"), "engine is other, report.json says"),
        (lambda m: m.update(signed_by="someone"), "root: unknown key 'signed_by'"),
        (
            lambda m: m["files"].update({"../x": m["files"]["1/model.plan"]}),
            "'../x' is not allowed",
        ),
        (lambda m: m["files"].update({"/x": m["files"]["1/model.plan"]}), "'/x' is not allowed"),
        (lambda m: m["files"].pop("report.json"), "missing key 'report.json'"),
    ],
)
def test_tampered_manifest(package: Path, change: Callable[[Any], None], row: str) -> None:
    edit(manifest.FILE, change)
    rows = faults(package)
    assert any(said.startswith("manifest.json: ") and row in said for said in rows), rows


@pytest.mark.parametrize(
    ("change", "piece"),
    [
        (lambda m: m["compat"].update(compute_capabilities=["sm100"]), "byproduct manifest"),
        (lambda m: m["build"].update(reproducible="not tried"), "byproduct manifest"),
        (lambda m: m["inputs"][0].update(dtype="float16"), "byproduct manifest"),
        (lambda m: m["params"].update({"models.digits.threads": 3}), "models.digits.threads is 2"),
        (
            lambda m: m["params"].update({"models.digits.threads": True}),
            "models.digits.threads is 2",
        ),
        (lambda m: m["toolchain"]["build"].update(python="3.12"), "builder.version.python is"),
        (lambda m: m["digests"]["source"].popitem(), "dependency models/digits/source/"),
        (lambda m: m["digests"]["typed_graph"].clear(), "manifest.json: digests.typed_graph"),
        (lambda m: m["code"]["build"].update({"stages/build.py": "0" * 64}), "stages/build.py is"),
        (lambda m: m["files"].pop("1/model.py"), "byproduct 1/model.py is one too many"),
    ],
)
def test_manifest_that_disagrees_with_the_statement(
    package: Path, change: Callable[[Any], None], piece: str
) -> None:
    edit(manifest.FILE, change)
    assert any(piece in row for row in faults(package))


@pytest.mark.parametrize(
    ("change", "row"),
    [
        (
            lambda s: s["subject"].append({"name": "evil.plan", "digest": {"sha256": "0" * 64}}),
            "subject evil.plan is one too many",
        ),
        (lambda s: s["subject"].pop(), "subject artifacts/onnx/digits-int8-b1/typed is missing"),
        (lambda s: s["subject"][0]["digest"].update(sha256="0" * 64), "subject 1/model.plan is"),
        (lambda s: s["subject"].reverse(), "in another form or order"),
        (lambda s: s.update(predicateType="https://slsa.dev/provenance/v0.2"), "the predicate is"),
        (lambda s: s.update(subject=[]), "At least one subject required"),
        (lambda s: s.update(subject={}), "is no in-toto statement"),
        (
            lambda s: s["predicate"]["buildDefinition"]["externalParameters"].update(engine="x"),
            'externalParameters.engine is "x"',
        ),
        (
            lambda s: s["predicate"]["runDetails"].update(metadata={"invocationId": "1"}),
            "metadata.invocationId is one too many",
        ),
        (lambda s: s["predicate"]["runDetails"]["builder"].update(id="urn:x:y"), "builder.id is"),
        (
            lambda s: s["predicate"]["buildDefinition"]["resolvedDependencies"].pop(0),
            "dependency artifacts/calibration/digits/entropy.cache is missing",
        ),
    ],
)
def test_tampered_statement(package: Path, change: Callable[[Any], None], row: str) -> None:
    edit(provenance.FILE, change)
    listed(provenance.FILE)
    assert any(said.startswith("provenance.json: ") and row in said for said in faults(package))


@pytest.mark.parametrize("name", [PLAN, "config.pbtxt", "report.json", provenance.FILE])
def test_missing_file(package: Path, name: str) -> None:
    (package / name).unlink()
    assert f"{name}: is missing" in faults(package)


def test_missing_manifest(package: Path) -> None:
    (package / manifest.FILE).unlink()
    assert faults(package) == ["manifest.json: is missing"]


@pytest.mark.parametrize("name", ["2/model.plan", "1/__pycache__/model.pyc", ".hidden", "a\udc80"])
def test_extra_file(package: Path, name: str) -> None:
    (package / name).parent.mkdir(exist_ok=True)
    (package / name).write_bytes(b"x")
    shown = name.replace("\udc80", r"\udc80")
    assert faults(package) == [f"{shown}: is not in the manifest"]


def test_symlink_that_leaves_the_package(package: Path, tmp_path: Path) -> None:
    shutil.move(package / PLAN, tmp_path / "elsewhere.plan")
    (package / PLAN).symlink_to(tmp_path / "elsewhere.plan")
    row = f"1/model.plan: is a symbolic link that leaves the package, to {tmp_path}/elsewhere.plan"
    assert row in faults(package)
    (package / PLAN).unlink()
    (package / PLAN).symlink_to("../../../../../elsewhere.plan")
    row = "1/model.plan: is a symbolic link that leaves the package, to ../../../../../elsewhere.p"
    assert any(said.startswith(row) for said in faults(package))


def test_symlinked_folder(package: Path, tmp_path: Path) -> None:
    shutil.move(package / "1", tmp_path / "1")
    (package / "1").symlink_to(tmp_path / "1")
    rows = faults(package)
    assert f"1: is a symbolic link that leaves the package, to {tmp_path}/1" in rows
    assert "1/model.plan: is missing" in rows


def test_links_inside_are_what_they_lead_to(package: Path) -> None:
    (package / "2").symlink_to("1")
    (package / "loop").symlink_to("loop")
    shutil.copy(package / "verdict.json", package / "1" / "v")
    (package / "verdict.json").unlink()
    (package / "verdict.json").symlink_to("1/v")
    assert faults(package) == [
        "2: is a symbolic link to 1, which is no file",
        "loop: is a symbolic link to loop, which is no file",
        "1/v: is not in the manifest",
    ]


def test_pipe_is_named_and_not_opened(package: Path) -> None:
    (package / PLAN).unlink()
    os.mkfifo(package / PLAN)
    assert "1/model.plan: is neither a file nor a folder" in faults(package)


@pytest.mark.parametrize("name", [manifest.FILE, provenance.FILE, "report.json", "verdict.json"])
@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"a": NaN}', b"[" * 5000])
def test_document_that_is_none(package: Path, name: str, data: bytes) -> None:
    (package / name).write_bytes(data)
    assert any(row.startswith(f"{name}: ") for row in faults(package))


def test_key_that_stands_twice(package: Path) -> None:
    text = (package / manifest.FILE).read_text(encoding="utf-8")
    twice = text.replace("{\n", '{\n  "engine": "other",\n', 1)
    (package / manifest.FILE).write_text(twice, encoding="utf-8")
    assert faults(package) == ["manifest.json: is not in the form that `package` writes"]


def test_all_faults_are_named_at_once(package: Path) -> None:
    flip()
    (package / "config.pbtxt").unlink()
    (package / "extra").write_bytes(b"")
    edit(provenance.FILE, lambda statement: statement["subject"].pop())
    files_named = {row.partition(":")[0] for row in faults(package)}
    assert files_named == {PLAN, "config.pbtxt", "extra", provenance.FILE}


def lock() -> dict[str, Any]:
    """Record the package as DVC would."""
    entry = {"path": FOLDER.as_posix(), "hash": "md5", **(lockfile.Tree().entry(str(FOLDER)) or {})}
    return {"schema": "2.0", "stages": {f"package@{ENGINE}": {"cmd": "x", "outs": [entry]}}}


def write_lock(document: Any) -> None:
    with layout.LOCK.open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump(document, stream)


def test_dvc_lock_edited_by_hand(package: Path) -> None:
    honest = lock()
    write_lock(honest)
    integrity.check(package)
    for key, value in (("md5", "0" * 32 + ".dir"), ("size", 1), ("nfiles", 1)):
        edited = copy.deepcopy(honest)
        edited["stages"][f"package@{ENGINE}"]["outs"][0][key] = value
        write_lock(edited)
        (row,) = faults(package)
        assert row.startswith(f"{package} (out of package@{ENGINE}): dvc.lock says ")
    layout.LOCK.write_text("{", encoding="utf-8")
    assert "dvc.lock is not YAML" in faults(package)[0]


def test_forgery_of_everything_but_dvc_lock(package: Path) -> None:
    write_lock(lock())
    flip()
    listed(PLAN)
    digest = files.sha256(package / PLAN)
    edit(manifest.FILE, lambda told: told["plan"].update(sha256=digest))
    edit("report.json", lambda report: report["plan"].update(sha256=digest))
    judged = {"plan_sha256": digest, "report_sha256": files.sha256(package / "report.json")}
    edit("verdict.json", lambda verdict: verdict.update(judged))
    for name in ("report.json", "verdict.json"):
        listed(name)
    statement = provenance.make(json.loads((package / manifest.FILE).read_bytes()))
    (package / provenance.FILE).write_bytes(files.canonical_json(statement))
    listed(provenance.FILE)
    (row,) = faults(package)
    assert row.startswith(f"{package} (out of package@{ENGINE}): dvc.lock says ")
    layout.LOCK.unlink()  # nothing is left that could tell: this is what signatures are for
    integrity.check(package)
