# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a cleaned model is the model on other inputs than its own data.

A tool that takes a value of a graph input for a constant, or infers it from the data's shapes, is
right on the model's data and wrong elsewhere.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import conformance_verdict as verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx

    from bench.conformance_suite import Set, Value

Array = np.ndarray[Any, Any]
CRASH = "the model as it is crashes ONNX Runtime"
# Four steps of float16: where ONNX Runtime rounds between nodes, ours are others.
_HALF = 4e-3
_SMALL = 16  # elements: axes, shapes, indices, counts


def compare(
    tell: Callable[[str, str], None], before: onnx.ModelProto, after: onnx.ModelProto, data: Set
) -> None:
    """Tell "elsewhere": SAME, UNJUDGED, or on which inputs `after` is not what `before` is.

    ONNX Runtime runs both. Inputs that `before` refuses, or for which it breaks the shapes that it
    declares for its outputs, say nothing; those that crash it end the comparison.
    """
    judged = verdict.UNJUDGED
    for what, other in _others(data):
        tell("elsewhere", f"{CRASH} on {what}")
        old = verdict.by_onnxruntime(before, [other])
        tell("elsewhere", f"{verdict.CHANGED}: crashes on {what}")
        if isinstance(old, str) or not _as_declared(before, old[0]):
            continue
        judged = verdict.SAME
        new = verdict.by_onnxruntime(after, [other])
        if isinstance(new, str) or not verdict.alike(old, new, half=_HALF):
            again = verdict.by_onnxruntime(before, [other])
            if not isinstance(again, str) and verdict.alike(old, again):
                how = new if isinstance(new, str) else verdict.where(old, new)
                tell("elsewhere", f"{verdict.CHANGED}: {what}: {how}")
                return
    tell("elsewhere", judged)


def _others(data: Set) -> Iterator[tuple[str, Set]]:
    yield "inputs reversed", _changed(data, _reversed)
    yield "floats times -1.25", _changed(data, lambda a: (a * -1.25).astype(a.dtype), "f")
    for number, value in enumerate(data.inputs):
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.size <= _SMALL:
            for fill in (0, 1, -1 if value.dtype.kind == "i" else 2):
                inputs = [*data.inputs]
                inputs[number] = np.full_like(value, fill)
                yield f"input {number} all {fill}", replace(data, inputs=inputs)


def _reversed(array: Array) -> Array:
    return array.ravel()[::-1].reshape(array.shape).copy()


def _changed(data: Set, change: Any, kinds: str = "fiub") -> Set:
    def one(value: Value) -> Value:
        fits = isinstance(value, np.ndarray) and value.dtype.kind in kinds
        return change(value) if fits else value

    return replace(data, inputs=[one(value) for value in data.inputs])


def _as_declared(model: onnx.ModelProto, outputs: list[Value]) -> bool:
    return all(
        not value.type.tensor_type.HasField("shape")
        or not isinstance(found, np.ndarray)
        or _fits(value.type.tensor_type.shape.dim, found.shape)
        for value, found in zip(model.graph.output, outputs, strict=True)
    )


def _fits(dims: Any, shape: tuple[int, ...]) -> bool:
    return len(dims) == len(shape) and all(
        not dim.HasField("dim_value") or dim.dim_value == size
        for dim, size in zip(dims, shape, strict=True)
    )
