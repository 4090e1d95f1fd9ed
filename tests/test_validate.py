# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The stage `validate` on engines that were really built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from jsonschema import Draft202012Validator

from stages import gate, validate
from stages.lib import errors, files, layout
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from tests.conftest import Project

pytestmark = pytest.mark.usefixtures("built")
ROOT = Path(__file__).parents[1]
PRECISIONS = ["fp32", "fp16", "bf16", "int8"]
NAMES = [
    "interface", "plan-header", "numerics", "task-metric", "coverage", "device", "precision",
]  # fmt: skip


def report(kind: str) -> dict[str, Any]:
    validate.main(f"tiny-{kind}")
    found: dict[str, Any] = files.read_json(layout.report(f"tiny-{kind}"))
    rules = json.loads((ROOT / "schemas/report.schema.json").read_bytes())
    Draft202012Validator(rules).validate(found)
    return found


def value(found: dict[str, Any], name: str) -> Any:
    return next(entry["value"] for entry in found["measurements"] if entry["name"] == name)


def samples(project: Project) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(project.root / layout.samples("tiny", "validation") / "000.npz") as archive:
        return dict(archive)


def write(project: Project, **arrays: Any) -> None:
    folder = project.root / layout.samples("tiny", "validation")
    np.savez(folder / "000.npz", allow_pickle=False, **arrays)


@pytest.mark.parametrize("kind", PRECISIONS)
def test_seven_numbered_measurements_each_with_state_and_reason(kind: str) -> None:
    found = report(kind)
    assert [(entry["number"], entry["name"]) for entry in found["measurements"]] == [
        (number, name) for number, name in enumerate(NAMES, start=1)
    ]
    states = {entry["name"]: entry["state"] for entry in found["measurements"]}
    assert states["device"] == "not run"
    assert states["coverage"] == ("measured" if kind == "int8" else "not applicable")
    for entry in found["measurements"]:
        assert (entry["value"] is None) == (entry["state"] != "measured")
        assert bool(entry["reason"]) == (entry["state"] != "measured")
    assert value(found, "interface") == {"equal": True, "differences": []}
    assert value(found, "plan-header")["equal"] is True
    plan = layout.plan(f"tiny-{kind}")
    assert found["plan"] == {"sha256": files.sha256(plan), "bytes": plan.stat().st_size}


def test_the_report_says_what_the_graph_computes_in() -> None:
    found = value(report("int8"), "precision")
    assert found["asked"] == "int8"
    assert found["layers"] == {"fp32": 5, "int8": 3}
    assert found["compute"]["int8"] == pytest.approx(1)
    assert found["kept"] == []
    assert [line.partition(":")[0] for line in found["notes"]] == [
        "2 Conv in int8",
        "1 Gemm in int8",
    ]
    found = value(report("fp16"), "precision")
    assert (found["layers"], found["notes"]) == ({"fp16": 8}, [])


def test_a_graph_that_holds_none_of_what_was_asked_fails_the_gate(built: Project) -> None:
    built.set("engines.tiny-fp32.precision", "fp16")
    validate.main("tiny-fp32")
    built.set("engines.tiny-fp32.gates.max_accuracy_drop", None)
    with pytest.raises(errors.GateError, match="no node computes in fp16; nodes: 8 fp32"):
        gate.main("tiny-fp32")


def test_the_error_is_against_the_exported_graph_and_ordered_by_precision() -> None:
    sqnr = {}
    for kind in PRECISIONS:
        figures = value(report(kind), "numerics")["outputs"]["logits"]
        sqnr[kind] = np.inf if figures["identical"] else figures["sqnr_db"]
    assert sqnr["fp32"] > 120
    assert 55 < sqnr["fp16"] < 90
    assert 35 < sqnr["bf16"] < 60
    assert 20 < sqnr["int8"] < 60
    assert sqnr["fp32"] > sqnr["fp16"] > sqnr["bf16"]


def test_a_fault_of_sanitize_or_precision_shows(built: Project) -> None:
    path = built.root / layout.typed("tiny-fp32") / "model.onnx"
    proto = onnx.load(path)
    proto.graph.node[1].op_type = "Abs"
    onnx.save(proto, path)
    assert value(report("fp32"), "numerics")["outputs"]["logits"]["identical"] is False


def test_the_arithmetic_is_named() -> None:
    assert "rounded to fp16 after each node" in value(report("fp16"), "numerics")["arithmetic"]


def test_the_metric_is_that_of_both_graphs() -> None:
    # Labels are what the model itself says: all right by construction.
    found = value(report("fp32"), "task-metric")
    assert found == {"name": "top1", "reference": 1.0, "engine": 1.0, "drop": 0.0}


def test_labels_decide_the_metric(built: Project) -> None:
    arrays = samples(built)
    arrays["label"][:4] = (arrays["label"][:4] + 1) % 5
    write(built, **arrays)
    found = value(report("fp32"), "task-metric")
    assert (found["reference"], found["engine"]) == (0.75, 0.75)


def test_no_metric(built: Project) -> None:
    none = {"kind": "none", "output": None, "labels": None, "entry": None}
    built.set("models.tiny.metric", none)
    for kind in PRECISIONS:
        built.set(f"engines.tiny-{kind}.gates.max_accuracy_drop", None)
    write(built, x=samples(built)["x"])  # no labels then
    found = report("fp16")
    entry = found["measurements"][3]
    assert (entry["state"], entry["reason"]) == (
        "not applicable",
        "models.<m>.metric.kind is none",
    )
    assert files.read_json(layout.metrics("tiny-fp16"))["accuracy"] is None


