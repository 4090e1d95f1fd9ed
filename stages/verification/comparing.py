# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""One output of the chain, recorded against made again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.backends import plans
from stages.lib import files, layout
from stages.verification import documents
from stages.verification.verdicts import (
    DIFFERENT,
    EQUIVALENT,
    IDENTICAL,
    Verdict,
    join,
    names,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Graphs = Callable[[Path, Path], Verdict]


def output(recorded: Path, rebuilt: Path, rtol: float, graphs: Graphs) -> Verdict:
    """Compare a file, a graph folder or another folder.

    Args:
        recorded, rebuilt: the two; both are there.
        rtol: how far values may move in bytes that differ, relative to the largest of a tensor.
        graphs: compares two graph folders.
    """
    before, after = _digests(recorded), _digests(rebuilt)
    if before == after:
        return Verdict(IDENTICAL)
    if recorded.is_dir() and (recorded / layout.GRAPH_FILE).exists():
        return graphs(recorded, rebuilt)
    if set(before) != set(after):
        gone, new = sorted(set(before) - set(after)), sorted(set(after) - set(before))
        told = [("files missing", gone), ("files more", new)]
        return Verdict(DIFFERENT, tuple(names(title, found) for title, found in told if found))
    parts = []
    for name in (name for name in before if before[name] != after[name]):
        pair = (recorded / name, rebuilt / name) if name else (recorded, rebuilt)
        verdict = _file(*pair, rtol)
        prefix = f"{name}: " if name else ""
        parts.append(Verdict(verdict.kind, tuple(prefix + line for line in verdict.what)))
    return join(parts)


def _digests(path: Path) -> dict[str, str]:
    """SHA-256 by path in a folder; of a file, by the empty name."""
    found = files.digests(path)
    root = path.as_posix()
    return {name.removeprefix(root).lstrip("/"): digest for name, digest in found.items()}


def _file(recorded: Path, rebuilt: Path, rtol: float) -> Verdict:
    if recorded.suffix == ".plan":
        return plan(plans.difference(recorded, rebuilt))
    if recorded.name == "provenance.json":
        return Verdict(EQUIVALENT, ("it follows from manifest.json, which is judged by itself",))
    kinds = {
        ".npz": documents.arrays,
        ".cache": documents.cache,
        ".json": documents.document,
    }
    return kinds.get(recorded.suffix, documents.text)(recorded, rebuilt, rtol)


def plan(found: dict[str, Any] | None) -> Verdict:
    """The verdict on two plans from what `plans.difference` found.

    Other names of the compiler's own symbols mean nothing. Whether other code computes the same,
    only a GPU can say, which is not asked here.
    """
    if found is None:
        return Verdict(IDENTICAL)
    if found["only_symbols"]:
        line = f"{found['symbols']} of the compiler's own symbols are renamed"
        return Verdict(EQUIVALENT, (line,))
    counts = [
        f"{name} by {'its size' if count is None else f'{count} bytes'}"
        for name, count in found["sections"].items()
    ]
    sizes = "{} and {} bytes".format(*found["bytes"])
    line = names("sections", counts)
    return Verdict(DIFFERENT, (f"{line} ({sizes})", "numerics: not run, which needs a GPU"))
