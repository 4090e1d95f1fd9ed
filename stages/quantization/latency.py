# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Latency tables: what layers took on a GPU, by precision, for `auto` to choose by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.lib import errors, files, layout, schema, wording

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_FUSED = " + "
"""How TensorRT joins the names of nodes that it runs as one layer."""


def read(path: Path) -> dict[str, dict[str, float]]:
    """Milliseconds by node and precision.

    The time of a layer of several nodes counts for the first of them; the others come with it.

    Raises:
        ArtifactError: there is no such file, or it is no latency table.
    """
    mend = (
        f"`git checkout -- {path}` restores it; or record it again: `make device ENGINE=...`"
        " for engines of this model, then the `cp` that it names"
    )
    try:
        document = files.read_json(path)
    except errors.ArtifactError as error:  # no stage makes it
        what = error.what if path.exists() else f"{path} is not there"
        raise errors.ArtifactError(what, mend=mend) from None
    schema.check(document, layout.schema("latency"), path.as_posix(), mend)
    table: dict[str, dict[str, float]] = {}
    for layer, times in document["layers"].items():
        first, *others = layer.split(_FUSED)
        table |= {name: dict.fromkeys(times, 0.0) for name in others}
        table[first] = times
    return table


def demand(
    table: Mapping[str, Mapping[str, float]], names: Iterable[str], precisions: set[str]
) -> None:
    """Check that the table tells of each of these nodes in each precision.

    Raises:
        ArtifactError: it does not.
    """
    for name in names:
        lacking = sorted(precisions - set(table.get(name, {})))
        if lacking:
            near = wording.suggestion(name, table)
            msg = f"the latency table has no time of {name!r} in {', '.join(lacking)}.{near}"
            raise errors.ArtifactError(
                msg,
                mend="`make device ENGINE=...` for engines of this model in these precisions,"
                " or write `objective: estimate`",
            )
