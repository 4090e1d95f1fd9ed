# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The header of a plan against its pin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stages.checks import plan_header

if TYPE_CHECKING:
    from pathlib import Path

RTX = b"vtrt" + bytes(20) + bytes([1, 7, 1, 116]) + b"rest"


@pytest.mark.parametrize(
    ("backend", "pinned", "equal"),
    [
        ("tensorrt_rtx", "1.7.1.116", True),
        ("tensorrt_rtx", "1.7.1.117", False),
        ("tensorrt", "1.7.1.116", False),
    ],
)
def test_against_the_pin(tmp_path: Path, backend: str, pinned: str, *, equal: bool) -> None:
    (tmp_path / "model.plan").write_bytes(RTX)
    packages = {"numpy": "2.4.6", backend.replace("_", "-"): pinned}
    assert plan_header.measure(tmp_path / "model.plan", backend, packages) == {
        "magic": "vtrt",
        "version": "1.7.1.116",
        "pinned": pinned,
        "equal": equal,
    }
