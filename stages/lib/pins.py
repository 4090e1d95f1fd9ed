# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Pins: the exact versions in params.yaml against what is installed."""

from __future__ import annotations

import platform
import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib import errors, machine, mismatch

if TYPE_CHECKING:
    from collections.abc import Mapping

# On the Python Package Index these are stubs.
_FROM_NVIDIA = frozenset({"tensorrt", "tensorrt-cu12", "tensorrt-cu13"})
_NVIDIA = "--extra-index-url https://pypi.nvidia.com "


def installed(package: str) -> str | None:
    """Installed version of a distribution without its local part (`+cpu`), or None."""
    try:
        return metadata.version(package).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def installed_below(folder: Path) -> dict[str, str]:
    """Version by package, as `name` gives it, of what is installed in a site-packages folder."""
    found = metadata.distributions(path=[str(folder)])
    return {name(one.name): one.version.partition("+")[0] for one in found}


def name(package: str) -> str:
    """The normalized name of a package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", package).lower()


def file(package: str, name: str) -> Path:
    """Path of a file that a distribution installed, by its name.

    Raises:
        PinError: the distribution is not installed, or has no such file.
    """
    try:
        found = [entry for entry in metadata.files(package) or () if entry.name == name]
        return Path(str(found[0].locate())).resolve(strict=True)
    except (metadata.PackageNotFoundError, IndexError, OSError):
        msg = f"{name}, a file of the package {package}, is not installed"
        mend = f"`python -m pip install --force-reinstall {package}==<the pin in params.yaml>`"
        raise errors.PinError(msg, mend=mend) from None


def of_the_machine() -> dict[str, str]:
    """What is pinned besides packages: the platform, and the minor version of Python."""
    return {"platform": machine.platform_name(), "python": python_minor()}


def python_minor() -> str:
    """The running Python as `3.11`."""
    return ".".join(platform.python_version_tuple()[:2])


def check(python: str, *pins: Mapping[str, str]) -> dict[str, str]:
    """Compare the machine with its pins.

    Args:
        python: pinned minor version of Python.
        pins: exact version by package name.

    Returns:
        The versions by package, sorted.

    Raises:
        PinError: something differs; the message is a table of found and pinned.
    """
    wanted = {package: version for group in pins for package, version in group.items()}
    rows = [("python", python_minor(), python)] if python_minor() != python else []
    for package, version in sorted(wanted.items()):
        found = installed(package)
        if found != version:
            rows.append((package, found or "not installed", version))
    if rows:
        raise errors.PinError(_table(rows), mend=_mend(rows))
    return dict(sorted(wanted.items()))


def _table(rows: list[tuple[str, str, str]]) -> str:
    table = [("package", "found", "pinned"), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(3)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in table]
    return "\n".join(["installed versions differ from toolchain in params.yaml:", "", *lines])


def _mend(rows: list[tuple[str, str, str]]) -> str:
    packages = {name: pin for name, _, pin in rows if name != "python"}
    steps = [install(packages)] if packages else []
    if rows[0][0] == "python":
        steps.append(other_python(rows[0][2]))
    return " and ".join(steps) + ", or `make pins` to move the pins to what is installed"


def install(packages: Mapping[str, str]) -> str:
    """The command that installs versions by package."""
    index = _NVIDIA if _FROM_NVIDIA & set(packages) else ""
    wanted = " ".join(f"{name}=={version}" for name, version in packages.items())
    return f"`python -m pip install {index}{wanted}`"


def other_python(minor: str) -> str:
    """How to change to another Python."""
    return f"run with Python {minor} (`make clean-venv && make PYTHON=python{minor} check`)"


def toolchain(params: Any, *names: str) -> dict[str, str]:
    """Check the platform, Python and the packages of `toolchain.<name>` for each name.

    Returns:
        The versions by package, sorted.

    Raises:
        PinError: something differs.
    """
    mismatch.demand(mismatch.platform(machine.platform_name(), params.param("toolchain.platform")))
    groups = [params.param(f"toolchain.{name}") for name in names]
    return check(params.param("toolchain.python"), *groups)
