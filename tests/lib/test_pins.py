# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Pins against distributions that are really installed, and some that only look so."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

from stages.lib import errors, machine, pins

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = ".".join(platform.python_version_tuple()[:2])


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of distributions: `torchlike` in a CPU flavour, `plain` without one."""
    for name, version in (("torchlike", "2.13.0+cpu"), ("plain", "1.0")):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_equal_versions_pass_and_are_returned_sorted() -> None:
    numpy, onnx = metadata.version("numpy"), metadata.version("onnx")
    found = pins.check(PYTHON, {"onnx": onnx}, {"numpy": numpy})
    assert list(found.items()) == [("numpy", numpy), ("onnx", onnx)]


@pytest.mark.usefixtures("site")
def test_the_local_part_of_a_version_does_not_count() -> None:
    assert pins.installed("torchlike") == "2.13.0"
    assert pins.check(PYTHON, {"torchlike": "2.13.0"}) == {"torchlike": "2.13.0"}


@pytest.mark.usefixtures("site")
def test_the_table_and_the_command_name_what_differs_alone() -> None:
    wanted = {"torchlike": "2.13.0", "plain": "1.0.1", "absent-package": "3.1"}
    with pytest.raises(errors.PinError, match="installed versions differ") as caught:
        pins.check(PYTHON, wanted)
    assert caught.value.what == (
        "installed versions differ from toolchain in params.yaml:\n\n"
        "package         found          pinned\n"
        "absent-package  not installed  3.1   \n"
        "plain           1.0            1.0.1 "
    )
    assert caught.value.mend == (
        "`python -m pip install absent-package==3.1 plain==1.0.1`,"
        " or `make pins` to move the pins to what is installed"
    )


def test_another_python_is_told_with_its_command() -> None:
    with pytest.raises(errors.PinError, match=rf"python +{PYTHON} +3\.99") as caught:
        pins.check("3.99", {})
    assert "pip install" not in caught.value.mend
    assert "make PYTHON=python3.99 check" in caught.value.mend


@pytest.mark.usefixtures("site")
def test_python_and_packages_are_mended_together() -> None:
    with pytest.raises(errors.PinError, match="plain") as caught:
        pins.check("3.99", {"plain": "2"})
    assert "pip install plain==2` and run with Python 3.99" in caught.value.mend


class Document:
    """Stands for params: pins asks it for keys alone."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def param(self, key: str) -> Any:
        return self._values[key]


@pytest.mark.usefixtures("site")
def test_toolchain_checks_each_named_group_and_python() -> None:
    document = Document(
        {
            "toolchain.python": PYTHON,
            "toolchain.platform": machine.platform_name(),
            "toolchain.export": {"plain": "1.0"},
            "toolchain.validate": {"torchlike": "2.12.0"},
        }
    )
    assert pins.toolchain(document) == {}
    assert pins.toolchain(document, "export") == {"plain": "1.0"}
    with pytest.raises(errors.PinError, match="torchlike"):
        pins.toolchain(document, "export", "validate")


def test_toolchain_names_another_platform_before_any_package() -> None:
    document = Document({"toolchain.python": "3.99", "toolchain.platform": "plan9-mips"})
    with pytest.raises(
        errors.PinError, match=r"^this machine is \S+; toolchain\.platform .* plan9"
    ):
        pins.toolchain(document)


def test_tensorrt_comes_from_nvidias_own_index() -> None:
    with pytest.raises(errors.PinError, match=r"tensorrt +not installed +11\.4\.0\.106") as caught:
        pins.check(PYTHON, {"tensorrt": "11.4.0.106"})
    command = "pip install --extra-index-url https://pypi.nvidia.com tensorrt==11.4.0.106`"
    assert command in caught.value.mend
