# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The command `envs`: which environments, and what scripts get of it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stages.lib import errors

if TYPE_CHECKING:
    from tests.conftest import Project


def empty_lock(project: Project) -> None:
    """One framework, whose environment has no packages: made without an index."""
    locks = project.root / "requirements"
    locks.unlink()
    locks.mkdir()
    (locks / "export-tensorflow.txt").write_text("# Pinned.\n")


def test_all_of_them_once(project: Project, tmp_path: Path) -> None:
    empty_lock(project)
    for pattern in (r"environment of .*: 0 packages .*\n.* made in \d+ s\n", ""):
        done = project.run("envs", XDG_CACHE_HOME=str(tmp_path / "cache"))
        assert (done.returncode, done.stderr) == (0, "")
        path = rf"{tmp_path}/cache/enginery/environments/tensorflow-\S+/bin/python"
        assert re.fullmatch(rf"{pattern}tensorflow: {path}\n", done.stdout)


def test_a_script_gets_the_path_alone(project: Project, tmp_path: Path) -> None:
    empty_lock(project)
    words = ("tensorflow", "--interpreter")
    done = project.run("envs", *words, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 0
    [line] = done.stdout.splitlines()
    assert Path(line).exists()
    assert "environment of tensorflow: made in " in done.stderr


def test_an_interpreter_of_params_yaml_is_taken(project: Project) -> None:
    project.set("interpreters", {"tensorflow": sys.executable})
    done = project.run("envs", "tensorflow", "--interpreter")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{sys.executable}\n", "")


def test_other_frameworks_have_none(project: Project) -> None:
    done = project.run("envs", "tensorflo")
    assert done.returncode == errors.ParamsError.exit_code
    assert "no exporter 'tensorflo' has an environment of its own" in done.stderr
    assert "Did you mean 'tensorflow'?" in done.stderr
    assert project.run("envs", "pytorch").returncode == errors.ParamsError.exit_code
    assert project.run("envs", "a", "b").returncode == 64
