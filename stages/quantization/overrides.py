# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""engines.<e>.overrides: ordered patterns that give nodes a precision of their own."""

from __future__ import annotations

import difflib
import fnmatch
from typing import TYPE_CHECKING, Any

from stages.lib import errors
from stages.quantization import formats, placement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_KINDS = {"nodes": "no node is called", "ops": "no node is of type"}


def chosen(
    ops: Mapping[str, str], overrides: Iterable[Mapping[str, Any]], key: str
) -> dict[str, str]:
    """Nodes that an override gives a precision of their own.

    Args:
        ops: op type by node name.
        overrides: in order, {"nodes": glob over names, "precision": str} or {"ops": glob over op
            types, "precision": str}; a later one wins.
        key: where the list lies in params.yaml, for messages.

    Returns:
        Precision by node name.

    Raises:
        GraphError: a pattern matches no node, or none that can have the precision.
    """
    found: dict[str, str] = {}
    for index, override in enumerate(overrides):
        kind = "nodes" if "nodes" in override else "ops"
        known = {name: (name if kind == "nodes" else op) for name, op in ops.items()}
        pattern = override[kind]
        matches = [name for name in sorted(known) if fnmatch.fnmatchcase(known[name], pattern)]
        if not matches:
            raise _unmatched(kind, pattern, sorted(set(known.values())), f"{key}[{index}]", key)
        wanted, reached = override["precision"], {ops[name] for name in matches}
        if wanted in formats.QUANTIZED and not reached & set(placement.RULES):
            raise _unquantizable(pattern, wanted, reached, f"{key}[{index}]", key)
        found |= dict.fromkeys(matches, override["precision"])
    return found


def _unmatched(
    kind: str, pattern: str, every: list[str], place: str, key: str
) -> errors.GraphError:
    near = difflib.get_close_matches(pattern, every, n=3, cutoff=0.3) or every[:3]
    msg = f"{place}: {_KINDS[kind]} {pattern!r}; near names: {', '.join(near)}"
    return errors.GraphError(msg, mend=f"correct the pattern at {key} in params.yaml")


def _unquantizable(
    pattern: str, wanted: str, reached: Iterable[str], place: str, key: str
) -> errors.GraphError:
    msg = (
        f"{place}: {pattern!r} matches only {', '.join(sorted(reached))}, which cannot run in"
        f" {wanted}; {', '.join(placement.RULES)} can"
    )
    return errors.GraphError(msg, mend=f"correct or remove the override at {key} in params.yaml")
