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
from stages.lib import errors, machine, params, pins

ROOT = Path(__file__).parent.parent
TOOLCHAIN = YAML(typ="safe").load(ROOT / "params.yaml")["toolchain"]
# The lock of the chain holds TensorRT-RTX; TensorRT comes from NVIDIA's own index.
ELSEWHERE = {"tensorrt"}
GROUPS = {
    name: group.get("packages", group)
    for name, group in TOOLCHAIN.items()
    if isinstance(group, dict) and name not in ELSEWHERE
}


def locked(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {package.lower().replace("_", "-"): version for package, version in pairs}


def test_pins_and_lock_agree() -> None:
    lock = locked("chain.txt")
    for group, packages in GROUPS.items():
        assert packages == {name: lock[name] for name in packages}, group


def test_the_python_of_the_pins_is_that_of_the_project() -> None:
    assert f'requires-python = "=={TOOLCHAIN["python"]}.*"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", ["chain.txt", "dev.txt", "serving.txt", "tensorrt-bindings.txt"])
def test_locks_pin_every_version_and_name_no_host(name: str) -> None:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert wanted
    assert not [line for line in wanted if not re.fullmatch(r"[\w.-]+==[\w.]+", line)]


def test_the_server_has_the_runtimes_that_packages_ask_for() -> None:
    """model.py refuses any other version."""
    chain, serving = locked("chain.txt"), locked("serving.txt")
    for package in ("onnxruntime", "tensorrt-rtx"):
        assert serving[package] == chain[package]


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
def test_platform_moves_and_limits_stay() -> None:
    right = Path("params.yaml").read_text()
    for old, new in (
        ("platform: linux-x86_64", "platform: linux-riscv64"),
        ("tensorrt-rtx: 1.7.1.116", "tensorrt-rtx: 1.6.0.1"),
        ("driver_min: 580.65.06", "driver_min: 590.44.01"),
        ("onnx_opset: 25", "onnx_opset: 24"),
        ('cuda_runtime: "13.4"', 'cuda_runtime: "12.9"'),
    ):
        assert old in Path("params.yaml").read_text()
        Path("params.yaml").write_text(Path("params.yaml").read_text().replace(old, new))
    repin.main()
    found = YAML(typ="safe").load(Path("params.yaml"))["toolchain"]
    assert found["platform"] == machine.platform_name()
    assert found["tensorrt_rtx"] == {
        "packages": TOOLCHAIN["tensorrt_rtx"]["packages"],
        "onnx_opset": 24,
        "cuda_runtime": None,
        "driver_min": "590.44.01",
    }
    assert found["tensorrt"]["cuda_runtime"] == "12.9"
    assert len(Path("params.yaml").read_text().splitlines()) == len(right.splitlines())


@pytest.mark.usefixtures("project")
def test_right_pins_stay_to_the_byte(capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("params.yaml").read_bytes()
    repin.main()
    assert Path("params.yaml").read_bytes() == before
    assert "all pins are what is installed" in capsys.readouterr().out