def test_a_metric_of_the_users(built: Project) -> None:
    entry = built.root / layout.metric("tiny") / "own.py"
    entry.write_text("def score(output, labels): return -float(abs(output).max())\n")
    own = {"kind": "python", "output": "logits", "labels": "label", "entry": "own.py:score"}
    built.set("models.tiny.metric", own)
    found = value(report("int8"), "task-metric")
    assert found["name"] == "own.py:score"
    assert found["reference"] < 0
    assert [path.name for path in entry.parent.iterdir()] == ["own.py"]


@pytest.mark.parametrize("size", [1, 5, 64])
def test_the_validation_batch_changes_no_figure(built: Project, size: int) -> None:
    before = report("int8")
    built.set("engines.tiny-int8.validation_batch", size)
    after = report("int8")
    assert value(after, "coverage") == value(before, "coverage")
    assert value(after, "task-metric") == value(before, "task-metric")
    assert value(after, "numerics")["samples"] == 16


def test_coverage_sees_what_lies_outside_the_ranges(built: Project) -> None:
    def outside() -> dict[str, float]:
        found = value(report("int8"), "coverage")
        shares = [tensor["outside"] for tensor in found["tensors"]]
        assert shares == sorted(shares, reverse=True)  # in the file too, whose keys are sorted
        assert found["worst"] == shares[0]
        return {tensor["name"]: tensor["outside"] for tensor in found["tensors"]}

    assert outside()["x"] < 0.01
    arrays = samples(built)
    write(built, **arrays | {"x": arrays["x"] * 10})
    assert outside()["x"] > 0.4


def test_an_overflow_has_no_figures_and_a_gate_says_no(built: Project) -> None:
    arrays = samples(built)
    write(built, **arrays | {"x": arrays["x"] * 1e5})
    figures = value(report("fp16"), "numerics")["outputs"]["logits"]
    assert figures["sqnr_db"] is None
    assert figures["identical"] is False
    metrics = files.read_json(layout.metrics("tiny-fp16"))
    assert (metrics["sqnr_db"], metrics["identical"]) == (None, False)
    assert b">overflow</text>" in layout.card("tiny-fp16").read_bytes()
    with pytest.raises(errors.GateError, match="min_sqnr_db"):
        gate.main("tiny-fp16")


def test_headline_figures_do_not_hide_an_overflow_behind_another_output() -> None:
    def headline(**outputs: tuple[bool, float | None]) -> dict[str, Any]:
        told = {n: {"identical": i, "sqnr_db": s} for n, (i, s) in outputs.items()}
        entries = [
            {"name": "numerics", "value": {"outputs": told}},
            {"name": "task-metric", "value": None},
        ]
        return validate._headline({"measurements": entries, "plan": {"bytes": 2048}})

    assert headline(a=(False, 40.126), b=(False, 30.0))["sqnr_db"] == 30.0
    assert headline(a=(False, 40.126), b=(True, None))["sqnr_db"] == 40.13
    assert headline(a=(False, 40.126), b=(False, None))["sqnr_db"] is None
    every = headline(a=(True, None), b=(True, None))
    assert (every["sqnr_db"], every["identical"], every["plan_kib"]) == (None, True, 2.0)


def test_another_plan_than_the_pins(built: Project) -> None:
    path = built.root / layout.plan("tiny-fp32")
    data = bytearray(path.read_bytes())
    data[25] += 1
    path.write_bytes(data)
    found = value(report("fp32"), "plan-header")
    assert (found["version"], found["equal"]) == ("1.8.1.116", False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.full((16, 3, 8, 8), np.nan, np.float32)}, "holds NaN or infinity in sample 0"),
        ({"x": zoo.values(16, 1, 8, 8)}, r"has shape \[16, 1, 8, 8\]"),
        ({"label": np.zeros(3)}, "same number of samples"),
    ],
)
def test_bad_samples_leave_the_last_report(
    built: Project, change: dict[str, Any], message: str
) -> None:
    report("fp16")
    before = layout.report("tiny-fp16").read_bytes()
    write(built, **samples(built) | change)
    with pytest.raises(errors.SamplesError, match=message):
        validate.main("tiny-fp16")
    assert layout.report("tiny-fp16").read_bytes() == before


def test_labels_that_do_not_fit_are_told(built: Project) -> None:
    arrays = samples(built)
    write(built, x=arrays["x"], label=arrays["label"][:, None])
    with pytest.raises(errors.MetricError, match=r"scores \[16, 5\] do not fit labels \[16, 1\]"):
        validate.main("tiny-fp16")


@pytest.mark.parametrize("folder", ["artifacts/engines/tiny-fp16", "artifacts/onnx/tiny-fp16"])
def test_what_has_not_been_built(built: Project, folder: str) -> None:
    (built.root / folder).rename(built.root / "away")
    with pytest.raises(errors.ArtifactError, match=f"{folder}/.* is not there"):
        validate.main("tiny-fp16")


def test_two_runs_give_the_same_bytes(built: Project) -> None:
    report("int8")
    before = [layout.report("tiny-int8").read_bytes(), layout.metrics("tiny-int8").read_bytes()]
    done = built.run("validate", "tiny-int8", PYTHONHASHSEED="5")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    after = [layout.report("tiny-int8").read_bytes(), layout.metrics("tiny-int8").read_bytes()]
    assert after == before
