# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""params.yaml: read exactly as DVC reads it, and checked each time it is read.

Each stage checks again, because `dvc repro -s` runs a stage without `check`.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib import errors, layout, marked, relations, schema, source_guess, wording

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NUMBER = re.compile(r"[-+]?(\d[\d_]*)?\.?\d+([eE][-+]?\d+)?")
_TRUTH_WORDS = ("yes", "no", "on", "off", "y", "n", "true", "false")


@dataclass(frozen=True, eq=False)
class Params:
    """The values of a params.yaml that has been checked."""

    _marked: marked.Marked

    def param(self, key: str) -> Any:
        """The value of a dotted key, such as `engines.digits-int8.precision`; a copy.

        Raises:
            ParamsError: there is no such model, engine, profile or key; near names are given.
        """
        value, done = self._marked.data, ""
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                raise _no_such(part, done, value)
            value, done = value[part], f"{done}.{part}".removeprefix(".")
        return copy.deepcopy(value)

    def values(self) -> dict[str, Any]:
        """All of it; a copy."""
        return copy.deepcopy(self._marked.data)

    def where(self, *path: str | int) -> str:
        """`params.yaml:<line>:<column>` of a value."""
        line, column = self._marked.where(path)
        return f"{layout.PARAMS}:{line}:{column}"


def load(root: Path = Path()) -> Params:
    """Read and check `params.yaml` in `root`, against the schema in `root`.

    Raises:
        ParamsError: anything is wrong with it; the message has a line for each mistake, with line
            and column, sorted.
        ArtifactError: the schema cannot be read.
    """
    try:
        document = marked.parse(_read(root / layout.PARAMS))
    except marked.MalformedError as error:
        raise _error([error.fault]) from None
    rules = schema.read(root / layout.PARAMS_SCHEMA)
    found = schema.problems(document.data, rules)
    found = relations.foreign_settings(found, rules, document.data)
    found = source_guess.told(found, document.data)
    found += relations.problems(document.data, found)
    if faults := [*document.faults, *_placed(document, found)]:
        raise _error(faults)
    return Params(document)


def short(used: Mapping[str, Any]) -> dict[str, Any]:
    """What a stage read, by the last word of each key; the shapes of a profile are `shapes`."""
    return {
        "shapes" if key.startswith("profiles.") else key.rpartition(".")[2]: value
        for key, value in used.items()
    }


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        msg = f"{path} is not there"
        mend = f"run it in the project's root, or `git checkout -- {layout.PARAMS}`"
        raise errors.ParamsError(msg, mend=mend) from None
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        fault = marked.Fault(
            before.count(b"\n") + 1,
            len(before) - before.rfind(b"\n"),
            "not UTF-8: save it as UTF-8",
        )
        raise _error([fault]) from None


def _placed(document: marked.Marked, found: Iterable[schema.Problem]) -> Iterable[marked.Fault]:
    told = {(fault.line, fault.column) for fault in document.faults}
    for problem in found:
        line, column = document.where(problem.path, problem.key)
        if (line, column) in told:
            continue  # a key that is no text: nothing to say of the text it would be
        prefix = f"{place}: " if (place := wording.place(problem.path)) else ""
        hint = _hint(problem, document)
        message = f"{problem.message.removesuffix('.')}. {hint}" if hint else problem.message
        yield marked.Fault(line, column, prefix + message)


def _error(faults: Iterable[marked.Fault]) -> errors.ParamsError:
    ordered = sorted(set(faults))
    rows = [f"{layout.PARAMS}:{fault.line}:{fault.column}: {fault.text}" for fault in ordered]
    count = "1 mistake" if len(rows) == 1 else f"{len(rows)} mistakes"
    msg = "\n".join([*rows, f"{count} in {layout.PARAMS}"])
    return errors.ParamsError(msg, mend=f"edit {layout.PARAMS}, then `python -m stages.check`")


def _no_such(part: str, done: str, value: Any) -> errors.ParamsError:
    known = list(value) if isinstance(value, dict) else []
    what = done.removesuffix("s") if done in ("models", "engines", "profiles") else "key"
    inside = f" in {done}" if done and what == "key" else ""
    near = wording.suggestion(part, known)
    names = ", ".join(known) or "nothing"
    msg = f"{layout.PARAMS} has no {what} {part!r}{inside}.{near} There is: {names}"
    return errors.ParamsError(msg, mend=f"use one of these names, or add it to {layout.PARAMS}")


def _hint(problem: schema.Problem, document: marked.Marked) -> str:
    """What YAML made of a value of the wrong type, where that may surprise; or nothing."""
    typed = document.scalar(problem.path) if problem.expected else None
    if typed is None:
        return ""
    (text, quoted), expected = typed, problem.expected
    if not text and not quoted:
        hint = "Nothing is written there"
    elif "array" in expected:
        hint = "Write a list, as `- item` lines or as [item]"
    elif "boolean" in expected and text.lower() in _TRUTH_WORDS:
        hint = f"In YAML 1.2 {text} is text: write true or false, without quotes"
    elif {"integer", "number"} & set(expected):
        hint = _number_hint(text, quoted=quoted)
    elif "string" in expected and not quoted:
        hint = f'YAML makes that of {text}: put it in quotes to have text, "{text}"'
    else:
        hint = ""
    return hint


def _number_hint(text: str, *, quoted: bool) -> str:
    if quoted and _NUMBER.fullmatch(text):
        return "Take the quotes away"
    if not quoted and _NUMBER.fullmatch(text) and float(text.replace("_", "")).is_integer():
        return f"Write {int(float(text.replace('_', '')))}, without a point or an exponent"
    return "A number has no unit, comma or fraction" if text[:1].isdigit() else ""
