# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""in-toto statements with SLSA provenance: whether a document is one, and how two differ."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import STATEMENT_TYPE_URI, Statement

from stages.lib import files

if TYPE_CHECKING:
    from collections.abc import Iterator

TYPE = STATEMENT_TYPE_URI
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"

Document = dict[str, Any]


def problem(document: Any) -> str | None:
    """Why a document is no in-toto statement with SLSA provenance; None if it is one."""
    try:
        parsed = json_format.ParseDict(document, statement_pb2.Statement())
        Statement.copy_from_pb(parsed).validate()
        provenance = provenance_pb2.Provenance()
        json_format.ParseDict(json_format.MessageToDict(parsed.predicate), provenance)
    except (json_format.ParseError, ValueError, TypeError, AttributeError) as error:
        return " ".join(str(error).split())
    if parsed.predicate_type != PREDICATE_TYPE:
        return f"the predicate is {parsed.predicate_type!r}, not {PREDICATE_TYPE!r}"
    if json_format.MessageToDict(parsed) != document:
        # Numbers are doubles there, as in JavaScript.
        return "it does not survive being read: a whole number above 2**53?"
    return None


def differences(expected: Document, found: Document) -> Iterator[str]:
    """What one statement says otherwise than the one that belongs to its manifest, in words.

    Args:
        expected: as `make` gives it.
        found: another, in which `problem` finds none.
    """
    if files.canonical_json(expected) == files.canonical_json(found):
        return
    ours, theirs, told = _told(expected), _told(found), False
    for what in sorted(ours.keys() | theirs.keys()):
        if what not in ours:
            yield f"{what} is one too many: the manifest does not have it"
        elif what not in theirs:
            yield f"{what} is missing"
        elif ours[what] != theirs[what]:
            yield f"{what} is {theirs[what]}, by the manifest {ours[what]}"
        told = told or ours.get(what) != theirs.get(what)
    if not told:
        yield "it says the same as the manifest in another form or order"


def _told(statement: Document) -> dict[str, str]:
    """What a statement says, piece by piece."""
    parsed = json_format.ParseDict(statement["predicate"], provenance_pb2.Provenance())
    predicate = json_format.MessageToDict(parsed)
    build, run = predicate.pop("buildDefinition", {}), predicate.pop("runDetails", {})
    builder = run.pop("builder", {})
    lists = {
        "subject": copy.deepcopy(statement["subject"]),
        "dependency": build.pop("resolvedDependencies", []),
        "package": builder.pop("builderDependencies", []),
        "byproduct": run.pop("byproducts", []),
    }
    pieces: dict[str, list[str]] = {}
    for kind, items in lists.items():
        for item in items:
            what = f"{kind} {item.pop('name', item.pop('uri', ''))}"
            pieces.setdefault(what, []).append(json.dumps(item, sort_keys=True))
    for what, value in _leaves({**build, **run, **predicate, "builder": builder}):
        pieces[what] = [json.dumps(value, sort_keys=True)]
    return {what: ", ".join(sorted(said)) for what, said in pieces.items()}


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}.{key}".removeprefix("."))
    else:
        yield place, value
