# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The inputs and outputs of the source against those of params.yaml, and their layouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stages.exporters.api import Order
    from stages.exporters.tensorflow.saved_model import Source

# Batch, at least one axis of space, channels; ONNX has convolutions up to three.
_RANKS = range(3, 6)
Axes = list[int] | None


@dataclass(frozen=True, kw_only=True)
class Face:
    """How the graph's inputs and outputs become the source's.

    Attributes:
        inputs: by name, the axes that make NHWC of the graph's NCHW; None where nothing changes.
        outputs: by declared name, the axes that make NCHW of the source's NHWC, or None.
        names: the source's own names of the outputs, in the same order.
    """

    inputs: dict[str, Axes]
    outputs: dict[str, Axes]
    names: list[str]


def match(source: Source, order: Order) -> Face:
    """Compare names, dtypes and shapes.

    Raises:
        SourceModelError: they differ; the message shows those of the source.
    """
    known = {*order.inputs, *order.outputs}
    if strange := [name for name in order.channels_first if name not in known]:
        msg = f"channels_first names {', '.join(strange)}: neither an input nor an output"
        mend = f"models.<m>.source.channels_first takes of: {', '.join(sorted(known))}"
        raise errors.SourceModelError(msg, mend=mend)
    if set(order.inputs) != set(source.inputs):
        raise _differ("inputs", source, source.inputs, ", ".join(order.inputs))
    for name, spec in order.inputs.items():
        _check_input(name, spec, source, name in order.channels_first)
    names = _outputs(source, order)
    return Face(
        inputs={
            name: _last(len(spec["shape"])) if name in order.channels_first else None
            for name, spec in order.inputs.items()
        },
        outputs={
            declared: _first(_rank(declared, source.outputs[name].shape.rank, source))
            if declared in order.channels_first
            else None
            for name, declared in zip(names, order.outputs, strict=True)
        },
        names=names,
    )


def _outputs(source: Source, order: Order) -> list[str]:
    """The source's names: one output may be called anything, several must agree."""
    if len(order.outputs) == len(source.outputs) == 1:
        return list(source.outputs)
    if not set(order.outputs) <= set(source.outputs):
        raise _differ("outputs", source, source.outputs, ", ".join(order.outputs))
    return list(order.outputs)


def _check_input(name: str, spec: Mapping[str, Any], source: Source, turned: bool) -> None:
    found = source.inputs[name]
    declared = list(spec["shape"])
    if found.dtype.name == "string":
        msg = f"{source.what}: input {name} holds text, which no engine takes"
        mend = "save the model without its text preprocessing, from the numbers on"
        raise errors.SourceModelError(msg, mend=mend)
    if turned:
        _rank(name, len(declared), source)
    shape = None if found.shape.rank is None else found.shape.as_list()
    if found.dtype.name == spec["dtype"] and _fits(declared, shape, turned=turned):
        return
    said = _differ("inputs", source, source.inputs, f"{name} {spec['dtype']} {declared}")
    other = len(declared) in _RANKS and _fits(declared, shape, turned=not turned)
    if found.dtype.name == spec["dtype"] and other:
        how = "take {} out of" if turned else "add {} to"
        what = "has it as it is declared" if turned else "has it channels-last (NHWC)"
        said.mend = f"{how.format(name)} models.<m>.source.channels_first: the source {what}"
    raise said


def _fits(declared: Sequence[int | str], found: list[int | None] | None, *, turned: bool) -> bool:
    """Whether the declared shape is one that the source takes; both fix the same dimensions."""
    if found is None:
        return True
    if len(found) != len(declared):
        return False
    axes = _first(len(found)) if turned else range(len(found))
    return all(
        found[axis] is None or found[axis] == size
        for axis, size in zip(axes, declared, strict=True)
    )


def _rank(name: str, rank: int | None, source: Source) -> int:
    if rank is not None and rank in _RANKS:
        return rank
    msg = (
        f"{source.what}: {name} in channels_first has rank {rank}, not {_RANKS[0]} to {_RANKS[-1]}"
    )
    raise errors.SourceModelError(msg, mend=f"take {name} out of models.<m>.source.channels_first")


def _last(rank: int) -> list[int]:
    """Axes that bring the channels from place 1 to the end."""
    return [0, *range(2, rank), 1]


def _first(rank: int) -> list[int]:
    """Axes that bring the channels from the end to place 1."""
    return [0, rank - 1, *range(1, rank - 1)]


def _differ(
    what: str, source: Source, found: Mapping[str, Any], declared: str
) -> errors.SourceModelError:
    shown = ", ".join(
        f"{name} {spec.dtype.name} {'of any rank' if spec.shape.rank is None else _shape(spec)}"
        for name, spec in found.items()
    )
    msg = (
        f"the {what} of {source.what} are not what params.yaml says\n"
        f"  model:       {shown or 'none'}\n  params.yaml: {declared}"
    )
    return errors.SourceModelError(msg, mend=f"set models.<m>.{what} to what the model has")


def _shape(spec: Any) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in spec.shape) + "]"
