# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Refusals of TensorRT's parser for people: the reason, and what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from stages.backends.refusals import SHAPE_INPUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ELSE = "use other operators in the source model, or rewrite the node in models/<m>/rewrites/"
_TYPES = "use float32, float16, bfloat16, int32, int64 or bool there in the source model"
_CONSTANT = (
    "make that input a constant of the source model (fixed axes, fixed sizes, eval mode); what is"
    " fed at run time cannot be one"
)
_PLUGIN = (
    "rewrite it in models/<m>/rewrites/, or name the library that has it under"
    " engines.<e>.builder.plugins"
)
# Patterns over "<op>: <reason>"; the first that is found counts.
_MENDS = {
    SHAPE_INPUT: "make it a constant, or compute it from the shape of another input",
    r"no tensors of type|[Uu]nsupported (data|input) type": _TYPES,
    r"build-time constant|not a constant|an initializer|is_weights": _CONSTANT,
    r"broadcasting is unsupported": "export the model again with opset 13 or later",
    r"one output|than \d+ outputs": "do not use the further outputs, or compute them apart",
    r"training_mode": "put the model into eval mode before the export",
    r"dilations": "use dilation 1, or gather the taps by slices",
    r"[Pp]lugin": _PLUGIN,
    r"same type|inputs with type|must have type": f"cast its inputs: {_TYPES}",
}


def of(op: str, reason: str) -> tuple[str, str]:
    """The reason in plain words, and what to do.

    Args:
        op: operator, or what else is refused.
        reason: as `refusals.reason` gives it, or SHAPE_INPUT.
    """
    mend = next(
        (m for pattern, m in _MENDS.items() if re.search(pattern, f"{op}: {reason}")), _ELSE
    )
    if reason == SHAPE_INPUT:
        reason = "its values are a shape or index, whose bounds the profiles of params.yaml lack"
    return reason, mend


def lines(refused: Mapping[str, Any]) -> Iterator[str]:
    """For people: {"known", "nodes": as `blockers.find` gives them, with their "place"; "why"}."""
    if not refused["known"]:
        yield f"what TensorRT-RTX refuses is not known: {refused['why']}"
    count = len(refused["nodes"])
    if count:
        yield f"TensorRT-RTX refuses {count} part{'s'[: count > 1]} of the graph:"
    for one in refused["nodes"]:
        where = f", {one['place']}" if one["place"] else ""
        yield f"  {one['name']!r} ({one['op']}){where}: {one['reason']}"
        if one["follows"]:
            yield "    (perhaps only because it depends on a part above)"
        yield f"    to mend it: {one['mend']}"
