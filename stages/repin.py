# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Moves the pins in params.yaml, and in files beside it, to what is installed: `make pins`.

Those of a framework with an environment of its own move to its lock, from which that is made. Only
the version scalars change; comments and layout stay. What is not installed keeps its pin.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from stages.lib import console, environments, files, layout, machine, params, pins

if TYPE_CHECKING:
    from collections.abc import Mapping

_OTHERS = "params.*.yaml"  # for `python -m stages.variant`
_GROUP = re.compile(r"^  ([A-Za-z0-9_-]+):$")
_ENTRY = re.compile(r"^( +)([A-Za-z0-9._-]+):( +)(\S+)$")


def main() -> None:
    """Rewrite the block `toolchain`."""
    params.load()  # a broken file is reported, not edited
    moved = [row for path in (layout.PARAMS, *sorted(Path().glob(_OTHERS))) for row in _move(path)]
    console.say("\n".join(sorted(set(moved))) or "all pins are what is installed")


def _move(path: Path) -> list[str]:
    """Rewrite one file; return what moved."""
    text = path.read_text(encoding="utf-8")
    head, key, rest = text.partition("\ntoolchain:\n")
    block, ends, tail = _block(rest)
    locked = {f"export-{name}": environments.pinned(name) for name in environments.frameworks()}
    lines: list[str] = []
    moved: list[str] = []
    group = ""
    for line in block.splitlines():
        group = opened[1] if (opened := _GROUP.match(line)) else group
        match = _ENTRY.match(line)
        found = _found(match[2], locked.get(group)) if match else None
        if match and found is not None and found != match[4].strip("\"'"):
            where = f" ({group})" if group in locked else ""
            moved.append(f"{match[2]}{where}: {match[4]} -> {found}")
            line = f"{match[1]}{match[2]}:{match[3]}{_quoted(found)}"  # noqa: PLW2901
        lines.append(line)
    files.write_bytes(path, "".join([head, key, "\n".join(lines), ends, tail]).encode())
    return moved


def _block(rest: str) -> tuple[str, str, str]:
    """Split the text behind `toolchain:` where the next top-level line begins."""
    end = re.search(r"^\S", rest, re.MULTILINE)
    stop = end.start() if end else len(rest)
    block = rest[:stop].rstrip("\n")
    return block, rest[len(block) : stop], rest[stop:]


def _found(package: str, locked: Mapping[str, str] | None) -> str | None:
    if locked is not None:
        return locked.get(package)
    own = {"platform": machine.platform_name, "python": pins.python_minor}
    if package in own:
        return own[package]()
    # Limits such as driver_min are no versions; names of packages have no underscore.
    return None if "_" in package else pins.installed(package)


def _quoted(version: str) -> str:
    """Quote what YAML would read as a number."""
    return f'"{version}"' if re.fullmatch(r"\d+(\.\d+)?", version) else version


if __name__ == "__main__":
    console.run("repin", main)
