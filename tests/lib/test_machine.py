# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Probes of this machine, whatever it is."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stages.lib import errors, machine

ROOT = Path(__file__).parents[2]


def test_the_platform_is_that_of_uname() -> None:
    assert machine.platform_name() == f"linux-{os.uname().machine}"


@pytest.mark.parametrize(
    ("system", "architecture", "name"),
    [
        ("Linux", "x86_64", "linux-x86_64"),
        ("Windows", "AMD64", "windows-x86_64"),
        ("Darwin", "arm64", "darwin-aarch64"),
    ],
)
def test_other_systems_words_for_the_same_architecture(
    monkeypatch: pytest.MonkeyPatch, system: str, architecture: str, name: str
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: architecture)
    assert machine.platform_name() == name


def test_the_cuda_runtime_is_a_version_or_nothing() -> None:
    found = machine.cuda_runtime("13.4")
    assert found is None or re.fullmatch(r"\d+\.\d", found)


def test_a_library_that_is_no_cuda_runtime_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = machine.cuda_runtime("13.4")
    folder = tmp_path / "nvidia/cu13/lib"
    folder.mkdir(parents=True)
    (folder / "libcudart.so.13").write_bytes(b"no library")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert machine.cuda_runtime("13.4") == before


def test_without_a_gpu_the_reason_is_told() -> None:
    code = (
        "from stages.lib import errors, machine\n"
        "try: machine.gpu()\n"
        "except errors.NoDeviceError as error: print(error.exit_code, error.what)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.match(r"14 (there is no NVIDIA driver|the NVIDIA driver)", done.stdout)


@pytest.mark.gpu
def test_a_gpu_has_a_name_a_driver_and_a_compute_capability() -> None:
    found = machine.gpu()
    assert found.name
    assert re.fullmatch(r"\d+\.\d", found.compute_capability)
    assert re.fullmatch(r"\d+(\.\d+)+", found.driver)
    assert found.memory_mib > 1024


def test_a_missing_pynvml_is_a_pin_that_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_pci_address", lambda: b"0000:00:00.0")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(errors.PinError, match="nvidia-ml-py, which names the GPU") as caught:
        machine.gpu()
    assert caught.value.mend == "`python -m pip install nvidia-ml-py`"
