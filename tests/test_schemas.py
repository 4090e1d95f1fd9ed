# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The schemas of artifacts: what they describe, what they take, and what they must refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from stages.lib import schema

SCHEMAS = Path(__file__).parents[1] / "schemas"
KINDS = sorted(path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.schema.json"))
KINDS_WITH_EXAMPLES = [
    "channel", "decision", "device", "facts", "latency", "manifest", "pointer", "promotion",
    "provenance", "ranges", "report", "verdict",
]  # fmt: skip


def examples(folder: str) -> list[Any]:
    """Examples of artifacts; those of params.yaml have a test of their own."""
    found = sorted((SCHEMAS / "examples" / folder).glob("*.json"))
    return [
        pytest.param(path, id=path.stem) for path in found if not path.stem.startswith("params-")
    ]


def rules(path: Path) -> dict[str, Any]:
    kind = path.stem.partition("-")[0]
    return schema.read(SCHEMAS / f"{kind}.schema.json")


@pytest.mark.parametrize("kind", KINDS)
def test_schema_is_a_closed_and_described_schema(kind: str) -> None:
    document = schema.read(SCHEMAS / f"{kind}.schema.json")
    jsonschema.Draft202012Validator.check_schema(document)
    assert document["additionalProperties"] is False
    assert document["description"]
    assert sorted(document["required"]) == sorted(document["properties"])
    for name, value in document["properties"].items():
        assert "description" in value or "$ref" in value, name


@pytest.mark.parametrize("path", examples("good"))
def test_good_example_is_taken(path: Path) -> None:
    assert schema.problems(json.loads(path.read_bytes()), rules(path)) == []


@pytest.mark.parametrize("path", examples("bad"))
def test_bad_example_is_refused(path: Path) -> None:
    assert schema.problems(json.loads(path.read_bytes()), rules(path))


@pytest.mark.parametrize("kind", KINDS_WITH_EXAMPLES)
def test_each_kind_has_good_and_bad_examples(kind: str) -> None:
    for folder in ("good", "bad"):
        assert list((SCHEMAS / "examples" / folder).glob(f"{kind}-*.json")), folder


@pytest.mark.parametrize("kind", KINDS_WITH_EXAMPLES)
def test_every_key_of_the_root_is_needed(kind: str) -> None:
    document = schema.read(SCHEMAS / f"{kind}.schema.json")
    good = json.loads(next((SCHEMAS / "examples/good").glob(f"{kind}-*.json")).read_bytes())
    for key in document["required"]:
        cut = {name: value for name, value in good.items() if name != key}
        assert any(repr(key) in problem.message for problem in schema.problems(cut, document)), key
