# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Moves the pins in params.yaml to what is installed: `make pins`.

Only the version scalars change; comments and layout stay. What is not installed keeps its pin.
"""

from __future__ import annotations

import re

from stages.lib import console, files, layout, machine, params, pins

_ENTRY = re.compile(r"^( +)([A-Za-z0-9._-]+):( +)(\S+)$")


def main() -> None:
    """Rewrite the block `toolchain`."""
    params.load()  # a broken file is reported, not edited
    text = layout.PARAMS.read_text(encoding="utf-8")
    head, key, rest = text.partition("\ntoolchain:\n")
    block, ends, tail = _block(rest)
    lines, moved = [], []
    for line in block.splitlines():
        match = _ENTRY.match(line)
        found = _found(match[2]) if match else None
        if match and found is not None and found != match[4].strip("\"'"):
            moved.append(f"{match[2]}: {match[4]} -> {found}")
            line = f"{match[1]}{match[2]}:{match[3]}{_quoted(found)}"  # noqa: PLW2901
        lines.append(line)
    files.write_bytes(layout.PARAMS, "".join([head, key, "\n".join(lines), ends, tail]).encode())
    console.say("\n".join(sorted(set(moved))) or "all pins are what is installed")


def _block(rest: str) -> tuple[str, str, str]:
    """Split the text behind `toolchain:` where the next top-level line begins."""
    end = re.search(r"^\S", rest, re.MULTILINE)
    stop = end.start() if end else len(rest)
    block = rest[:stop].rstrip("\n")
    return block, rest[len(block) : stop], rest[stop:]


def _found(package: str) -> str | None:
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
