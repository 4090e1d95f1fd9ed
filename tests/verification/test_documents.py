# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Other bytes of the same meaning are equivalent, and named; another meaning is different."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from stages.verification import documents
from stages.verification.verdicts import DIFFERENT, EQUIVALENT, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RTOL = 1e-5
DIGESTS = ("a" * 64, "b" * 64)


def observed(**changes: Any) -> dict[str, np.ndarray[Any, Any]]:
    counts = np.array([[900_000, 100_000], [500_000, 500_000]], np.int64)
    names = np.array(["relu", "add"])
    return {"names": names, "counts": counts, "maxima": np.array([1, 8], np.float32), **changes}


@pytest.mark.parametrize(
    ("changes", "kind", "line"),
    [
        ({"maxima": np.array([1, 8 * (1 + 1e-7)], np.float32)}, EQUIVALENT, "add"),
        ({"maxima": np.array([1.001, 8], np.float32)}, DIFFERENT, "relu"),
        ({"maxima": np.array([1, np.inf], np.float32)}, DIFFERENT, "add"),
        ({"maxima": np.array([1, np.nan], np.float32)}, DIFFERENT, "add"),
        # One value of a million fell into the next bin; then a tenth of them did.
        ({"counts": np.array([[899_999, 100_001], [500_000] * 2], np.int64)}, EQUIVALENT, "relu"),
        ({"counts": np.array([[800_000, 200_000], [500_000] * 2], np.int64)}, DIFFERENT, "relu"),
        ({"names": np.array(["relu", "sum"])}, DIFFERENT, "names"),
    ],
)
def test_observations(tmp_path: Path, changes: dict[str, Any], kind: str, line: str) -> None:
    np.savez(tmp_path / "a.npz", allow_pickle=False, **observed())
    np.savez(tmp_path / "b.npz", allow_pickle=False, **observed(**changes))
    found = documents.arrays(tmp_path / "a.npz", tmp_path / "b.npz", RTOL)
    assert found.kind == kind
    assert next(iter(changes)) in found.what[0]
    assert line in found.what[0]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"counts": [[899_999, 100_001]]}, "counts: moved by 1.0e-06, tensors (1): add"),
        ({"negative": [[7, 1]]}, "negative: moved by 1.0e-06, tensors (1): add"),
        ({"zeros": [6]}, "zeros: moved by 1.0e-06, tensors (1): add"),
        (
            {"channel_maxima": np.array([1, 2, 8 * (1 + 1e-7)], np.float32)},
            "channel_maxima: moved by 1.2e-07, tensors (1): add",
        ),
    ],
)
def test_tensors_are_named_where_only_some_have_a_histogram(
    tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    # As stages/calibration/observations.py lays them out: two tensors, the second with counts.
    before = observed(
        ranged=np.array([1]),
        counts=np.array([[900_000, 100_000]]),
        negative=np.array([[7, 0]]),
        zeros=np.array([5]),
        channel_offsets=np.array([0, 1, 3]),
        channel_maxima=np.array([1, 2, 8], np.float32),
    )
    after = before | {name: np.asarray(value) for name, value in changes.items()}
    np.savez(tmp_path / "a.npz", allow_pickle=False, **before)
    np.savez(tmp_path / "b.npz", allow_pickle=False, **after)
    found = documents.arrays(tmp_path / "a.npz", tmp_path / "b.npz", RTOL)
    assert found == Verdict(EQUIVALENT, (line,))


def test_observations_of_other_tensors(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", allow_pickle=False, **observed())
    np.savez(tmp_path / "b.npz", allow_pickle=False, **observed(counts=np.zeros((3, 2), np.int64)))
    found = documents.arrays(tmp_path / "a.npz", tmp_path / "b.npz", RTOL)
    assert found == Verdict(DIFFERENT, ("other arrays, or of other shapes",))


@pytest.mark.parametrize(
    ("text", "kind", "line"),
    [
        ("TRT-101601-MinMaxCalibration\nx: 3c010a15\ny: 3f800000\n", EQUIVALENT, "x by 1.2e-07"),
        ("TRT-101601-MinMaxCalibration\nx: 3d010a14\ny: 3f800000\n", DIFFERENT, "x by 3.0e+00"),
        ("TRT-101601-MinMaxCalibration\nz: 3c010a14\ny: 3f800000\n", DIFFERENT, "other tensors"),
        ("TRT-80600-MinMaxCalibration\nx: 3c010a14\ny: 3f800000\n", DIFFERENT, "another header"),
    ],
)
def test_caches(tmp_path: Path, text: str, kind: str, line: str) -> None:
    (tmp_path / "a").write_text("TRT-101601-MinMaxCalibration\nx: 3c010a14\ny: 3f800000\n")
    (tmp_path / "b").write_text(text)
    found = documents.cache(tmp_path / "a", tmp_path / "b", RTOL)
    assert found.kind == kind
    assert line in found.what[0]


@pytest.mark.parametrize(
    ("a", "b", "kind", "lines"),
    [
        ({"x": 1.0}, {"x": 1.0 + 1e-9}, EQUIVALENT, ("x: 1.0 and 1.000000001",)),
        ({"x": 1.0}, {"x": 1.1}, DIFFERENT, ("x: 1.0 and 1.1",)),
        ({"x": 1}, {"x": 1.0}, DIFFERENT, ("x: 1 and 1.0",)),
        ({"x": [1, 2]}, {"x": [1]}, DIFFERENT, ("x: [1, 2] and [1]",)),
        ({"x": [{"y": "a"}]}, {"x": [{"y": "b"}]}, DIFFERENT, ('x[0].y: "a" and "b"',)),
        ({"x": 1}, {}, DIFFERENT, ("x: 1 and null",)),
        ({"x": None}, {}, EQUIVALENT, ("the same values, written otherwise",)),
        (
            {"code": {"build": {"stages/build.py": DIGESTS[0]}}},
            {"code": {"build": {}}},
            EQUIVALENT,
            ("other code files (1): stages/build.py",),
        ),
        (
            {"files": {"provenance.json": {"bytes": 1}}},
            {"files": {"provenance.json": {"bytes": 2}}},
            EQUIVALENT,
            (documents.REPEATED,),
        ),
        ({"x": DIGESTS[0]}, {"x": DIGESTS[1]}, EQUIVALENT, (documents.REPEATED,)),
        ({"x": DIGESTS[0]}, {"x": "none"}, DIFFERENT, (f'x: "{"a" * 56}... and "none"',)),
    ],
)
def test_json(tmp_path: Path, a: Any, b: Any, kind: str, lines: tuple[str, ...]) -> None:
    (tmp_path / "a").write_text(json.dumps(a))
    (tmp_path / "b").write_text(json.dumps(b))
    assert documents.document(tmp_path / "a", tmp_path / "b", RTOL) == Verdict(kind, lines)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('<svg width="100.0000001">1e-3</svg>', EQUIVALENT),
        ('<svg width="101">1e-3</svg>', DIFFERENT),
        ('<svg height="100">1e-3</svg>', DIFFERENT),
    ],
)
def test_texts(tmp_path: Path, text: str, kind: str) -> None:
    (tmp_path / "a").write_text('<svg width="100.0">1e-3</svg>')
    (tmp_path / "b").write_text(text)
    assert documents.text(tmp_path / "a", tmp_path / "b", RTOL).kind == kind


def test_infinity_of_the_other_sign_is_different(tmp_path: Path) -> None:
    for name, sign in (("a.npz", 1), ("b.npz", -1)):
        np.savez(tmp_path / name, x=np.array([1, sign * np.inf], np.float32))
    assert documents.arrays(tmp_path / "a.npz", tmp_path / "b.npz", RTOL).kind == DIFFERENT


@pytest.mark.parametrize(
    ("a", "b", "by"),
    [([], [], 0), ([4, -2], [4, -1], 0.25), ([0], [1], np.inf), ([np.nan], [np.nan], 0)],
)
def test_distance(a: list[float], b: list[float], by: float) -> None:
    compare: Callable[..., float] = documents.relative
    assert compare(np.array(a), np.array(b)) == by
