# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The temporary project in which stages run once more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stages.lib import environments
from stages.verification import rebuilding

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]


def test_frameworks_have_the_same_environments_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    known = {name: environments.folder(name) for name in environments.frameworks()}
    assert known
    rebuilding.project(tmp_path, ROOT, b"")
    monkeypatch.chdir(tmp_path)
    assert {name: environments.folder(name) for name in environments.frameworks()} == known
