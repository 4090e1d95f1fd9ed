# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The TensorRT version in a plan's header against the pin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.lib import plan_header

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def measure(plan: Path, backend: str, packages: Mapping[str, str]) -> dict[str, Any]:
    """{"magic", "version", "pinned", "equal"}: the header against the backend and its pin."""
    magic, version = plan_header.read(plan)
    _, pinned = plan_header.library(packages, backend)
    equal = magic == plan_header.MAGIC[backend] and version == pinned
    return {"magic": magic, "version": version, "pinned": pinned, "equal": equal}
