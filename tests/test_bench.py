# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the check of packages, which makes one of its own, on a small one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import hashing

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_package_that_is_measured_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hashing, "SIZE", 1_000)
    hashing.make(tmp_path)
    hashing.check(tmp_path)
    seconds, peak = map(float, capsys.readouterr().out.split())
    assert seconds >= 0
    assert peak > 0
