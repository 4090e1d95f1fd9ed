# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Pins: the exact versions in params.yaml against what is installed."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Mapping


def installed(package: str) -> str | None:
    """Installed version of a distribution without its local part (`+cpu`), or None."""
    try:
        return metadata.version(package).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


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
    packages = " ".join(f"{name}=={pin}" for name, _, pin in rows if name != "python")
    steps = []
    if packages:
        steps.append(f"`python -m pip install {packages}`")
    if rows[0][0] == "python":
        steps.append(
            f"run with Python {rows[0][2]} (`make clean-venv && make PYTHON=python{rows[0][2]}`)"
        )
    return " and ".join(steps) + ", or `make pins` to move the pins to what is installed"


def toolchain(params: Any, *names: str) -> dict[str, str]:
    """Check the pins of `toolchain.<name>` for each name; return the versions found equal."""
    groups = [params.param(f"toolchain.{name}") for name in names]
    return check(params.param("toolchain.python"), *groups)
