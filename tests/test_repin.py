# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""`make pins`, and pins against the lock."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from stages import repin
from stages.lib import errors, params, pins

ROOT = Path(__file__).parent.parent
TOOLCHAIN = YAML(typ="safe").load(ROOT / "params.yaml")["toolchain"]
# The lock of the chain holds TensorRT-RTX; TensorRT comes from NVIDIA's own index.
ELSEWHERE = {"tensorrt"}


def locked(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {package.lower().replace("_", "-"): version for package, version in pairs}


def test_pins_and_lock_agree() -> None:
    lock = locked("chain.txt")
    for group, packages in TOOLCHAIN.items():
        if group not in ("python", *ELSEWHERE):
            assert packages == {name: lock[name] for name in packages}, group


def test_the_python_of_the_pins_is_that_of_the_project() -> None:
    assert f'requires-python = "=={TOOLCHAIN["python"]}.*"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", ["chain.txt", "dev.txt", "tensorrt-bindings.txt"])
def test_locks_pin_every_version_and_name_no_host(name: str) -> None:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert wanted
    assert not [line for line in wanted if not re.fullmatch(r"[\w.-]+==[\w.]+", line)]


def test_the_two_locks_do_not_fight() -> None:
    assert not set(locked("chain.txt")) & set(locked("dev.txt"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("schemas").mkdir()
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    shutil.copy(ROOT / "schemas/params.schema.json", "schemas")
    return tmp_path


@pytest.mark.usefixtures("project")
def test_pins_move_to_what_is_installed_and_nothing_else_changes() -> None:
    right = Path("params.yaml").read_text()
    wrong = right.replace(f"numpy: {np.__version__}", "numpy: 1.0.1")
    assert wrong != right
    Path("params.yaml").write_text(wrong)
    with pytest.raises(
        errors.PinError, match=r"numpy +" + re.escape(np.__version__) + r" +1\.0\.1"
    ):
        pins.toolchain(params.load(), "calibrate")
    repin.main()
    assert Path("params.yaml").read_text() == right


@pytest.mark.usefixtures("project")
def test_right_pins_stay_to_the_byte(capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("params.yaml").read_bytes()
    repin.main()
    assert Path("params.yaml").read_bytes() == before
    assert "all pins are what is installed" in capsys.readouterr().out
