# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The header of a plan, on bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stages.lib import plan_header

if TYPE_CHECKING:
    from pathlib import Path

RTX = b"vtrt" + bytes(20) + bytes([1, 7, 1, 116]) + b"rest"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (RTX, ("vtrt", "1.7.1.116")),
        (b"ftrt" + bytes(20) + bytes([11, 4, 0, 106]), ("ftrt", "11.4.0.106")),
        (b"", ("", "")),
        (RTX[:27], ("", "")),
        (b"\xff" * 28, ("\ufffd" * 4, "255.255.255.255")),
    ],
)
def test_magic_and_version(tmp_path: Path, data: bytes, found: tuple[str, str]) -> None:
    (tmp_path / "model.plan").write_bytes(data)
    assert plan_header.read(tmp_path / "model.plan") == found
