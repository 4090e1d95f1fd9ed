# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The proof that a plan can be built again: it is, at once, in other surroundings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.backends import isolation, plans
from stages.lib import files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stages.backends.build_api import Order

PROVEN = "proven"
NOT_REPRODUCIBLE = "not reproducible"
NOT_TRIED = "not tried"


def prove(
    backend: str, order: Order, log: Callable[[str], None], plan: Path
) -> tuple[str, dict[str, Any] | None]:
    """Build what `plan` was built from once more, and compare.

    The second child works in another folder, on one core, with another hash seed, locale and time
    zone and a larger environment; address-space randomization differs by itself.

    Returns:
        "proven" and None, or "not reproducible" and what differs (`plans.difference`).

    Raises:
        BuildError: the second build fails.
    """
    with files.scratch() as folder:
        again = folder / plan.name
        log("[info] the same once more, in other surroundings, as proof")
        isolation.build(backend, order, log, again, otherwise=True)
        found = plans.difference(plan, again)
    return (PROVEN if found is None else NOT_REPRODUCIBLE), found


def can_prove(backend: str) -> bool:
    """Whether the backend promises bytes at all; a build that measures tactics does not."""
    return backend in isolation.REPRODUCIBLE
