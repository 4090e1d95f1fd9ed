# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What a stage records of its own run."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from stages.lib import facts, files, layout, params

if TYPE_CHECKING:
    from tests.conftest import Project

ROOT = Path(__file__).parents[2]


def test_these_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files.write_bytes(Path("in/b"), b"b")
    files.write_bytes(Path("in/a"), b"a")
    files.write_bytes(Path("out"), b"out")
    facts.write(
        "observe",
        "tiny",
        inputs=[Path("in")],
        outputs=[Path("out")],
        params={"models.tiny.threads": 1},
        versions={"numpy": "2"},
        details={"samples": 3},
    )
    told = files.read_json(Path("artifacts/observations/tiny/observe.facts.json"))
    assert (
        told
        == {
            "schema_version": 1,
            "stage": "observe",
            "name": "tiny",
            "inputs": {f"in/{name}": hashlib.sha256(name.encode()).hexdigest() for name in "ab"},
            "outputs": {"out": hashlib.sha256(b"out").hexdigest()},
            "code": {},  # the code of this test lies elsewhere
            "params": {"models.tiny.threads": 1},
            "versions": {
                "numpy": "2",
                "platform": "linux-x86_64",
                "python": ".".join(map(str, sys.version_info[:2])),
            },
            "details": {"samples": 3},
        }
    )


def test_digests_that_are_known_are_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files.write_bytes(Path("b"), b"b")
    known = {"in/a": "0" * 64}
    empty: dict[str, Any] = {"outputs": [], "params": {}, "versions": {}, "details": {}}
    facts.write("observe", "tiny", inputs=[known, Path("b")], **empty)
    told = files.read_json(Path("artifacts/observations/tiny/observe.facts.json"))
    assert told["inputs"] == {**known, "b": hashlib.sha256(b"b").hexdigest()}


def test_all_code_that_ran_is_recorded_and_nothing_else(built: Project) -> None:
    assert built.run("calibrate", "tiny").returncode == 0
    told = files.read_json(layout.facts("calibrate", "tiny"))
    rules = json.loads((ROOT / "schemas/facts.schema.json").read_bytes())
    Draft202012Validator(rules).validate(told)
    assert {name for name in told["code"] if not name.startswith("stages/lib/")} == {
        "stages/calibrate.py",
        "stages/calibration/methods.py",
        "stages/calibration/foreign.py",
        "stages/calibration/observations.py",
        "stages/calibration/ranges.py",
    }
    assert {"stages/lib/caches.py", "stages/lib/files.py", "stages/lib/params.py"} <= set(
        told["code"]
    )
    for name, digest in told["code"].items():
        assert digest == hashlib.sha256((ROOT / name).read_bytes()).hexdigest()


@pytest.mark.parametrize("stage", ["export", "sanitize", "observe", "calibrate"])
def test_no_fact_names_this_machine(built: Project, stage: str) -> None:
    text = (built.root / layout.facts(stage, "tiny")).read_text()
    assert str(built.root) not in text
    assert "/tmp" not in text
    assert '"/' not in text


def outdated(stage: str) -> str | None:
    return facts.outdated(params.load(), stage, "tiny", files.sha256)


def test_present_facts_are_not_outdated(built: Project) -> None:
    assert {stage: outdated(stage) for stage in ("export", "sanitize", "observe", "calibrate")} == {
        "export": None,
        "sanitize": None,
        "observe": None,
        "calibrate": None,
    }
    (built.root / layout.clean("tiny") / "model.onnx").write_bytes(b"another")
    reason = "must run again: artifacts/onnx/tiny/clean/model.onnx is not what it was"
    assert outdated("export") is None
    assert outdated("sanitize") == f"sanitize {reason}"
    assert outdated("observe") == f"observe {reason}"
    (built.root / layout.facts("export", "tiny")).unlink()
    assert outdated("export") == "export has not run, or failed"


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("models.tiny.threads", 7, "models.tiny.threads is not what it was"),
        ("profiles.gone", [], "there is no profiles.gone any more"),
    ],
)
def test_params_that_have_changed_or_gone(
    built: Project, key: str, value: object, reason: str
) -> None:
    path = built.root / layout.facts("observe", "tiny")
    told = files.read_json(path)
    files.write_json(path, told | {"params": told["params"] | {key: value}})
    assert outdated("observe") == f"observe must run again: {reason}"


def test_code_counts_but_not_that_of_lib(built: Project) -> None:
    path = built.root / layout.facts("observe", "tiny")
    told = files.read_json(path)
    files.write_json(path, told | {"code": {"stages/lib/files.py": "0" * 64}})
    assert outdated("observe") is None
    files.write_json(path, told | {"code": {"stages/observe.py": "0" * 64}})
    assert outdated("observe") == "observe must run again: stages/observe.py is not what it was"
