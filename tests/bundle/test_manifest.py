# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The manifest: made from the facts alone, and refused when these do not form one chain."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from stages.bundle import manifest
from stages.lib import errors, layout, schema

SCHEMAS = Path(__file__).parents[2] / "schemas"
GOOD = SCHEMAS / "examples" / "good"
ENGINE, MODEL = "digits-int8-b1", "digits"
NAMES = dict.fromkeys(layout.MODEL_STAGES, MODEL) | dict.fromkeys(layout.ENGINE_STAGES, ENGINE)


def example(name: str) -> Any:
    return json.loads((GOOD / f"{name}.json").read_bytes())


@pytest.fixture
def facts() -> dict[str, Any]:
    return {stage: example(f"facts-{stage}") for stage in NAMES}


SERVING = f"engines.{ENGINE}.serving"


def make(facts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    expected = example("manifest-rtx")
    given = {
        "facts": facts,
        "report": example("report-int8"),
        "verdict": example("verdict-passed"),
        "code": expected["code"]["package"],
        "versions": expected["toolchain"]["package"],
        "params": {SERVING: expected["params"][SERVING]},
        "serving": expected["serving"],
        "files": expected["files"],
    }
    return manifest.make(ENGINE, MODEL, **{**given, **changes})


def test_manifest_of_the_example_facts(facts: dict[str, Any]) -> None:
    manifest.check(facts, NAMES)
    made = make(facts)
    assert made == example("manifest-rtx")
    assert schema.problems(made, schema.read(SCHEMAS / "manifest.schema.json")) == []


def test_nothing_measured_is_said_so(facts: dict[str, Any]) -> None:
    made = make(facts, report=example("report-identical-without-metric"))
    assert made["metrics"]["task_metric"] is None
    assert made["metrics"]["out_of_range"] is None
    assert made["verdict"]["not_run"] == ["device"]
    assert made["device"] == "not run"


def test_packages_of_an_exporter_with_its_own_environment_are_told(facts: dict[str, Any]) -> None:
    assert not [name for name in make(facts)["toolchain"] if name.startswith("export-")]
    told = example("facts-export-isolated")
    made = make(facts | {"export": told})
    own = told["details"]["environment"]
    assert made["toolchain"]["export-mindspore"] == {**own, "python": told["versions"]["python"]}
    assert made["toolchain"]["export"] == told["versions"]
    assert own["numpy"] != told["versions"]["numpy"]
    rules = schema.read(SCHEMAS / "manifest.schema.json")
    assert schema.problems(made, rules) == []
    made["toolchain"]["export_mindspore"] = made["toolchain"].pop("export-mindspore")
    assert [problem.path for problem in schema.problems(made, rules)] == [("toolchain",)]


def test_backend_may_choose_its_own_targets(facts: dict[str, Any]) -> None:
    facts["build"]["params"][f"engines.{ENGINE}.builder"].pop("compute_capabilities")
    assert make(facts)["compat"]["compute_capabilities"] == []


def test_settings_that_decide_where_a_plan_runs_are_told(facts: dict[str, Any]) -> None:
    settings = {"hardware_compatibility": "ampere_plus", "version_compatible": False}
    facts["build"]["params"][f"engines.{ENGINE}.builder"] |= settings | {"sparsity": True}
    assert make(facts)["compat"]["settings"] == settings


def test_only_what_the_user_may_leave_out_may_be_missing(facts: dict[str, Any]) -> None:
    made = make(facts)
    empty = [title for title, digests in made["digests"].items() if not digests]
    assert empty == ["rewrites", "timing_cache", "metric"]


@pytest.mark.parametrize(
    ("stage", "kind", "word"),
    [
        ("export", "inputs", "models/digits/source"),
        ("export", "outputs", "artifacts/onnx/digits/exported"),
        ("observe", "inputs", "models/digits/samples/calibration"),
        ("precision", "inputs", "artifacts/calibration/digits"),
        ("precision", "outputs", f"artifacts/onnx/{ENGINE}/typed"),
        ("validate", "inputs", "models/digits/samples/validation"),
    ],
)
def test_facts_that_name_no_source_are_refused(
    facts: dict[str, Any], stage: str, kind: str, word: str
) -> None:
    kept = {path: digest for path, digest in facts[stage][kind].items() if word not in path}
    facts[stage][kind] = kept
    with pytest.raises(errors.ArtifactError, match=f"`{stage} .*` name nothing at {word}"):
        make(facts)


def test_recorded_tactics_are_accounted_for(facts: dict[str, Any]) -> None:
    path = f"models/{MODEL}/timing/{ENGINE}.cache"
    facts["build"]["inputs"][path] = "0" * 64
    assert make(facts)["digests"]["timing_cache"] == {path: "0" * 64}


@pytest.mark.parametrize("state", ["proven", "not reproducible", "not tried"])
def test_proof_of_the_build_is_passed_on(facts: dict[str, Any], state: str) -> None:
    facts["build"]["details"]["reproducible"] = state
    assert make(facts)["build"]["reproducible"] == state


def test_neighbour_with_the_same_beginning_is_not_counted(facts: dict[str, Any]) -> None:
    facts["export"]["inputs"]["models/digits/source-old/model.py"] = "0" * 64
    assert "models/digits/source-old/model.py" not in make(facts)["digests"]["source"]


def test_facts_of_another_run_are_refused(facts: dict[str, Any]) -> None:
    swapped = facts | {"sanitize": facts["export"]}
    with pytest.raises(errors.ArtifactError, match=r"sanitize.facts.json holds .* `export digits`"):
        manifest.check(swapped, NAMES)
    facts["build"]["name"] = "digits-int8-b64"
    with pytest.raises(errors.ArtifactError, match="holds the facts of `build digits-int8-b64`"):
        manifest.check(facts, NAMES)


@pytest.mark.parametrize(
    ("stage", "path"),
    [
        ("sanitize", "artifacts/onnx/digits/exported/model.onnx"),
        ("observe", "artifacts/onnx/digits/clean/model.onnx"),
        ("build", f"artifacts/onnx/{ENGINE}/typed/model.onnx"),
        ("validate", f"artifacts/engines/{ENGINE}/model.plan"),
    ],
)
def test_broken_chain_is_refused(facts: dict[str, Any], stage: str, path: str) -> None:
    facts[stage]["inputs"][path] = "0" * 64
    with pytest.raises(errors.ArtifactError, match=f"disagree about the file {path}"):
        manifest.check(facts, NAMES)


def test_params_of_two_runs_are_refused(facts: dict[str, Any]) -> None:
    facts["observe"]["params"]["models.digits.threads"] = 8
    with pytest.raises(errors.ArtifactError, match=r"param models.digits.threads: 8 and 2"):
        manifest.check(facts, NAMES)


def test_older_code_of_a_stage_that_need_not_run_again_is_no_fault(facts: dict[str, Any]) -> None:
    facts["export"]["code"]["stages/lib/files.py"] = "0" * 64
    manifest.check(facts, NAMES)
    code = make(facts)["code"]
    assert code["export"]["stages/lib/files.py"] != code["build"]["stages/lib/files.py"]


def test_facts_are_left_as_they_were(facts: dict[str, Any]) -> None:
    before = copy.deepcopy(facts)
    make(facts)
    assert facts == before
