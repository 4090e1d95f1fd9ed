# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Files and folders, recorded against made again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import pytest

from stages.verification import comparing
from stages.verification.verdicts import DIFFERENT, EQUIVALENT, IDENTICAL, Verdict

if TYPE_CHECKING:
    from pathlib import Path


def never(_one: Path, _other: Path) -> NoReturn:
    pytest.fail("there is no graph to compare")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("recorded", "rebuilt"):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1/model.plan").write_bytes(b"vtrt and some more bytes")
        (tmp_path / name / "report.json").write_text('{"cosine": 0.5}')
    return tmp_path / "recorded", tmp_path / "rebuilt"


def test_the_same_bytes(pair: tuple[Path, Path]) -> None:
    assert comparing.output(*pair, 1e-5, never) == Verdict(IDENTICAL)
    one, other = (folder / "report.json" for folder in pair)
    assert comparing.output(one, other, 1e-5, never) == Verdict(IDENTICAL)


def test_the_worst_file_decides_and_each_is_named(pair: tuple[Path, Path]) -> None:
    (pair[1] / "report.json").write_text('{"cosine": 0.5000000001}')
    found = comparing.output(*pair, 1e-5, never)
    assert found == Verdict(EQUIVALENT, ("report.json: cosine: 0.5 and 0.5000000001",))
    (pair[1] / "1/model.plan").write_bytes(b"vtrt and some more BYTES")
    found = comparing.output(*pair, 1e-5, never)
    assert found.kind == DIFFERENT
    assert found.what[0] == "1/model.plan: sections (1): plan by 5 bytes (24 and 24 bytes)"
    assert found.what[1] == "1/model.plan: numerics: not run, which needs a GPU"


def test_a_renamed_symbol_means_nothing(pair: tuple[Path, Path]) -> None:
    for folder, number in zip(pair, (12, 34), strict=True):
        (folder / "1/model.plan").write_bytes(b"vtrt __mye%d and __mye%d" % (number, number))
    found = comparing.output(*pair, 1e-5, never)
    line = "1/model.plan: 2 of the compiler's own symbols are renamed"
    assert found == Verdict(EQUIVALENT, (line,))


def test_files_that_came_and_went(pair: tuple[Path, Path]) -> None:
    (pair[1] / "report.json").rename(pair[1] / "reports.json")
    found = comparing.output(*pair, 1e-5, never)
    lines = ("files missing (1): report.json", "files more (1): reports.json")
    assert found == Verdict(DIFFERENT, lines)


def test_a_folder_with_a_graph_is_compared_as_one(pair: tuple[Path, Path]) -> None:
    for index, folder in enumerate(pair):
        (folder / "model.onnx").write_bytes(b"%d" % index)
    asked = Verdict(EQUIVALENT, ("as asked",))
    assert comparing.output(*pair, 1e-5, lambda *_: asked) == asked
