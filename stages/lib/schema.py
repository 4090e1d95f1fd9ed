# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""JSON Schema (draft 2020-12) with messages for people: what is wrong, and what is allowed."""

from __future__ import annotations

import functools
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.lib import errors, wording

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Where = tuple[str | int, ...]
_Error = Any  # jsonschema's ValidationError, whose stubs make every attribute optional

_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
_BOUNDS = {
    "minimum": "from",
    "exclusiveMinimum": "above",
    "maximum": "to",
    "exclusiveMaximum": "below",
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a document.

    Attributes:
        path: where, as keys and list positions from the root.
        message: what is wrong and what would be right, without the path.
        key: the key of the mapping at `path` that is wrong, where it is a key and not the value.
        expected: the JSON types that were expected, where the type is wrong.
    """

    path: Where
    message: str
    key: str | None = None
    expected: tuple[str, ...] = ()


def problems(document: Any, schema: dict[str, Any]) -> list[Problem]:
    """All that `schema` finds wrong with `document`.

    Stricter than JSON Schema where Python would be looser: 2.0 is no integer, NaN and infinity are
    no numbers, and `$` in a pattern is the end, not the end before a newline.
    """
    values: dict[Where, Problem] = {}
    keys: dict[Problem, None] = {}
    for error in _validator()(schema).iter_errors(document):
        for problem in _translate(error):
            if problem.key is not None or error.validator == "required":
                keys.setdefault(problem)
            else:
                # A condition (`then`) comes after the general rule, and says it more precisely.
                values[problem.path] = problem
    return [*values.values(), *keys]


def check(document: Any, schema_path: Path, name: str, mend: str | None = None) -> None:
    """Check an artifact, such as a report, against its schema.

    Args:
        document: the artifact.
        schema_path: its schema.
        name: of the artifact, for messages.
        mend: how to mend a file that no stage makes.

    Raises:
        ArtifactError: it does not fit; the message lists all problems by path.
    """
    if found := problems(document, read(schema_path)):
        rows = [f"{name}: {wording.place(item.path) or 'root'}: {item.message}" for item in found]
        msg = "\n".join([*rows, f"{len(rows)} in all, against {schema_path}"])
        raise errors.ArtifactError(msg, mend=mend or f"delete {name}; `make repro` makes it again")


def read(path: Path) -> dict[str, Any]:
    """Read a schema.

    Raises:
        ArtifactError: it is not there, or not JSON.
    """
    try:
        schema: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        msg = f"the schema {path} cannot be read: {error}"
        raise errors.ArtifactError(msg, mend=f"`git checkout -- {path}`") from None
    return schema


@functools.cache
def _validator() -> Any:
    import jsonschema

    base = jsonschema.Draft202012Validator
    types = base.TYPE_CHECKER.redefine_many({"integer": _is_integer, "number": _is_number})
    extend: Any = jsonschema.validators.extend
    return extend(base, {"pattern": _pattern}, type_checker=types)


def _is_integer(_: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(_: Any, value: Any) -> bool:
    return _is_integer(_, value) or (isinstance(value, float) and math.isfinite(value))


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[_Error]:
    from jsonschema.exceptions import ValidationError

    ending = pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern
    if isinstance(value, str) and not re.search(ending, value, re.ASCII):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _translate(error: _Error) -> Iterator[Problem]:
    """One error of jsonschema as problems; none where another error says it better."""
    path: Where = tuple(error.absolute_path)
    if error.validator == "additionalProperties":
        yield from _unknown(error, path)
    elif error.validator == "required":
        yield from _missing(error, path)
    elif "propertyNames" in error.relative_schema_path:
        key = str(error.instance)
        yield Problem(path, f"the name {wording.short(key)} is not allowed.{_why(error)}", key)
    elif error.validator == "type":
        yield _wrong_type(error, path)
    elif _has_right_type(error):
        yield Problem(path, _value(error))


def _unknown(error: _Error, path: Where) -> Iterator[Problem]:
    known = list(error.schema.get("properties", {}))
    missing = [key for key in known if key not in error.instance]
    for key in error.instance:
        if key not in known:
            near = wording.suggestion(key, missing) or wording.suggestion(key, known)
            text = f"unknown key {wording.short(key)}.{near} Known here: {', '.join(known)}"
            yield Problem(path, text, key)


def _missing(error: _Error, path: Where) -> Iterator[Problem]:
    known = error.schema.get("properties", {})
    missing = [key for key in error.validator_value if key not in error.instance]
    # A misspelt key is one mistake; it is reported as an unknown key.
    closed = error.schema.get("additionalProperties") is False
    strange = [key for key in error.instance if closed and key not in known]
    misspelt = {wording.nearest(key, missing) for key in strange}
    for key in missing:
        if key not in misspelt:
            purpose = known.get(key, {}).get("description", "")
            yield Problem(path, f"missing key {key!r}" + (f": {purpose}" if purpose else ""))


def _wrong_type(error: _Error, path: Where) -> Problem:
    types = error.validator_value
    expected = (types,) if isinstance(types, str) else tuple(types)
    names = " or ".join(_TYPES[name] for name in expected)
    text = f"expected {names}, found {wording.found(error.instance)}"
    reason = f".{_why(error)}" if _conditional(error) else ""
    return Problem(path, text + reason, None, expected)


def _has_right_type(error: _Error) -> bool:
    types = error.schema.get("type") if isinstance(error.schema, dict) else None
    return not types or _validator()({"type": types}).is_valid(error.instance)


def _value(error: _Error) -> str:
    value, rules, rule, limit = error.instance, error.schema, error.validator, error.validator_value
    if rule in ("enum", "const"):
        text = _not_listed(error, limit if rule == "enum" else [limit])
    elif rule in _BOUNDS:
        bounds = [f"{word} {rules[key]}" for key, word in _BOUNDS.items() if key in rules]
        text = f"{value!r} is out of range; allowed: {' '.join(bounds)}"
    elif rule == "pattern":
        text = f"{wording.short(value)} is not allowed.{_why(error)}"
    elif rule in ("minItems", "minProperties", "minLength"):
        text = f"needs at least {limit}, has {len(value)}.{_why(error)}"
    elif rule == "uniqueItems":
        twice = next(item for index, item in enumerate(value) if item in value[:index])
        text = f"{twice!r} stands twice"
    elif rule in ("anyOf", "oneOf") and error.context:
        deepest = max(error.context, key=lambda inner: len(inner.absolute_path))
        text = next((problem.message for problem in _translate(deepest)), error.message)
    else:
        text = f"{error.message}.{_why(error)}"
    return text


def _not_listed(error: _Error, allowed: list[Any]) -> str:
    value = error.instance
    texts = sorted(item for item in allowed if isinstance(item, str))
    names = [*texts, *(json.dumps(item) for item in allowed if not isinstance(item, str))]
    plain = isinstance(value, str | int | float) and not isinstance(value, bool)
    shown = wording.short(value) if plain else wording.found(value)
    reason = _why(error) if _conditional(error) else ""
    near = wording.suggestion(value, texts)
    return f"{shown} is not allowed; allowed: {', '.join(names)}.{reason}{near}"


def _conditional(error: _Error) -> bool:
    return bool({"then", "else"} & set(error.absolute_schema_path))


def _why(error: _Error) -> str:
    text = error.schema.get("description", "") if isinstance(error.schema, dict) else ""
    return f" {text}" if text else ""
