# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a cleaned model is still the model: its interface, and what it computes.

ONNX Runtime runs both, without its own optimizations; `onnx.reference` does where ONNX Runtime
lacks an operator or type. The judge is the data that comes with the model.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from bench import conformance_suite as suite
from stages.backends.onnxruntime import run as onnxruntime

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.conformance_suite import Set, Value

SAME, AS_BEFORE, CHANGED = "same", "as before", "changed"
UNJUDGED, RANDOM = "not judged", "random"
# As ONNX's own runner of these tests.
_RTOL, _ATOL = 1e-3, 1e-7
# Of the largest value of a tensor: where terms cancel, another order of float32 sums moves so much.
_CANCELLED = 1e-6
_SINGLE = 4  # bytes


def interface(before: onnx.ModelProto, after: onnx.ModelProto) -> str:
    """SAME, or what differs: names, order, types, shapes and symbolic dimensions."""
    for what, old, new in (
        ("inputs", suite.fed(before.graph), suite.fed(after.graph)),
        ("outputs", before.graph.output, after.graph.output),
    ):
        olds, news = [_face(value) for value in old], [_face(value) for value in new]
        if olds != news:
            return f"{what}: {olds} became {news}"
    return SAME


def _face(value: onnx.ValueInfoProto) -> tuple[str, str]:
    kind = onnx.TypeProto()
    kind.CopyFrom(value.type)
    _forget(kind)
    return value.name, str(kind)


def _forget(kind: onnx.TypeProto) -> None:
    """Denotations are notes, and may go."""
    kind.ClearField("denotation")
    for dim in kind.tensor_type.shape.dim if kind.HasField("tensor_type") else ():
        dim.ClearField("denotation")


def result(path: Path, before: onnx.ModelProto, after: onnx.ModelProto) -> str:
    """What became of the numbers.

    Returns:
        SAME: `after` gives the model's reference data. AS_BEFORE: it gives what `before` gives,
        which is not that data (ONNX Runtime rounds or orders otherwise). CHANGED, and how. RANDOM:
        `before` itself differs from run to run. UNJUDGED: nothing here runs `before`.
    """
    data = list(suite.sets(path, before.graph))
    last = UNJUDGED
    for run in (by_onnxruntime, _by_reference):
        old, new = run(before, data), run(after, data)
        if isinstance(new, str):  # why it does not run
            if not isinstance(old, str):
                last = f"{CHANGED}: no longer runs: {new}"
            continue
        if all(alike(one.outputs, found) for one, found in zip(data, new, strict=True)):
            return SAME
        if isinstance(old, str):
            continue
        if alike(old, new):
            return AS_BEFORE
        again = run(before, data)
        if isinstance(again, str) or not alike(old, again):
            return RANDOM
        if not all(alike(one.outputs, found) for one, found in zip(data, old, strict=True)):
            last = f"{CHANGED}: other than before, and before was not the reference data"
            continue  # this runtime cannot do the original; the other one decides
        return f"{CHANGED}: {where(old, new)}"
    return last


def by_onnxruntime(model: onnx.ModelProto, data: Sequence[Set]) -> list[list[Value]] | str:
    """Outputs for each data set, or why there are none."""

    def prepare() -> Callable[[dict[str, Value]], list[Value]]:
        session = onnxruntime.session(model.SerializeToString(), threads=1)
        return lambda feeds: session.run(None, feeds)

    return _run(prepare, model, data)


def _by_reference(model: onnx.ModelProto, data: Sequence[Set]) -> list[list[Value]] | str:
    return _run(lambda: lambda feeds: ReferenceEvaluator(model).run(None, feeds), model, data)


def _run(
    prepare: Callable[[], Callable[[dict[str, Value]], Any]],
    model: onnx.ModelProto,
    data: Sequence[Set],
) -> list[list[Value]] | str:
    names = [value.name for value in suite.fed(model.graph)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            infer = prepare()
            return [list(infer(dict(zip(names, one.inputs, strict=True)))) for one in data]
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:500]


def alike(wanted: Any, found: Any, *, half: float = 0.0) -> bool:
    """Same structure, types and shapes, and values within the tolerance; nan equals nan.

    Args:
        wanted: an output, or a list of them.
        found: likewise.
        half: for types of 16 bits and less, how far values may lie apart, of the tensor's largest.
    """
    if wanted is None or found is None:
        return wanted is found
    if isinstance(wanted, list):
        return (
            isinstance(found, list) and len(wanted) == len(found) and all(map(alike, wanted, found))
        )
    old, new = np.asarray(wanted), np.asarray(found)
    if old.shape != new.shape or not _same_type(old, new):
        return False
    if old.dtype.kind in "OSUTb":
        return bool((old.astype(object) == new.astype(object)).all())
    if old.dtype.kind in "iu":
        return bool((old == new).all())
    cancelled = half if half and old.dtype.itemsize < _SINGLE else _CANCELLED
    wide = np.complex128 if old.dtype.kind == "c" else np.float64
    old, new = old.astype(wide), new.astype(wide)
    with np.errstate(all="ignore"):
        largest = float(np.max(np.abs(old), initial=0.0, where=np.isfinite(old)))
        atol = max(_ATOL, cancelled * largest)
        return np.allclose(new, old, rtol=_RTOL, atol=atol, equal_nan=True)


def _same_type(old: np.ndarray[Any, Any], new: np.ndarray[Any, Any]) -> bool:
    return old.dtype == new.dtype or (old.dtype.kind in "OSUT" and new.dtype.kind in "OSUT")


def where(old: Any, new: Any) -> str:
    """Which output moved, for people."""
    pairs = (
        pair for olds, news in zip(old, new, strict=True) for pair in zip(olds, news, strict=False)
    )
    for number, (one, other) in enumerate(pairs):
        if not alike(one, other):
            a, b = np.asarray(one, dtype=object), np.asarray(other, dtype=object)
            return f"output {number}: {a.shape} {a.ravel()[:4]} became {b.shape} {b.ravel()[:4]}"
    return "another number of outputs"
