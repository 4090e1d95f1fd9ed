# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The closing table, whatever has been built and whatever has not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from stages import build, gate, precision, table, validate
from stages.lib import files, layout

if TYPE_CHECKING:
    from tests.conftest import Project


def rows(capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    """Cells by engine; columns stand two spaces apart."""
    capsys.readouterr()
    table.main()
    shown = capsys.readouterr().out.splitlines()
    ruler = f" {shown[2]}"
    starts = [place for place in range(len(ruler) - 1) if ruler[place : place + 2] == " -"]
    ends = [*(start - 2 for start in starts[1:]), None]
    cells = {}
    for line in [shown[1], *shown[3:]]:
        if not line:
            break
        found = [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]
        cells[found[0]] = found[1:]
    return cells


def test_nothing_is_built_yet(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys)
    assert list(found) == ["engine", *sorted(project.params()["engines"])]
    assert found["engine"][-1] == "verdict"
    none = ["fp16", "tiny", *["-"] * 5, "none: export has not run, or failed"]
    assert found["tiny-fp16"] == none


def test_each_state_has_its_words(built: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert rows(capsys)["tiny-fp16"][7] == "none: validate has not run, or failed"
    validate.main("tiny-fp16")
    assert rows(capsys)["tiny-fp16"][7] == "none: gate has not run, or failed"

    gate.main("tiny-fp16")
    found = rows(capsys)["tiny-fp16"]
    size = f"{layout.plan('tiny-fp16').stat().st_size / 1024:.0f}"
    assert found[:5] == ["fp16", "tiny", size, "1.0000", "+0.0000"]
    assert 50 < float(found[5]) < 90
    assert 0 < float(found[6]) < 0.01
    assert found[7] == "passed, not packaged"
    (built.root / layout.package("tiny-fp16")).mkdir(parents=True)
    assert rows(capsys)["tiny-fp16"][7] == "passed"


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("artifacts/engines/tiny-fp16/model.plan", "build"),
        ("artifacts/reports/tiny-fp16/report.json", "validate"),
        ("models/tiny/samples/calibration/000.npz", "observe"),
        ("models/tiny/source/net.onnx", "export"),
    ],
)
@pytest.mark.parametrize("gone", [True, False])
def test_figures_of_other_files_are_not_shown(
    built: Project, capsys: pytest.CaptureFixture[str], path: str, stage: str, *, gone: bool
) -> None:
    validate.main("tiny-fp16")
    gate.main("tiny-fp16")
    if gone:
        (built.root / path).unlink()
    else:
        (built.root / path).write_bytes(b"another")
    found = rows(capsys)["tiny-fp16"]
    assert found[2:7] == ["-"] * 5
    assert found[7] == f"none: {stage} must run again: {path} is not what it was"


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("engines.tiny-fp16.builder.workspace_mib", 100, "build must run again: engines.tiny-fp16"),
        ("models.tiny.threads", 2, "export must run again: models.tiny.threads is not"),
        ("engines.tiny-fp16.gates.min_sqnr_db", 10, "gate must run again: engines.tiny-fp16.gates"),
    ],
)
def test_figures_of_other_params_are_not_shown(
    built: Project, capsys: pytest.CaptureFixture[str], key: str, value: Any, reason: str
) -> None:
    validate.main("tiny-fp16")
    gate.main("tiny-fp16")
    built.set(key, value)
    assert rows(capsys)["tiny-fp16"][7].startswith(f"none: {reason}")


def test_a_profile_that_was_renamed(built: Project, capsys: pytest.CaptureFixture[str]) -> None:
    document = built.params()
    document["profiles"] = {"wide": document["profiles"]["tiny"]}
    for engine in document["engines"].values():
        engine["profile"] = "wide"
    built.write(document)
    reason = rows(capsys)["tiny-fp16"][7]
    assert reason.startswith("none: precision must run again: ")


