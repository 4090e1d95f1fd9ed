# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The commit that holds all code that ran, in real Git repositories."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stages.lib import errors, files
from stages.promotion import git, history
from tests.promotions_zoo import GIT

FILES = {"stages/build.py": "one", "stages/lib/files.py": "two"}


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    for name, value in GIT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(root)
    run("init", "--quiet")
    return root


def run(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, check=True, text=True)
    return done.stdout.strip()


def commit(**changed: str) -> str:
    """Commit FILES, but for these: `build` or `files`."""
    for path, text in FILES.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(changed.get(Path(path).stem, text))
    run("add", "--all")
    run("commit", "--quiet", "--allow-empty", "--message", "more")
    return run("rev-parse", "HEAD")


def wanted(**digests: str) -> history.Code:
    found = {path: {digest(text)} for path, text in FILES.items()}
    return found | {f"stages/{name}.py": {digest(text)} for name, text in digests.items()}


def digest(text: str) -> str:
    path = Path("../text")
    path.write_text(text)
    return files.sha256(path)


def test_head_is_found_where_the_code_is_that_of_head() -> None:
    commit()
    Path("README").write_text("the code stays")
    expected = commit()
    assert history.search(wanted(), "e") == history.Search(expected, None)


def test_the_newest_commit_with_all_of_the_code_is_found() -> None:
    commit()
    expected = commit()
    for number in range(3):
        commit(build=f"later {number}")
    assert history.search(wanted(), "e").commit == expected


def test_code_that_is_not_committed_is_named() -> None:
    commit()
    found = history.search(wanted(build="edited"), "e")
    assert found.commit is None
    assert "stages/build.py as it ran: that code is not committed" in (found.reason or "")
    assert "files.py" not in (found.reason or "")


def test_code_that_was_never_there_together_is_refused() -> None:
    first = commit(build="old", files="old")
    commit(build="old", files="new")
    commit(build="new", files="new")
    run("checkout", "--quiet", first)
    commit(build="new", files="other")
    code = {"stages/build.py": {digest("new")}, "stages/lib/files.py": {digest("old")}}
    found = history.search(code, "e")
    assert found.commit is None
    assert "no commit has all code that ran" in (found.reason or "")


def test_stages_that_ran_different_versions_are_told() -> None:
    commit()
    code = wanted() | {"stages/build.py": {digest("one"), digest("older")}}
    assert "different versions of stages/build.py" in (history.search(code, "e").reason or "")


def test_a_commit_on_another_branch_does_not_count() -> None:
    commit(build="first")
    run("checkout", "--quiet", "-b", "other")
    commit()
    run("checkout", "--quiet", "-")
    assert history.search(wanted(), "e").commit is None


def test_a_merged_branch_counts() -> None:
    commit(build="first")
    main = run("branch", "--show-current")
    run("checkout", "--quiet", "-b", "other")
    expected = commit()
    commit(build="last")
    run("checkout", "--quiet", main)
    run("merge", "--quiet", "--no-ff", "--message", "merge", "other")
    assert history.search(wanted(), "e").commit == expected


def test_a_project_in_a_folder_of_a_larger_repository(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "inner").mkdir()
    monkeypatch.chdir(repository / "inner")
    expected = commit()
    assert history.search(wanted(), "e").commit == expected


def test_replaced_objects_do_not_pass_for_the_commit() -> None:
    true, false = commit(build="other"), commit()
    run("checkout", "--quiet", true)
    run("replace", true, false)
    assert history.search(wanted(), "e").commit is None


def test_a_shallow_clone_is_told_where_the_rest_is(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit()
    commit(build="later")
    run("clone", "--quiet", "--depth", "1", f"file://{repository}", "../shallow")
    monkeypatch.chdir(repository.parent / "shallow")
    assert "git fetch --unshallow" in (history.search(wanted(), "e").reason or "")


def test_no_repository_and_no_commit_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no commit here" in (history.search(wanted(), "e").reason or "")


def test_without_git_it_says_so(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    with pytest.raises(errors.HistoryError, match="git is not installed"):
        history.search(wanted(), "e")


def test_who_is_asked_of_git() -> None:
    assert git.who() == "Ada <ada@localhost>"


def test_who_without_a_name_is_told_how_to_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    run("config", "user.useConfigOnly", "true")
    with pytest.raises(errors.HistoryError, match="does not know who you are"):
        git.who()
