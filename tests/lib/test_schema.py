# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The schema of params.yaml is complete, and what JSON Schema says is put into words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from stages.lib import errors, schema
from stages.lib.schema import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PARAMS = schema.read(ROOT / "schemas/params.schema.json")
CONDITIONS = ("if", "then", "else")


def subschemas(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every schema below `node`, save those inside conditions."""
    yield path, node
    for keyword in ("properties", "$defs"):
        for name, child in node.get(keyword, {}).items():
            yield from subschemas(child, (*path, name))
    for keyword in ("items", "additionalProperties", "propertyNames"):
        if isinstance(node.get(keyword), dict):
            yield from subschemas(node[keyword], (*path, keyword))


ALL = list(subschemas(PARAMS))
MAPPINGS = [(path, node) for path, node in ALL if "properties" in node]


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(PARAMS)
    assert PARAMS["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert len(MAPPINGS) > 15


@pytest.mark.parametrize(("path", "node"), MAPPINGS, ids=lambda value: str(value)[:60])
def test_every_object_is_closed_and_every_key_required(path: Any, node: Any) -> None:
    assert node["additionalProperties"] is False, path
    # An override names nodes or ops: which of its keys are required hangs on the others.
    either = {"nodes", "ops"} if path[-1:] == ("override",) else set()
    assert node["required"] == [key for key in node["properties"] if key not in either], path
    assert node["type"] == "object", path


def test_every_key_has_a_description_that_an_editor_can_show() -> None:
    bare = [
        ".".join((*path, key))
        for path, node in MAPPINGS
        for key, child in node["properties"].items()
        if len(child.get("description", "")) < len("Of use.")
    ]
    assert bare == []


def test_open_maps_hold_their_names_to_a_pattern() -> None:
    for path, node in ALL:
        if isinstance(node.get("additionalProperties"), dict):
            assert "$ref" in node["propertyNames"], path
            assert node["minProperties"] == (0 if path[-1:] == ("interpreters",) else 1), path


def test_every_definition_is_used() -> None:
    text = json.dumps(PARAMS)
    unused = [name for name in PARAMS["$defs"] if f'"#/$defs/{name}"' not in text]
    assert unused == []


def test_backends_and_frameworks_are_those_that_exist() -> None:
    engine = PARAMS["$defs"]["engine"]["properties"]
    built = {path.parent.name for path in (ROOT / "stages/backends").glob("*/build.py")}
    assert built <= set(engine["backend"]["enum"])
    builders = {f"builder-{name}" for name in engine["backend"]["enum"]}
    assert builders <= set(PARAMS["$defs"])


OBJECT = {
    "type": "object",
    "properties": {
        "size": {"type": "integer", "description": "How large.", "minimum": 1, "maximum": 9},
        "kind": {"type": "string", "description": "Which.", "enum": ["red", "blue", "green"]},
    },
    "required": ["size", "kind"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("document", "rules", "expected"),
    [
        ({"size": 1, "kind": "red"}, OBJECT, []),
        ({"size": 1}, OBJECT, [((), "missing key 'kind': Which.", None)]),
        (
            {"size": 1, "kinds": "red"},
            OBJECT,
            [((), "unknown key 'kinds'. Did you mean 'kind'? Known here: size, kind", "kinds")],
        ),
        (
            {"size": 1, "kind": "bleu"},
            OBJECT,
            [(("kind",), "'bleu' is not allowed; allowed: blue, green, red. Did you mean 'blue'?")],
        ),
        (
            {"size": 10, "kind": "red"},
            OBJECT,
            [(("size",), "10 is out of range; allowed: from 1 to 9")],
        ),
        (
            {"size": 1.0, "kind": 5},
            OBJECT,
            [
                (("size",), "expected a whole number, found the number 1.0"),
                (("kind",), "expected text, found the number 5"),
            ],
        ),
        (True, {"type": "integer"}, [((), "expected a whole number, found true")]),
        ([], {"type": ["object", "null"]}, [((), "expected a mapping or null, found a list")]),
        (
            float("nan"),
            {"type": "number"},
            [((), "expected a number, found nan, no finite number")],
        ),
        (
            float("inf"),
            {"type": "number"},
            [((), "expected a number, found inf, no finite number")],
        ),
        (
            50,
            {"exclusiveMinimum": 50, "maximum": 100},
            [((), "50 is out of range; allowed: above 50 to 100")],
        ),
        (
            "a\n",
            {"pattern": "^a$", "description": "Only a."},
            [((), "'a\\n' is not allowed. Only a.")],
        ),
        ("\u0663", {"pattern": r"^\d$"}, [((), "'\u0663' is not allowed.")]),
        ([], {"minItems": 1}, [((), "needs at least 1, has 0.")]),
        ([1, 2, 1], {"uniqueItems": True}, [((), "1 stands twice")]),
        (3, {"enum": [1, 2]}, [((), "3 is not allowed; allowed: 1, 2.")]),
        (None, {"const": "x"}, [((), "null is not allowed; allowed: x.")]),
        (
            {"A": 1},
            {"propertyNames": {"pattern": "^[a-z]$", "description": "Lower case."}},
            [((), "the name 'A' is not allowed. Lower case.", "A")],
        ),
        (
            {"a": [{"b": 1}]},
            {"properties": {"a": {"items": {"properties": {"b": {"type": "string"}}}}}},
            [(("a", 0, "b"), "expected text, found the number 1")],
        ),
        (
            {"a": 1, "b": 2},
            {
                "properties": {"b": {"type": "integer"}},
                "if": {"properties": {"a": {"const": 1}}},
                "then": {"properties": {"b": {"type": "null", "description": "Not with a 1."}}},
            },
            [(("b",), "expected null, found the number 2. Not with a 1.")],
        ),
        (
            {"a": "x"},
            {"anyOf": [{"type": "array"}, {"properties": {"a": {"type": "integer"}}}]},
            [((), "expected a whole number, found the text 'x'")],
        ),
    ],
)
def test_messages(document: Any, rules: dict[str, Any], expected: list[tuple[Any, ...]]) -> None:
    found = schema.problems(document, rules)
    told = [(problem.path, problem.message, problem.key) for problem in found]
    assert told == [(*row, None)[:3] for row in expected]


def test_a_wrong_type_carries_what_was_expected() -> None:
    [problem] = schema.problems("1", {"type": ["integer", "null"]})
    assert problem == Problem(
        (), "expected a whole number or null, found the text '1'", None, ("integer", "null")
    )


def test_a_wrong_artifact_is_refused_with_all_problems(tmp_path: Path) -> None:
    path = tmp_path / "thing.schema.json"
    path.write_text(json.dumps(OBJECT))
    schema.check({"size": 1, "kind": "red"}, path, "thing.json")
    with pytest.raises(errors.ArtifactError, match=r"thing\.json: size: 0 is out of range") as told:
        schema.check({"size": 0, "hue": "red"}, path, "thing.json")
    assert "thing.json: root: missing key 'kind'" in told.value.what
    assert "thing.json: root: unknown key 'hue'" in told.value.what
    assert "3 in all" in told.value.what


@pytest.mark.parametrize("text", [None, "{"])
def test_an_unreadable_schema_is_an_error_of_its_own(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "gone.schema.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(errors.ArtifactError, match=r"gone\.schema\.json cannot be read") as told:
        schema.read(path)
    assert "git checkout" in told.value.mend
