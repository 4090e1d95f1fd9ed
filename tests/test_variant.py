# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The chain with another params file, in a temporary clone: nothing of the project is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from stages import variant
from stages.lib import errors
from tests import conftest
from tests.clones import RAN, Clone

if TYPE_CHECKING:
    from collections.abc import Iterator

ENGINE = f"{conftest.MODEL}-fp32"


class Tried:
    """A clone that stands for the project, with one more model and its params file, uncommitted."""

    def __init__(self, folder: Path) -> None:
        self.scratch = folder / "tmp"
        self.clone = Clone(folder / "the project")
        tiny = conftest.make(folder / "tiny")
        home = self.clone.root / "models/tiny"
        (folder / "tiny/models/tiny").rename(home)
        for empty in [path for path in home.iterdir() if not any(path.iterdir())]:
            (empty / ".gitkeep").touch()
        self.params = tiny.params()
        self.params["engines"] = {ENGINE: self.params["engines"][ENGINE]}
        self.write(self.params)
        self.before = self.state()

    def write(self, params: Any) -> None:
        YAML(typ="safe").dump(params, self.clone.root / "params.tiny.yaml")

    def command(self, *words: str) -> dict[str, Any]:
        """As `subprocess` takes it; temporary files get a folder that shall be empty afterwards."""
        self.scratch.mkdir(exist_ok=True)
        return {
            "args": [sys.executable, "-m", "stages.variant", "params.tiny.yaml", *words],
            "cwd": self.clone.root,
            "env": {**os.environ, "TMPDIR": str(self.scratch)},
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(**self.command(*words), check=False)

    def state(self) -> tuple[str, bytes, list[str]]:
        """What Git sees, the lock, and the stages' outputs."""
        outputs = sorted(path.name for path in (self.clone.root / "artifacts").iterdir())
        return self.clone.status(), (self.clone.root / "dvc.lock").read_bytes(), outputs

    def untouched(self) -> bool:
        return self.state() == self.before and not [*self.scratch.iterdir()]


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Tried:
    folder = tmp_path_factory.mktemp("variant")
    for name in ("the project", "tiny"):
        (folder / name).mkdir()
    return Tried(folder)


@pytest.fixture(autouse=True)
def _restored(tried: Tried) -> Iterator[None]:
    yield
    tried.write(tried.params)


def test_the_chain_runs_elsewhere_and_then_comes_from_the_cache(tried: Tried) -> None:
    done = tried.run()
    assert done.returncode == 0, done.stdout
    assert len(RAN.findall(done.stdout)) == 10
    row = done.stdout[done.stdout.rindex(f"\n{ENGINE} ") :].splitlines()[1]
    assert row.endswith(" passed")
    assert tried.untouched()
    again = tried.run()
    assert again.returncode == 0
    # By the lock of the last run: from the run cache alone DVC takes a second for each stage.
    assert again.stdout.count("didn't change, skipping") == 10
    assert row in again.stdout
    assert tried.untouched()


def test_a_failed_gate_is_told_by_table_and_status(tried: Tried) -> None:
    tried.params["engines"][ENGINE]["gates"]["max_plan_mib"] = 0.001
    tried.write(tried.params)
    tried.params["engines"][ENGINE]["gates"]["max_plan_mib"] = None
    done = tried.run()
    assert done.returncode == 255  # DVC's own
    assert f"\n{ENGINE} " in done.stdout
    assert " failed: max_plan_mib\n" in done.stdout
    assert ".logs/ is .logs/params.tiny/" in done.stdout
    assert list((tried.clone.root / ".logs/params.tiny").glob(f"*{ENGINE}*"))
    assert tried.untouched()


def test_a_bad_file_stops_before_the_chain(tried: Tried) -> None:
    (tried.clone.root / "params.tiny.yaml").write_text("models: {}\n")
    done = tried.run()
    assert done.returncode == errors.ParamsError.exit_code
    assert "mistakes in params.yaml" in done.stdout
    assert "dvc repro" not in done.stdout
    assert tried.untouched()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(tried: Tried, tmp_path: Path, number: signal.Signals) -> None:
    params = tried.params | {"epoch": tried.params["epoch"] | {"observe": 100 + number}}
    tried.write(params)  # so that a stage runs
    said = tmp_path / "said"  # of a pipe the end would be seen only when all who write are gone
    with said.open("w") as stream:
        process = subprocess.Popen(**tried.command() | {"stdout": stream})
        wait_for(lambda: running(tried.scratch, b"stages.observe"))
        process.send_signal(number)
        assert process.wait(timeout=30) == 130
        assert not running(tried.scratch, b"")
    assert "interrupted" in said.read_text()
    assert tried.untouched()


def test_a_killed_command_takes_its_stages_along(tried: Tried) -> None:
    params = tried.params | {"epoch": tried.params["epoch"] | {"observe": 200}}
    tried.write(params)
    process = subprocess.Popen(**tried.command() | {"stdout": subprocess.DEVNULL})
    wait_for(lambda: running(tried.scratch, b"stages.observe"))
    process.kill()
    process.wait()
    wait_for(lambda: not running(tried.scratch, b""), seconds=4)
    # What it left is removed by a later run; see stages/lib/leftovers.py.
    for left in tried.scratch.iterdir():
        os.utime(left, (0, 0))
    assert tried.run().returncode == 0
    assert tried.untouched()


def running(folder: Path, words: bytes) -> list[int]:
    """Processes below `folder` with these words in their command."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            inside = (process / "cwd").readlink().is_relative_to(folder)
            if inside and words in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def wait_for(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_clone_that_is_kept_holds_the_packages(tried: Tried, tmp_path: Path) -> None:
    done = tried.run("--keep", str(tmp_path / "kept"))
    assert done.returncode == 0
    assert (tmp_path / f"kept/artifacts/packages/{ENGINE}/manifest.json").is_file()
    assert f"the clone is kept: {tmp_path}/kept" in done.stdout
    again = tried.run("--keep", str(tmp_path / "kept"))
    assert again.returncode == errors.ParamsError.exit_code
    assert "is there already, and not empty" in again.stdout
    inside = tried.run("--keep", "kept")
    assert inside.returncode == errors.ParamsError.exit_code
    assert "lies in the project" in inside.stdout
    assert tried.untouched()


def test_a_clone_has_what_lies_there_and_git_does_not_ignore(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for name in ("edited", "deleted", ".gitignore"):
        (root / name).write_text("ignored\n")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], cwd=root, check=True)
    (root / "edited").write_text("edited\n")
    (root / "deleted").unlink()
    (root / "ignored").touch()
    (root / "new é").mkdir()
    (root / "new é/file").touch()
    (root / "link").symlink_to("edited")
    folder = tmp_path / "folder"
    variant.clone(root, folder)
    found = {path.name for path in folder.iterdir()}
    assert found == {".git", ".gitignore", "edited", "link", "new é"}
    assert (folder / "edited").read_text() == "edited\n"
    assert (folder / "link").is_symlink()
    assert (folder / "new é/file").is_file()
    with pytest.raises(errors.HistoryError, match="git ls-files failed"):
        variant.clone(tmp_path, tmp_path / "another")
