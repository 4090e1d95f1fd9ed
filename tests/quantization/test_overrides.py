# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Patterns over node names and op types."""

from __future__ import annotations

import pytest

from stages.lib import errors
from stages.quantization import overrides

NAMES = ["/head/Gemm", "/head/Add", "/body/Conv_1", "/body/Conv_10", "node_of_y"]
OPS = {"/head/Gemm": "Gemm", "/head/Add": "Add", "node_of_y": "Relu"}
OPS |= dict.fromkeys(("/body/Conv_1", "/body/Conv_10"), "Conv")


def kept(*patterns: str) -> dict[str, str]:
    wanted = [{"nodes": pattern, "precision": "fp32"} for pattern in patterns]
    return overrides.chosen(OPS, wanted, "engines.e.overrides")


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("/head/*", {"/head/Gemm", "/head/Add"}),
        ("/body/Conv_1", {"/body/Conv_1"}),
        ("/body/Conv_?", {"/body/Conv_1"}),
        ("*Conv*", {"/body/Conv_1", "/body/Conv_10"}),
        ("*", set(NAMES)),
        ("/[bh]*/[!C]*", {"/head/Gemm", "/head/Add"}),
    ],
)
def test_patterns_match_as_in_a_shell(pattern: str, matches: set[str]) -> None:
    assert kept(pattern) == dict.fromkeys(matches, "fp32")


def test_none_keep_nothing_and_several_add_up() -> None:
    assert kept() == {}
    assert set(kept("/head/Gemm", "node_*")) == {"/head/Gemm", "node_of_y"}


def test_a_later_pattern_wins() -> None:
    wanted = [{"nodes": "*", "precision": "fp32"}, {"nodes": "/head/*", "precision": "fp16"}]
    found = overrides.chosen(OPS, wanted, "k")
    assert found["/head/Gemm"] == "fp16"
    assert found["node_of_y"] == "fp32"


@pytest.mark.parametrize(
    ("pattern", "near"),
    [("/head/Gem", "/head/Gemm"), ("/HEAD/*", "/head/"), ("zzz", "/body/Conv_1")],
)
def test_a_pattern_that_matches_nothing_is_told_with_near_names(pattern: str, near: str) -> None:
    with pytest.raises(errors.GraphError, match="no node is called") as caught:
        kept("/head/*", pattern)
    assert caught.value.what.startswith(f"engines.e.overrides[1]: no node is called {pattern!r}")
    assert near in caught.value.what
    assert caught.value.mend == "correct the pattern at engines.e.overrides in params.yaml"


def test_ops_are_matched_too_and_the_order_decides() -> None:
    first = {"nodes": "/body/Conv_1", "precision": "fp16"}
    ops = {"ops": "C*", "precision": "bf16"}
    assert overrides.chosen(OPS, [first, ops], "k") == dict.fromkeys(
        ("/body/Conv_1", "/body/Conv_10"), "bf16"
    )
    found = overrides.chosen(OPS, [ops, first], "k")
    assert found == {"/body/Conv_1": "fp16", "/body/Conv_10": "bf16"}


@pytest.mark.parametrize("override", [{"nodes": "/head/Add"}, {"ops": "Relu"}, {"nodes": "node_*"}])
def test_int8_of_nothing_that_can_run_in_int8(override: dict[str, str]) -> None:
    told = r"k\[0\]: '.*' matches only (Add|Relu), which cannot run in int8; Conv, .* MatMul can"
    with pytest.raises(errors.GraphError, match=told):
        overrides.chosen(OPS, [{**override, "precision": "int8"}], "k")
    assert overrides.chosen(OPS, [{**override, "precision": "fp16"}], "k")
    assert overrides.chosen(OPS, [{"nodes": "*", "precision": "int8"}], "k")


def test_an_op_that_is_not_there_is_told_with_near_types() -> None:
    with pytest.raises(errors.GraphError, match=r"k\[0\]: no node is of type 'Convs'; .*: Conv$"):
        overrides.chosen(OPS, [{"ops": "Convs", "precision": "fp16"}], "k")
