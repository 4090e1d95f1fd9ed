# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The stage `gate` on hand-written reports."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stages import gate
from stages.lib import errors, files, layout, schema

ROOT = Path(__file__).parents[1]
ENGINE = "digits-int8-b1"


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The report of an engine that passes; the current folder is a project of its own."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "schemas", tmp_path / "schemas")
    monkeypatch.chdir(tmp_path)
    document: dict[str, Any] = json.loads(
        (ROOT / "schemas/examples/good/report-int8.json").read_bytes()
    )
    files.write_json(layout.report(ENGINE), document)
    return document


def noisy(report: dict[str, Any]) -> None:
    """Rewrite the report with 3 dB and a lost accuracy."""
    report["measurements"][2]["value"]["outputs"]["logits"]["sqnr_db"] = 3.0
    report["measurements"][3]["value"].update(engine=0.5, drop=0.48828125)
    files.write_json(layout.report(ENGINE), report)


@pytest.mark.usefixtures("report")
def test_engine_that_is_good_enough_passes(capsys: pytest.CaptureFixture[str]) -> None:
    gate.main(ENGINE)
    verdict = files.read_json(layout.verdict(ENGINE))
    assert verdict["verdict"] == "passed"
    assert verdict["report_sha256"] == files.sha256(layout.report(ENGINE))
    assert "not applicable: nothing; not run: device" in capsys.readouterr().out


def test_what_auto_chose_without_ranges_is_not_judged_by_them(
    report: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    report["precision"] = "auto"
    entry = {"state": "not applicable", "reason": "no activation is quantized", "value": None}
    report["measurements"][4].update(entry)
    files.write_json(layout.report(ENGINE), report)
    gate.main(ENGINE)
    assert "not applicable: max_out_of_range; not run: device" in capsys.readouterr().out


@pytest.mark.usefixtures("report")
def test_facts_bind_report_and_verdict() -> None:
    gate.main(ENGINE)
    told = files.read_json(layout.facts("gate", ENGINE))
    assert told["inputs"] == files.digests(layout.report(ENGINE))
    assert told["outputs"] == files.digests(layout.verdict(ENGINE))
    assert told["params"][f"engines.{ENGINE}.gates"]["min_sqnr_db"] is not None


def test_refusal_says_figure_limit_and_what_to_do(report: dict[str, Any]) -> None:
    noisy(report)
    with pytest.raises(errors.GateError, match=r"fails 2 of 9 rules") as caught:
        gate.main(ENGINE)
    text = caught.value.paragraph()
    assert "max_accuracy_drop  0.488281  0.01" in text
    assert "3 is below 20" in text
    assert f"engines.{ENGINE}.gates.min_sqnr_db" in text
    assert f"give engines.{ENGINE} another precision, method or overrides" in text
    assert f"`dvc repro package@{ENGINE}`" in text


def test_ranges_that_do_not_cover_ask_for_samples(report: dict[str, Any]) -> None:
    report["measurements"][4]["value"]["worst"] = 0.5
    files.write_json(layout.report(ENGINE), report)
    with pytest.raises(errors.GateError, match="max_out_of_range") as caught:
        gate.main(ENGINE)
    assert "samples in models/digits/samples/calibration represent" in caught.value.mend


def test_refusal_leaves_verdict_and_facts_to_read(report: dict[str, Any]) -> None:
    noisy(report)
    with pytest.raises(errors.GateError, match="min_sqnr_db"):
        gate.main(ENGINE)
    verdict = files.read_json(layout.verdict(ENGINE))
    assert verdict["verdict"] == "failed"
    assert schema.problems(verdict, schema.read(layout.schema("verdict"))) == []
    assert files.read_json(layout.facts("gate", ENGINE))["details"] == {"verdict": "failed"}


def test_rules_that_are_always_on_are_not_mended_in_params(report: dict[str, Any]) -> None:
    report["measurements"][0]["value"] = {"equal": False, "differences": ["logits: float16"]}
    report["measurements"][1]["value"].update(version="1.6.1.120", equal=False)
    files.write_json(layout.report(ENGINE), report)
    with pytest.raises(errors.GateError, match="logits: float16") as caught:
        gate.main(ENGINE)
    assert "relax" not in caught.value.mend
    assert f"`dvc repro --force build@{ENGINE}`" in caught.value.mend
    assert "artifacts/onnx/digits/exported" in caught.value.mend


def test_report_of_another_engine_is_refused(report: dict[str, Any]) -> None:
    files.write_json(layout.report(ENGINE), report | {"engine": "digits-fp32-b1"})
    with pytest.raises(errors.ArtifactError, match="is the report of digits-fp32-b1"):
        gate.main(ENGINE)
    assert not layout.verdict(ENGINE).exists()


def test_report_that_fits_no_schema_is_refused(report: dict[str, Any]) -> None:
    report["measurements"][3]["state"] = "passed"
    files.write_json(layout.report(ENGINE), report)
    with pytest.raises(errors.ArtifactError, match=r"report.json: measurements"):
        gate.main(ENGINE)


@pytest.mark.usefixtures("report")
def test_report_that_is_not_there_is_named() -> None:
    layout.report(ENGINE).unlink()
    with pytest.raises(errors.ArtifactError, match=r"report.json is not there"):
        gate.main(ENGINE)


@pytest.mark.usefixtures("report")
def test_unknown_engine_is_named() -> None:
    with pytest.raises(errors.ParamsError, match="digits-int8-b2"):
        gate.main("digits-int8-b2")


def test_exit_code_tells_a_refusal_from_a_fault(report: dict[str, Any]) -> None:
    noisy(report)
    shutil.copytree(ROOT / "stages", "stages", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-B", "-m", "stages.gate", ENGINE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == errors.GateError.exit_code, done.stderr
    assert "Traceback" not in done.stderr
    assert "To mend it:" in done.stderr
    told = files.read_json(layout.facts("gate", ENGINE))
    assert {"stages/gate.py", "stages/policy/gates.py"} <= set(told["code"])
    assert schema.problems(told, schema.read(layout.schema("facts"))) == []
