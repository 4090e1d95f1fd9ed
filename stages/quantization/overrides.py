# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""engines.<e>.overrides: node-name patterns that keep a node in another precision."""

from __future__ import annotations

import difflib
import fnmatch
from typing import TYPE_CHECKING, Any

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def kept(names: Iterable[str], overrides: Iterable[Mapping[str, Any]], key: str) -> dict[str, str]:
    """Nodes that an override keeps in a precision of its own.

    Args:
        names: node names of the graph.
        overrides: in order, {"nodes": glob, "precision": str}; a later one wins.
        key: where the list lies in params.yaml, for messages.

    Returns:
        Precision by node name.

    Raises:
        GraphError: a pattern matches no node.
    """
    every = sorted(names)
    chosen: dict[str, str] = {}
    for index, override in enumerate(overrides):
        matches = fnmatch.filter(every, override["nodes"])
        if not matches:
            near = difflib.get_close_matches(override["nodes"], every, n=3, cutoff=0.3) or every[:3]
            msg = (
                f"{key}[{index}]: no node is called {override['nodes']!r};"
                f" near names: {', '.join(near)}"
            )
            raise errors.GraphError(msg, mend=f"correct the pattern at {key} in params.yaml")
        chosen |= dict.fromkeys(matches, override["precision"])
    return chosen
