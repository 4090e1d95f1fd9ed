# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Our values are DVC's values, and every one of them knows its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dvc.utils.serialize import parse_yaml
from hypothesis import given
from hypothesis import strategies as st

from stages.lib import marked

HOSTILE = [
    *("yes", "no", "on", "off", "y", "True", "TRUE", "true", "~", "null", "Null", "nul", ""),
    *("010", "0o10", "0o9", "08", "0x1F", "0b11", "'0b11'", "1_000", "1__0", "_1", "1,000", "+1"),
    *("1e-5", "1.0e-5", "1E5", "1.", ".5", "-.5", "1e400", ".inf", "-.INF", ".nan", "NaN", "3.10"),
    *("12:30:00", "2001-01-01", "2001-01-01T10:00:00Z", "2.4", "2.4.6", "1.7.1.116", '"3.11"'),
    *("{=: 1}", "{<<: {a: 1}, b: 2}", "&a x", "!!str 3", "!!int '3'", "!!binary aGk="),
    *("|\n  text", ">\n  text", "'it''s'", '"\\u263a"', "é", "a#b", "a #b", "- x", "!!set {a, b}"),
]
REFUSED = [
    "=",
    "[=]",
    "<<",
    "!foo x",
    "*nobody",
    "2001-13-45",
    "!!int x",
    "!!bool x",
    "[1",
    "{a: 1, a: 2}",
]


def same(ours: Any, theirs: Any) -> bool:
    """Equal in value and type; NaN equals NaN, and 1 is neither 1.0 nor true."""
    return repr(ours) == repr(theirs)


def dvc_values(text: str) -> Any:
    return parse_yaml(text, "params.yaml")


@pytest.mark.parametrize("scalar", HOSTILE)
def test_hostile_scalars_have_the_values_of_dvc(scalar: str) -> None:
    text = f"key:\n  {scalar}\n" if scalar == "- x" else f"key: {scalar}\n"
    parsed = marked.parse(text)
    assert not parsed.faults
    assert same(parsed.data, dvc_values(text))


@pytest.mark.parametrize("scalar", REFUSED)
def test_what_dvc_refuses_is_refused_with_a_place(scalar: str) -> None:
    text = f"# first line\nkey: {scalar}\n"
    with pytest.raises(Exception):  # noqa: B017, PT011  DVC lets ruamel's ValueErrors through
        dvc_values(text)
    try:
        faults = marked.parse(text).faults
    except marked.MalformedError as error:
        faults = (error.fault,)
    assert [fault.line >= 2 and fault.column >= 1 for fault in faults] == [True]


LETTERS = "abeinosxyzENOXY0123456789_.:+-~'\"=#,[]{}<>&*!|%@ \t\n"


@given(st.text(LETTERS, max_size=24))
def test_any_text_gives_the_values_of_dvc_or_a_fault(value: str) -> None:
    text = f"key: {value}\n"
    try:
        theirs = dvc_values(text)
    except Exception:
        theirs = None
    try:
        ours = marked.parse(text)
    except marked.MalformedError:
        ours = None
    assert same(ours.data, theirs) or ours.faults if ours else theirs is None


WORDS = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
)
DOCUMENTS = st.dictionaries(
    WORDS,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
        max_leaves=12,
    ),
    min_size=1,
    max_size=4,
)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return [leaf for key, inner in pairs for leaf in leaves(inner, (*path, key))]
    return [(path, value)]


@given(DOCUMENTS, st.sampled_from([None, 2]))
def test_any_document_has_the_values_of_dvc_at_their_places(
    document: Any, indent: int | None
) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=False)  # JSON is YAML
    parsed = marked.parse(text)
    assert not parsed.faults
    assert same(parsed.data, dvc_values(text))
    lines = text.split("\n")
    for path, value in leaves(parsed.data):
        line, column = parsed.where(path)
        typed = parsed.scalar(path)
        if isinstance(value, str):
            assert typed == (value, True)
            assert lines[line - 1][column - 1 :].startswith(json.dumps(value, ensure_ascii=False))
        elif value is not None and not isinstance(value, dict | list):
            assert typed is not None
            assert lines[line - 1][column - 1 :].startswith(typed[0])


TEXT = """\
a: &base
  b: [1, two]
  c:
    - d: 3
      e:
    - 4
f:
  <<: *base
  b: own
"""


@pytest.mark.parametrize(
    ("path", "key", "place"),
    [
        ((), None, (1, 1)),
        (("a",), None, (1, 4)),
        (("a", "b"), None, (2, 6)),
        (("a", "b", 1), None, (2, 10)),
        (("a", "c"), None, (3, 3)),
        (("a", "c", 0), None, (4, 7)),
        (("a", "c", 0), "d", (4, 7)),
        (("a", "c", 0, "d"), None, (4, 10)),
        (("a", "c", 0, "e"), None, (5, 9)),
        (("a", "c", 1), None, (6, 7)),
        (("f", "b"), None, (9, 6)),
        (("f", "c", 1), None, (6, 7)),
        (("f",), "b", (9, 3)),
        (("f", "gone", "deeper"), None, (7, 1)),
    ],
)
def test_places(path: tuple[str | int, ...], key: str | None, place: tuple[int, int]) -> None:
    parsed = marked.parse(TEXT)
    assert parsed.data["f"] == {"b": "own", "c": [{"d": 3, "e": None}, 4]}
    assert parsed.where(path, key) == place


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "the file is empty"),
        ("# only a comment\n", 1, 1, "the file is empty"),
        ("a: 1\nb: [1\nc: 2\n", 3, 2, "did not find expected ',' or ']', while parsing a flow seq"),
        ("a:\n\tb: 1\n", 2, 1, "this line begins with a tab; YAML indents with spaces"),
        ("a: 1\n>>>>>>> x\n<<<<<<< HEAD\n", 3, 1, "a Git merge conflict that nobody has resolved"),
        ("a: 1\n---\nb: 2\n", 2, 1, "found another document"),
        ("a: 1\nb: \x07\n", 2, 4, "the control character '\\x07' is not allowed"),
        ("a: &x [1, *x]\n", 1, 4, "contains itself, by an alias"),
        ("a: " + "[" * 70 + "]" * 70, 1, 68, "nested deeper than 64 levels"),
        ("? [a, b]\n: 1\n", 1, 3, "a key must be text, not a list or mapping"),
        ("a: !foo 1\n", 1, 4, "values have no tags here"),
        ("a: 1\nb: 2001-13-45\n", 2, 4, "'2001-13-45' is no valid timestamp"),
    ],
)
def test_malformed_files(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(marked.MalformedError) as caught:
        marked.parse(text)
    fault = caught.value.fault
    assert (fault.line, fault.column) == (line, column)
    assert message in fault.text


def test_aliases_cannot_fill_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(marked.MalformedError, match="aliases expand this to too many values"):
        marked.parse("\n".join(lines))


def test_all_bad_keys_are_found_at_once() -> None:
    parsed = marked.parse("a: {8: 1, 1.5: 2, ~: 3}\nb:\n  c: 1\n  true: 2\n  c: 3\n  c: 4\n")
    places = [(fault.line, fault.column) for fault in parsed.faults]
    assert places == [(1, 5), (1, 11), (1, 19), (4, 3), (5, 3), (6, 3)]
    assert 'put it in quotes: "1.5"' in parsed.faults[1].text
    assert parsed.faults[-1].text == "duplicate key 'c': it is already in line 3"
