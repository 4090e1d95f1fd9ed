# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A package from elsewhere, beside the params.yaml of here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.lib import errors, params, pins
from stages.verification import elsewhere

ROOT = Path(__file__).parents[2]
KINDS = (
    "source",
    "probe_samples",
    "rewrites",
    "calibration_samples",
    "validation_samples",
    "metric",
    "timing_cache",
)


def told(**changes: Any) -> dict[str, Any]:
    """What a manifest says, as far as it matters here."""
    return {
        "model": "digits",
        "backend": "tensorrt_rtx",
        "code": {},
        "digests": {kind: {} for kind in KINDS},
        "params": {"models.digits.source": {"framework": "pytorch"}},
        "toolchain": {},
        **changes,
    }


def lines(title: str, **changes: Any) -> list[str]:
    """What is other here, of the part with this title."""
    shown = elsewhere.describe(told(**changes), params.load(ROOT)).splitlines()
    begin = next(i for i, line in enumerate(shown) if line.startswith(title))
    rest = shown[begin + 1 :]
    end = next((i for i, line in enumerate(rest) if not line.startswith("  ")), len(rest))
    return [line.strip() for line in rest[:end]]


def test_a_version_that_is_not_installed_here() -> None:
    found = lines("pins: other here", toolchain={"build": {"tensorrt-rtx": "1.2.3.4"}})
    here = pins.installed("tensorrt-rtx")
    assert found == [f"tensorrt-rtx: {here} here, 1.2.3.4 in the package"]


@pytest.mark.parametrize(
    ("stage", "key", "package"),
    [
        ("build", "tensorrt_rtx.packages", "tensorrt-rtx"),
        ("export", "export-pytorch", "torch"),
        ("gate", "", "python"),
    ],
)
def test_a_version_that_is_installed_and_not_pinned(
    monkeypatch: pytest.MonkeyPatch, stage: str, key: str, package: str
) -> None:
    document = params.load(ROOT)
    values = document.values()
    group = values["toolchain"]
    for word in filter(None, key.split(".")):
        group = group[word]
    version, group[package] = group[package], "9.9"
    monkeypatch.setattr(params.Params, "param", lambda _self, name: values[name])
    found = list(elsewhere._pins(told(toolchain={stage: {package: version}}), document))
    assert found == [f"{package}: params.yaml pins 9.9 here, {version} in the package"]


def test_packages_of_an_exporters_own_environment_are_looked_up_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As its lock says, where it is not made yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pinned = params.load(ROOT).param("toolchain.export-mindspore")
    monkeypatch.chdir(ROOT)
    same = {"export-mindspore": pinned | {"python": pins.python_minor()}}
    assert pinned["numpy"] != pins.installed("numpy")
    assert lines("pins: as the package names them", toolchain=same) == []
    other = {"export-mindspore": pinned | {"numpy": "1.0.1"}, "export-caffe": {"caffe": "1.0"}}
    assert lines("pins: other here", toolchain=other) == [
        "caffe (export-caffe): not installed here, 1.0 in the package",
        f"numpy (export-mindspore): {pinned['numpy']} here, 1.0.1 in the package",
    ]


def test_the_same_pins_are_not_named() -> None:
    values = params.load(ROOT).values()["toolchain"]
    same = {"build": values["tensorrt_rtx"]["packages"], "gate": {"python": values["python"]}}
    assert lines("pins: as the package names them", toolchain=same) == []


def test_a_param_without_a_place() -> None:
    strange = told(params={"models.digits.threads.more": 1})
    with pytest.raises(errors.ParamsError, match=r"models\.digits\.threads\.more, for which"):
        elsewhere.recipe(strange, params.load(ROOT))
