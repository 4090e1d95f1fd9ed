# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What is in the environments of exporters that have one of their own; none is made for that."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from stages.diagnosis.rows import Environment
from stages.lib import environments, pins

if TYPE_CHECKING:
    from collections.abc import Mapping

_FIRST_USE = "made on first use"
_SECONDS = 60  # a cold interpreter on a slow disk
_LIST = (
    "import json; from importlib import metadata;"
    "print(json.dumps({d.metadata['Name']: d.version for d in metadata.distributions()}))"
)


def look(given: Mapping[str, str]) -> dict[str, Environment]:
    """Each framework's environment; `given` is `interpreters` of params.yaml."""
    return {
        name: _given(given[name]) if name in given else _own(name)
        for name in environments.frameworks()
    }


def _own(framework: str) -> Environment:
    try:
        made = environments.ready(framework)
    except ImportError:  # without the package that knows where it would lie
        made = False
    # What its lock says is what it has, or will have.
    return Environment(environments.pinned(framework), reason="" if made else _FIRST_USE)


def _given(interpreter: str) -> Environment:
    words = [interpreter, "-I", "-c", _LIST]
    try:
        done = subprocess.run(words, capture_output=True, check=True, timeout=_SECONDS)
        found = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        found = {}
    return Environment({pins.name(key): found[key].partition("+")[0] for key in found})
