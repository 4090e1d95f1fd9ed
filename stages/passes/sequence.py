# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Runs passes in the declared order and tells what each changed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from stages.passes import (
    fold_constants,
    infer_shapes,
    remove_dead,
    remove_identity,
    rewrites,
    strip_metadata,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import onnx_ir as ir

_Nodes = list[tuple[str, set[str]]]  # op and names of outputs

PASSES: dict[str, Callable[[ir.Model, int], None]] = {
    "infer-shapes": infer_shapes.run,
    "fold-constants": fold_constants.run,
    "remove-identity": remove_identity.run,
    "remove-dead": remove_dead.run,
    "strip-metadata": strip_metadata.run,
}


def run(
    model: ir.Model, names: list[str], *, fold_limit_bytes: int, user: Path
) -> tuple[ir.Model, list[dict[str, Any]]]:
    """Run the user's rewrites, then the passes `names`, in order.

    Returns:
        The model, and for each pass {"pass", "removed", "added": nodes by op type,
        "removed_initializers", "added_initializers", "typed": values whose type or shape became
        known, "stripped": metadata entries and doc strings gone}.
    """
    changes = []
    for name in rewrites.names(user):
        before = _census(model)
        model = rewrites.run(model, user, name)
        changes.append({"pass": f"rewrites/{name}", **_difference(before, _census(model))})
    for name in names:
        before = _census(model)
        shapes = [value.shape for value in model.graph.outputs]
        PASSES[name](model, fold_limit_bytes)
        # Passes learn shapes; what the outputs declare is part of the interface, which stays.
        for value, shape in zip(model.graph.outputs, shapes, strict=True):
            value.shape = shape
        changes.append({"pass": name, **_difference(before, _census(model))})
    return model, changes


def _census(model: ir.Model) -> dict[str, Any]:
    nodes = list(model.graph.all_nodes())
    values = [value for node in nodes for value in node.outputs]
    return {
        # A node is known by what it computes: passes may rename it, or drop an unused output.
        "nodes": [(node.op_type, {value.name for value in node.outputs} - {""}) for node in nodes],
        "initializers": set(model.graph.initializers),
        "typed": {v.name for v in values if v.dtype is not None and v.shape is not None},
        "notes": sum(
            len(item.metadata_props) + bool(item.doc_string)
            for item in strip_metadata.carriers(model)
        )
        + bool(model.producer_name),
    }


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {
        "removed": dict(_counted(before["nodes"], after["nodes"])),
        "added": dict(_counted(after["nodes"], before["nodes"])),
        "removed_initializers": len(before["initializers"] - after["initializers"]),
        "added_initializers": len(after["initializers"] - before["initializers"]),
        "typed": len(after["typed"] - before["typed"]),
        "stripped": before["notes"] - after["notes"],
    }


def _counted(here: _Nodes, there: _Nodes) -> Iterator[tuple[str, int]]:
    known = {(op, name) for op, names in there for name in names}
    ops = Counter(op for op, names in here if not any((op, name) in known for name in names))
    yield from sorted(ops.items())
