# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What differs between two plans: sections, names, or all of it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest

from stages.backends import plans

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Compare = Callable[[bytes, bytes], dict[str, Any] | None]

ENGINE = b"a=__mye12 b=__mye47 c=__mye12 d=17"
WEIGHTS = bytes(range(64))


def plan(engine: bytes = ENGINE, weights: bytes = WEIGHTS) -> bytes:
    """Bytes laid out as TensorRT-RTX 1.7.1.116 does; the real thing is in test_isolation.py."""
    start = 64 + 48
    table = struct.pack("<8sQQ", b"NGNE", start, len(engine))
    table += struct.pack("<8sQQ", b"THGW", start + len(engine), len(weights))
    return b"vtrt".ljust(64, b"\0") + table + engine + weights


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    def run(a: bytes, b: bytes) -> dict[str, Any] | None:
        (tmp_path / "a").write_bytes(a)
        (tmp_path / "b").write_bytes(b)
        return plans.difference(tmp_path / "a", tmp_path / "b")

    return run


def test_equal(compare: Compare) -> None:
    assert compare(plan(), plan()) is None


@pytest.mark.parametrize(
    ("a", "b", "sections", "symbols", "only"),
    [
        # Numbers of symbols, the same where they were the same.
        (plan(), plan(ENGINE.replace(b"12", b"99")), {"ENGN": 4}, 2, True),
        # Two symbols that became one: the engine is another.
        (plan(), plan(ENGINE.replace(b"47", b"12")), {"ENGN": 2}, 1, False),
        # A symbol renamed, and something else changed behind it.
        (plan(), plan(ENGINE.replace(b"12", b"99").replace(b"17", b"18")), {"ENGN": 5}, 2, False),
        (plan(), plan(weights=b"\1" + WEIGHTS[1:]), {"WGHT": 1}, 0, False),
        (plan(), plan(weights=WEIGHTS[1:]), {"header": 1, "WGHT": None}, 0, False),
        (plan(), b"ftrt" + plan()[4:], {"header": 1}, 0, False),
    ],
)
def test_different(
    compare: Compare, a: bytes, b: bytes, sections: object, symbols: int, *, only: bool
) -> None:
    assert compare(a, b) == {
        "bytes": [len(a), len(b)],
        "sections": sections,
        "symbols": symbols,
        "only_symbols": only,
    }


def test_without_a_table_all_is_one_section(compare: Compare) -> None:
    assert plans.sections(b"ftrt" * 40) == {"plan": (0, 160)}
    found = compare(b"ftrt" * 40, b"ftrt" * 39 + b"ftrx")
    assert found is not None
    assert found["sections"] == {"plan": 1}


def test_a_table_that_points_outside_is_none() -> None:
    assert plans.sections(plan()[:-1]) == {"plan": (0, len(plan()) - 1)}


def test_nothing_at_all(compare: Compare) -> None:
    assert compare(b"", b"") is None
    found = compare(b"", b"x")
    assert found is not None
    assert found["bytes"] == [0, 1]
