# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The clean graph against the exported one, run on the probe samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import onnx_ir as ir

Arrays = dict[str, "np.ndarray[Any, Any]"]


def same_interface(before: ir.Model, after: ir.Model) -> None:
    """Same inputs and outputs: names, order, types, shapes and symbolic dimensions.

    Raises:
        ProofError: they differ.
    """
    for what, old, new in (
        ("inputs", before.graph.inputs, after.graph.inputs),
        ("outputs", before.graph.outputs, after.graph.outputs),
    ):
        olds, news = [_face(v) for v in old], [_face(v) for v in new]
        if olds != news:
            msg = f"the clean-up changed the graph's {what}: {olds} became {news}"
            raise errors.ProofError(msg, mend=_MEND)


def same_outputs(
    before: Callable[[Arrays], Arrays],
    after: Callable[[Arrays], Arrays],
    batches: Iterable[Arrays],
    *,
    atol: float,
    rtol: float,
) -> dict[str, Any]:
    """Run both graphs on each batch: `|after - before| <= atol + rtol * |before|`.

    Returns:
        {"samples": int, "identical": bool, "max_abs": float}

    Raises:
        ProofError: an output moved by more than the tolerance.
    """
    samples, identical, worst = 0, True, 0.0
    for feeds in batches:
        old, new = before(feeds), after(feeds)
        for name, expected in old.items():
            found = new[name]
            if expected.shape == found.shape and expected.tobytes() == found.tobytes():
                continue
            identical = False
            if expected.shape != found.shape or not np.allclose(
                found, expected, atol=atol, rtol=rtol, equal_nan=True
            ):
                msg = (
                    f"the clean-up changed output {name!r} on the probe samples by more than"
                    f" {atol} + {rtol} * |value|"
                )
                raise errors.ProofError(msg, mend=_MEND)
            worst = max(
                worst, float(np.nanmax(np.abs(expected.astype(float) - found.astype(float))))
            )
        samples += len(next(iter(feeds.values())))
    return {"samples": samples, "identical": identical, "max_abs": worst}


_MEND = (
    "take passes out of models.<m>.sanitize.passes one by one to find the one at fault, leave that"
    " one out, and report it"
)


def _face(value: ir.Value) -> tuple[str | None, str, str]:
    return value.name, str(value.dtype), str(value.shape)
