# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""`verify` on the real chain: the three verdicts, what was tampered with, packages from elsewhere.

One clone serves all tests, in order.
"""

from __future__ import annotations

import re
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from tests.clones import Clone

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

ENGINE = "digits-int8-b64"
PLAN = f"artifacts/engines/{ENGINE}/model.plan"
LAST = "return net.eval()"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    clone = Clone(tmp_path_factory.mktemp("a clone to verify"))
    clone.keep((ENGINE,))
    clone.run("make", "repro")
    clone.git("commit", "--quiet", "--all", "--message", "one engine")
    return clone


@pytest.fixture(autouse=True)
def restored(built: Clone) -> Iterator[None]:
    """Each test leaves the clone as it was."""
    yield
    built.git("checkout", "--quiet", "--", ".")
    built.dvc("checkout", "--quiet", "--force")


def verify(clone: Clone, *subject: str) -> subprocess.CompletedProcess[str]:
    return clone.run(sys.executable, "-m", "stages.verify", *subject, check=False)


def verdicts(shown: str) -> dict[str, str]:
    """Verdict by output."""
    found = re.findall(r"^\S+@\S+ +(\S+) +(identical|equivalent|different)$", shown, re.MULTILINE)
    return dict(found)


def test_what_is_recorded_is_made_again(
    built: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in (built.root / "artifacts").rglob("*")}
    done = built.run("make", "verify", f"ENGINE={ENGINE}")
    found = verdicts(done.stdout)
    assert set(found.values()) == {"identical"}
    assert {PLAN, "artifacts/onnx/digits/exported", f"artifacts/packages/{ENGINE}"} <= set(found)
    assert re.search(r"^identical: 27 outputs, made again in \d+\.\d s$", done.stdout, re.MULTILINE)
    # The workspace is as it was.
    assert {p: p.stat().st_mtime_ns for p in (built.root / "artifacts").rglob("*")} == before
    assert not built.status()
    assert not list(tmp_path.iterdir())


def test_all_engines_are_verified_without_a_name(built: Clone) -> None:
    done = built.run("make", "verify")
    assert done.stdout.count(" identical\n") == 27


def test_a_package_from_elsewhere(built: Clone, tmp_path: Path) -> None:
    package = tmp_path / "a package"
    shutil.copytree(built.root / "artifacts/packages" / ENGINE, package)
    shutil.rmtree(built.root / "artifacts")  # a fresh checkout has none
    done = verify(built, str(package))
    assert not done.returncode, done.stdout
    assert "code files: as the package names them\npins: as the package names them" in done.stdout
    assert verdicts(done.stdout)["1/model.plan"] == "identical"

    # Another checkout: params that the package was not made with, other code and another pin.
    built.comment("stages/calibration/tap.py")
    built.edit("params.yaml", "percentile: 99.99", "percentile: 99.9")
    manifest = (package / "manifest.json").read_text()
    done = verify(built, str(package))
    assert re.search(r"^code files: other here\n  stages/calibration/tap\.py: ", done.stdout)
    assert "\npins: as the package" in done.stdout
    assert re.search(
        r"\n  models\.digits\.calibrate: \{.*'percentile': 99\.9[,}].* here, \{", done.stdout
    )
    # It is rebuilt from its own params; the comment shows in the digests of code alone.
    assert done.returncode == 19
    found = verdicts(done.stdout)
    assert found["1/model.plan"] == "identical"
    assert found["manifest.json"] == "equivalent"

    (package / "manifest.json").write_text(manifest.replace('"numpy": "', '"numpy": "9'))
    done = verify(built, str(package))
    assert done.returncode == 18
    assert "provenance.json: " in done.stdout

    (package / "manifest.json").unlink()
    done = verify(built, str(package))
    assert done.returncode == 18
    assert "a package/manifest.json: is missing" in done.stdout
    done = verify(built, str(tmp_path / "nowhere"))
    assert done.returncode == 15
    assert "nowhere is no package: there is no such folder" in done.stdout


def test_a_changed_input_is_named_and_nothing_is_built(built: Clone) -> None:
    built.comment("stages/quantization/qdq.py")
    done = verify(built, ENGINE)
    assert done.returncode == 15
    assert f"stages/quantization/qdq.py (read by precision@{ENGINE})" in done.stdout
    assert not verdicts(done.stdout)


def test_a_tampered_plan_is_named(built: Clone) -> None:
    plan = built.root / PLAN
    data = plan.read_bytes()
    plan.unlink()  # it may be a link into DVC's cache
    plan.write_bytes(data[:-1] + b"x")
    done = verify(built, ENGINE)
    assert done.returncode == 18
    assert f"{PLAN} has the SHA-256 " in done.stdout
    assert "Do not deploy it" in done.stdout


def test_a_lock_file_edited_by_hand_is_named(built: Clone) -> None:
    lock = built.root / "dvc.lock"
    text = lock.read_text()
    out = re.search(rf"path: {PLAN}\n +hash: md5\n +md5: (\w+)", text)
    assert out is not None
    lock.write_text(text.replace(out[1], "f" * 32))
    done = verify(built, ENGINE)
    assert done.returncode == 18
    assert f"{PLAN} (out of build@{ENGINE}): dvc.lock says {'f' * 32}" in done.stdout

    # An output that is no more recorded, and a param that is not what the stage was given.
    begin = text.index(f"    - path: artifacts/verdicts/{ENGINE}/verdict.json", text.index("gate@"))
    end = text.index("\n  ", text.index("size:", begin)) + 1
    lock.write_text(text[:begin] + text[end:].replace("percentile: 99.99", "percentile: 99.5"))
    done = verify(built, ENGINE)
    assert done.returncode == 18
    assert f"verdict.json (out of gate@{ENGINE}): dvc.lock has no entry of it" in done.stdout

    # A dependency and a command.
    begin = text.index("    - path: models/digits/source\n", text.index("export@"))
    end = text.index("    - path: ", begin + 1)
    lock.write_text((text[:begin] + text[end:]).replace("stages.gate d", "stages.gate -O d"))
    done = verify(built, ENGINE)
    assert done.returncode == 18
    assert "models/digits/source/model.py (dep of export@digits): dvc.lock has no" in done.stdout
    assert f"cmd of gate@{ENGINE}: dvc.lock says 'python -m stages.gate -O " in done.stdout

    lock.write_text("")
    done = verify(built, ENGINE)
    assert done.returncode == 18
    assert "`git checkout -- dvc.lock`" in done.stdout


@pytest.mark.parametrize("text", ["[]", "{}", '{"inputs": 1}'])
def test_facts_that_are_none_are_named(built: Clone, text: str) -> None:
    path = built.root / f"artifacts/engines/{ENGINE}/build.facts.json"
    path.unlink()
    path.write_text(text)
    done = verify(built, ENGINE)
    assert done.returncode == 18
    assert f"build.facts.json is not what build@{ENGINE} wrote: " in done.stdout


def test_a_gate_that_failed_is_no_forgery(built: Clone) -> None:
    built.edit("params.yaml", "min_cosine: 0.99", "min_cosine: 0.999999999")
    assert built.dvc("repro", "--quiet", check=False).returncode
    done = verify(built, ENGINE)
    assert done.returncode == 15, done.stdout
    assert f"gate@{ENGINE} has run since DVC recorded it: it failed" in done.stdout


def test_other_code_of_lib_is_named_and_moves_nothing_else(built: Clone) -> None:
    built.comment("stages/lib/wording.py")
    done = verify(built, ENGINE)
    assert done.returncode == 19, done.stdout
    found = verdicts(done.stdout)
    assert found[PLAN] == "identical"
    assert found[f"artifacts/packages/{ENGINE}"] == "equivalent"
    assert "    other code files (1): stages/lib/wording.py" in done.stdout


@pytest.mark.parametrize(
    ("noise", "status", "verdict"), [(1e-6, 19, "equivalent"), (1e-2, 20, "different")]
)
def test_a_source_that_depends_on_where_it_runs(
    built: Clone, noise: float, status: int, verdict: str
) -> None:
    change = f"net.head.weight.data *= 1 + {noise} * os.getcwd().count('/')\n    {LAST}"
    built.edit("models/digits/source/model.py", LAST, f"import os\n    {change}")
    built.repro()
    done = verify(built, ENGINE)
    assert done.returncode == status, done.stdout
    found = verdicts(done.stdout)
    assert found["artifacts/onnx/digits/exported"] == verdict
    assert "    weights (1): head.weight by " in done.stdout
    assert "    outputs on the probe samples move by " in done.stdout
    assert f"{verdict}: 27 outputs" in done.stdout
    assert "The first to part is export@digits, at artifacts/onnx/digits/exported" in done.stdout
    # Each stage is judged by itself: what was made of the recorded graph is the same.
    assert found[PLAN] == "identical"


def test_an_engine_that_was_not_built_and_one_that_is_unknown(built: Clone) -> None:
    done = verify(built, "digits-int8-b46")
    assert done.returncode == 2
    assert f"Did you mean '{ENGINE}'?" in done.stdout
    built.edit("params.yaml", f"  {ENGINE}:\n", "  another:\n")
    done = verify(built, "another")
    assert done.returncode == 15
    assert "dvc.lock records no run of precision@another, build@another" in done.stdout
    assert "make repro" in done.stdout
