# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Why an exporter's environment could not be made, and what to do about it."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from stages.lib import errors, layout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_OFFLINE = re.compile(
    r"NewConnectionError|ConnectTimeout|Connection ?(Error|Reset|Refused|timed out)|ProxyError|"
    r"name resolution|Network is unreachable|Max retries exceeded|Could not fetch URL",
    re.IGNORECASE,
)
_FULL = re.compile(r"No space left on device|Disk quota exceeded|File too large")
_UNWRITABLE = re.compile(r"Permission denied|Read-only file system|Not a directory|not permitted")
_SAID_LINES = 6
OTHER = (
    "correct `interpreters` in params.yaml: it names a Python of the pinned version that has the"
    " packages of requirements/export-<framework>.txt; or take the entry out: the environment is"
    " made then"
)


def error(framework: str, where: Path, said: str) -> errors.EnvironmentUnmadeError:
    """The error for what Python, pip or the system said.

    Args:
        framework: whose environment.
        where: folder of all environments.
        said: all that was said.
    """
    lines = [line for line in said.splitlines() if line.strip()]
    log = layout.log("environment", framework)
    again = f"`make envs FRAMEWORK={framework}`"
    given = f"`interpreters: {{{framework}: /path/to/bin/python}}` in params.yaml"
    if _FULL.search(said):
        # Downloads, and what is unpacked from them, stand on the disk side by side.
        mend = (
            f"make room (`df -h {where}`; an environment takes 1 to 3 GB, and as much again while"
            f" it is made), or set XDG_CACHE_HOME to a folder on another disk; then {again}"
        )
    elif _UNWRITABLE.search(said):
        mend = f"set XDG_CACHE_HOME to a folder that you may write to (now {where}), then {again}"
    elif _OFFLINE.search(said) or _OFFLINE.search(_logged(log)):
        mend = (
            f"{again} where the package index can be reached, or name an interpreter that has the"
            f" packages of {layout.LOCKS}/export-{framework}.txt: {given}"
        )
    else:
        mend = f"see {log}, then {again}"
    return _unmade(framework, "\n".join(lines[-_SAID_LINES:]), mend)


def without_pip(framework: str) -> errors.EnvironmentUnmadeError:
    """The error where there is no pip to make it with."""
    what = f"{sys.executable} has no pip"
    return _unmade(framework, what, f"`{sys.executable} -m ensurepip`, then `make envs`")


def other(
    framework: str, found: Mapping[str, str], wanted: Mapping[str, str]
) -> errors.EnvironmentUnmadeError:
    """The error where pip ended well, and other packages are there than the lock names."""
    names = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    told = [f"{n} {wanted.get(n, 'not wanted')}, found {found.get(n, 'nothing')}" for n in names]
    what = "pip reported no error, but not all is there:\n" + "\n".join(told[:_SAID_LINES])
    mend = "`pip config list` and the PIP_* variables may send packages elsewhere; then `make envs`"
    return _unmade(framework, what, mend)


def _unmade(framework: str, said: str, mend: str) -> errors.EnvironmentUnmadeError:
    msg = f"the environment of the exporter {framework} could not be made:\n{said}"
    return errors.EnvironmentUnmadeError(msg, mend=mend)


def _logged(log: Path) -> str:
    try:
        return log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
