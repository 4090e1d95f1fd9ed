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
OWN = {path.stem for path in (ROOT / "requirements").glob("export-*.txt")}
GROUPS = {
    name: group.get("packages", group)
    for name, group in TOOLCHAIN.items()
    if isinstance(group, dict) and name not in ELSEWHERE
}


def locked(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {pins.name(package): version for package, version in pairs}


@pytest.mark.parametrize("group", GROUPS)
def test_pins_and_lock_agree(group: str) -> None:
    own = f"{group}.txt" if group in OWN else "chain.txt"
    lock = locked(own)
    assert {name: lock.get(name) for name in GROUPS[group]} == GROUPS[group], own


def test_a_framework_with_a_lock_has_pins_and_an_exporter() -> None:
    assert set(GROUPS) > OWN
    for group in OWN:
        assert (ROOT / "requirements" / f"{group}.in").is_file(), "`make lock` makes the lock of it"
        exporter = ROOT / "stages/exporters" / group.removeprefix("export-") / "exporter.py"
        assert exporter.is_file(), group
        # The process that runs it needs numpy, which decides what the model answers.
        assert "numpy" in GROUPS[group]


@pytest.mark.parametrize("group", sorted(OWN))
def test_what_is_asked_for_is_pinned_and_locked(group: str) -> None:
    wanted, lock = locked(f"{group}.in"), locked(f"{group}.txt")
    assert {name: lock.get(name) for name in wanted} == wanted
    lines = (ROOT / f"requirements/{group}.txt").read_text().splitlines()
    assert lines[0] == f"# Pinned by 'make lock' from {group}.in; do not edit by hand."
    assert lines[1:] == sorted(lines[1:])
    assert not {"pip", "pip-api"} & set(lock), "nothing in it can install anything"


def test_the_python_of_the_pins_is_that_of_the_project() -> None:
    assert f'requires-python = "=={TOOLCHAIN["python"]}.*"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    "name",
    [
        "chain.txt", "dev.txt", "serving.txt", "tensorrt-bindings.txt",
        *sorted(f"{group}.txt" for group in OWN),
    ],
)  # fmt: skip
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
    Path("requirements").symlink_to(ROOT / "requirements")
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
def test_pins_of_an_environment_of_its_own_move_to_its_lock(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever the chain's environment has of the same name, and whether it is made or not."""
    right = Path("params.yaml").read_text()
    head, key, rest = right.partition("  export-mindspore:\n")
    numpy, mindspore = (locked("export-mindspore.txt")[name] for name in ("numpy", "mindspore"))
    assert numpy != np.__version__
    wrong = rest.replace(f"numpy: {numpy}", f"numpy: {np.__version__}", 1)
    wrong = wrong.replace(f"mindspore: {mindspore}", "mindspore: 2.0.0", 1)
    Path("params.yaml").write_text(head + key + wrong)
    repin.main()
    assert Path("params.yaml").read_text() == right
    assert capsys.readouterr().out.splitlines() == [
        f"mindspore (export-mindspore): 2.0.0 -> {mindspore}",
        f"numpy (export-mindspore): {np.__version__} -> {numpy}",
    ]


@pytest.mark.usefixtures("project")
def test_right_pins_stay_to_the_byte(capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("params.yaml").read_bytes()
    repin.main()
    assert Path("params.yaml").read_bytes() == before
    assert "all pins are what is installed" in capsys.readouterr().out


@pytest.mark.usefixtures("project")
def test_the_pins_of_all_frameworks_move_along() -> None:
    right = (ROOT / "params.frameworks.yaml").read_text()
    other = Path("params.frameworks.yaml")
    other.write_text(right.replace(f"numpy: {np.__version__}", "numpy: 1.0.1"))
    assert other.read_text() != right
    repin.main()
    assert other.read_text() == right
