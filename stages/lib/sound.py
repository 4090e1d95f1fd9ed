# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A document of which some places are known to be wrong: what is said of the rest is said once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.lib.schema import Where


@dataclass(frozen=True)
class Sound:
    """A document, and the places where it is known to be wrong."""

    document: Any
    wrong: frozenset[Where]

    def get(self, *path: str | int) -> Any:
        """The value at `path`, or None where it is missing or wrong anywhere within."""
        value: Any = self.document
        for part in path:
            known = range(len(value)) if isinstance(value, list) else value
            if not isinstance(value, dict | list) or part not in known:
                return None
            value = value[part]  # type: ignore[index]  # `part` is a position where it is a list
        inside = any(place[: len(path)] == path for place in self.wrong)
        return None if inside else value

    def names(self, section: str) -> list[str]:
        """Names in a section, sound or not."""
        value = self.document.get(section) if isinstance(self.document, dict) else None
        return list(value) if isinstance(value, dict) else []
