# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Paths: relative, and no two things in one place (tests/test_dag.py has dvc.yaml)."""

from __future__ import annotations

import pytest

from stages.lib import layout

OF_A_MODEL = ("model_source", "rewrites", "metric", "timing", "exported", "clean", "observations")
OF_AN_ENGINE = (
    "typed",
    "plan",
    "report",
    "metrics",
    "verdict",
    "package",
    "device_evidence",
    "recording",
)
STAGES = {
    "export": "onnx",
    "sanitize": "onnx",
    "observe": "observations",
    "calibrate": "calibration",
    "precision": "onnx",
    "build": "engines",
    "validate": "reports",
    "gate": "verdicts",
}


def test_every_path_is_relative_and_its_own() -> None:
    paths = [getattr(layout, name)("a") for name in (*OF_A_MODEL, *OF_AN_ENGINE)]
    paths += [layout.samples("a", split) for split in layout.SPLITS]
    paths += [layout.cache("a", method) for method in ("none", "minmax", "entropy")]
    paths += [layout.facts(stage, "a") for stage in STAGES]
    assert not [path for path in paths if path.is_absolute()]
    assert len({path.as_posix() for path in paths}) == len(paths)


@pytest.mark.parametrize(("stage", "folder"), STAGES.items())
def test_facts_lie_beside_the_output(stage: str, folder: str) -> None:
    assert layout.facts(stage, "a").as_posix() == f"artifacts/{folder}/a/{stage}.facts.json"
