# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Two ONNX graphs, recorded and made again: structure, weights, and what they compute."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.backends.onnxruntime import run as onnxruntime
from stages.lib import graphs, layout
from stages.verification import documents
from stages.verification.verdicts import DIFFERENT, EQUIVALENT, Verdict, names

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import onnx_ir as ir

    from stages.lib.samples import Arrays


def compare(
    recorded: Path, rebuilt: Path, rtol: float, *, feeds: Iterable[Arrays], threads: int
) -> Verdict:
    """Two graph folders.

    Equivalent are graphs of the same nodes whose weights differ within `rtol` of the largest of
    their tensor, and graphs of other nodes whose outputs on `feeds` do. Both are run either way.

    Args:
        recorded, rebuilt: the folders.
        rtol: how far values may move.
        feeds: probe samples, batch by batch.
        threads: threads of ONNX Runtime.
    """
    old, new = graphs.load(recorded), graphs.load(rebuilt)
    ran, line = _numerics(recorded, rebuilt, feeds, threads)
    parted = [title for title, of in _PARTS.items() if [*map(str, of(old))] != [*map(str, of(new))]]
    if parted:
        kind = EQUIVALENT if "interface" not in parted and ran <= rtol else DIFFERENT
        return Verdict(kind, (f"other {', '.join(parted)}", line))
    moved = _weights(old, new)
    # Where no weight moved, only other names are left, and they move no output.
    far = any(by > rtol for by in moved.values()) or not (moved or ran <= rtol)
    kind = DIFFERENT if far else EQUIVALENT
    found = names("weights", [f"{name} by {by:.1e}" for name, by in moved.items()])
    return Verdict(kind, (found if moved else "only names of nodes, or notes", line))


def _interface(model: ir.Model) -> Iterable[Any]:
    yield model.opset_imports
    for value in [*model.graph.inputs, *model.graph.outputs]:
        yield value.name, value.dtype, value.shape


def _nodes(model: ir.Model) -> Iterable[Any]:
    for node in model.graph.all_nodes():
        ends = [[value and value.name for value in side] for side in (node.inputs, node.outputs)]
        yield node.domain, node.op_type, ends, sorted(map(_said, node.attributes.values()))


def _said(attribute: ir.Attr) -> str:
    """An attribute as text; that of a large tensor would leave out most of its values."""
    value = attribute.value
    data = hashlib.sha256(value.tobytes()).hexdigest() if hasattr(value, "tobytes") else ""
    return f"{attribute} {data}"


def _shapes(model: ir.Model) -> Iterable[Any]:
    for name, value in sorted(model.graph.initializers.items()):
        yield name, value.dtype, value.shape


_PARTS = {"interface": _interface, "nodes": _nodes, "weights": _shapes}


def _weights(old: ir.Model, new: ir.Model) -> dict[str, float]:
    """How far each weight that differs moved, relative to its largest value."""
    moved = {}
    for name, value in sorted(old.graph.initializers.items()):
        a, b = value.const_value, new.graph.initializers[name].const_value
        if a is not None and b is not None and a.tobytes() != b.tobytes():
            moved[name] = documents.relative(*(np.ravel(tensor.numpy()) for tensor in (a, b)))
    return moved


def _numerics(a: Path, b: Path, feeds: Iterable[Arrays], threads: int) -> tuple[float, str]:
    """Largest distance of the outputs relative to the largest of each, and a line that says so."""
    worst = 0.0
    try:
        one, other = (
            onnxruntime.session(folder / layout.GRAPH_FILE, threads=threads) for folder in (a, b)
        )
        titles = [output.name for output in one.get_outputs()]
        for arrays in feeds:
            pairs = zip(one.run(titles, arrays), other.run(titles, arrays), strict=True)
            worst = max([worst, *(documents.relative(x, y) for x, y in pairs)])
    except Exception as error:  # ONNX Runtime's share no base class
        return np.inf, f"not run: {str(error).strip().splitlines()[0]}"
    return worst, f"outputs on the probe samples move by {worst:.1e}"