def test_failed_gates_are_named(built: Project, capsys: pytest.CaptureFixture[str]) -> None:
    built.set("engines.tiny-int8.gates.min_sqnr_db", 140)
    built.set("engines.tiny-int8.gates.max_plan_mib", 0.001)
    validate.main("tiny-int8")
    assert built.run("gate", "tiny-int8").returncode == 13
    assert rows(capsys)["tiny-int8"][7] == "failed: min_sqnr_db, max_plan_mib"


def figures(**changes: Any) -> dict[str, Any]:
    return {"identical": False, "max_abs": 0.5, "sqnr_db": 40.0} | changes


@pytest.mark.parametrize(
    ("outputs", "sqnr", "largest"),
    [
        ([figures()], "40", "0.5"),
        ([figures(), figures(sqnr_db=20.123, max_abs=0.1)], "20.1", "0.5"),
        ([figures(identical=True, sqnr_db=None, max_abs=0.0)], "identical", "0"),
        ([figures(), figures(identical=True, sqnr_db=None, max_abs=0.0)], "40", "0.5"),
        ([figures(), figures(sqnr_db=None, max_abs=None)], "overflow", "overflow"),
    ],
)
def test_the_worst_output_counts(outputs: list[Any], sqnr: str, largest: str) -> None:
    assert table._worst(outputs, "sqnr_db", min) == sqnr
    assert table._worst(outputs, "max_abs", max) == largest


def test_without_a_metric(built: Project, capsys: pytest.CaptureFixture[str]) -> None:
    none = {"kind": "none", "output": None, "labels": None, "entry": None}
    built.set("models.tiny.metric", none)
    for kind in ("fp32", "fp16", "bf16", "int8"):
        built.set(f"engines.tiny-{kind}.gates.max_accuracy_drop", None)
    precision.main("tiny-fp32")
    validate.main("tiny-fp32")
    gate.main("tiny-fp32")
    assert rows(capsys)["tiny-fp32"][3:5] == ["none", "none"]


def test_auto_shows_what_it_chose(built: Project, capsys: pytest.CaptureFixture[str]) -> None:
    budget = {"max_accuracy_drop": None, "min_sqnr_db": 1.0, "min_cosine": None}
    asked = {"budget": budget, "objective": "estimate", "ladder": ["int8", "fp16"]}
    built.set("engines.tiny-int8.precision", "auto")
    built.set("engines.tiny-int8.auto", asked)
    built.set("engines.tiny-int8.gates.max_out_of_range", None)  # FP16 has no ranges
    assert rows(capsys)["tiny-int8"][0] == "auto"
    for wanted, ladder in (("auto: int8 3/3", ["int8"]), ("auto: fp16", ["fp16"])):
        built.set("engines.tiny-int8.auto", asked | {"ladder": ladder})
        for stage in (precision, build, validate, gate):
            stage.main("tiny-int8")
        assert rows(capsys)["tiny-int8"][0] == wanted


def test_several_frameworks_are_compared(
    built: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    validate.main("tiny-fp16")
    gate.main("tiny-fp16")
    before = rows(capsys)["tiny-fp16"]
    document = built.params()
    tiny, engine = document["models"]["tiny"], document["engines"]["tiny-fp16"]
    source = tiny["source"] | {"framework": "pytorch", "entry": "net.py:load"}
    document["models"]["other"] = tiny | {"source": source, "opset": 22}
    document["engines"]["other-fp16"] = engine | {"model": "other"}
    built.write(document)
    found = rows(capsys)
    assert found["engine"][:3] == ["framework", "parity", "precision"]
    assert found["tiny-fp16"] == ["onnx", "none", *before]
    assert found["other-fp16"][:4] == ["pytorch", "-", "fp16", "tiny"]
    # What the export of a framework's model records.
    path = layout.facts("export", "tiny")
    facts = files.read_json(path)
    facts["details"]["parity"] = {"state": "passed", "reason": None, "samples": 4}
    files.write_json(path, facts)
    assert rows(capsys)["tiny-fp16"][:2] == ["onnx", "passed"]
