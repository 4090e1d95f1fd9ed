# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What a file of the user's own may do."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from stages.lib import plugins

if TYPE_CHECKING:
    from pathlib import Path

WITH_DATACLASS = """
from __future__ import annotations
from dataclasses import dataclass
import pickle
import helper_beside

@dataclass
class Config:
    width: int = 3

def load() -> int:
    import lazy_beside
    again = pickle.loads(pickle.dumps(Config()))
    return again.width + helper_beside.ONE + lazy_beside.TWO
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "helper_beside.py").write_text("ONE = 10")
    (tmp_path / "lazy_beside.py").write_text("TWO = 200")
    (tmp_path / "model.py").write_text(WITH_DATACLASS)
    for name in ("helper_beside", "lazy_beside", "enginery_entry_model"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_an_entry_imports_what_lies_beside_it_now_and_later(folder: Path) -> None:
    assert plugins.entry(folder, "model.py:load")() == 213


def test_no_bytecode_is_left(folder: Path) -> None:
    plugins.entry(folder, "model.py:load")()
    assert sorted(p.name for p in folder.iterdir()) == [
        "helper_beside.py",
        "lazy_beside.py",
        "model.py",
    ]


def test_a_file_of_the_users_shadows_no_library_afterwards(folder: Path) -> None:
    plugins.entry(folder, "model.py:load")
    assert sys.path[-1] == str(folder)
    assert sys.path.count(str(folder)) == 1


def test_without_a_name_the_module_itself_is_the_entry(folder: Path) -> None:
    module = plugins.entry(folder, "model.py")
    assert isinstance(module, ModuleType)
    assert module.Config().width == 3


def test_what_is_not_there(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"other\.py"):
        plugins.entry(folder, "other.py:load")
    with pytest.raises(AttributeError, match=r"model\.py has no 'lode'; it has: Config, load"):
        plugins.entry(folder, "model.py:lode")


def test_what_the_file_raises_is_passed_on(folder: Path) -> None:
    (folder / "broken.py").write_text("1 / 0")
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        plugins.entry(folder, "broken.py:load")
    assert sys.path[-1] == str(folder)


def test_modules_are_found_by_folder_and_name() -> None:
    module = plugins.load("stages.backends.tensorrt_rtx", "build")
    assert module.__name__ == "stages.backends.tensorrt_rtx.build"
    with pytest.raises(ModuleNotFoundError, match=r"stages\.backends\.nothing"):
        plugins.load("stages.backends", "nothing")
