# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Sequences that are made and read within one graph: what is read is found where it was made.

TensorRT has no sequences. A sequence is followed back to the operators that made it; places have to
be constants, and what a tensor is split into has to follow from its shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import onnx_ir as ir

from stages.passes.rules import make

if TYPE_CHECKING:
    from onnx_ir.tape import Tape

    from stages.passes.rules.make import Result, Rule


@dataclass(frozen=True)
class _Part:
    """Places `start` to `stop` of `value` along `axis`; squeezed where `axis` does not stay."""

    value: ir.Value
    axis: int
    start: int
    stop: int
    keeps: bool


_Items = list[ir.Value | _Part]
# A chain this long is no chain of a model that was written by hand or exported.
_LONGEST: Final = 512


def _items(sequence: ir.Value | None) -> _Items | None:
    """What a sequence holds, in order; None where the graph does not say."""
    changes: list[ir.Node] = []
    while sequence is not None and len(changes) < _LONGEST:
        node = sequence.producer()
        if node is None or node.domain:
            return None
        if node.op_type not in {"SequenceInsert", "SequenceErase", "Identity"}:
            items = _made(node)
            for change in reversed(changes):
                items = None if items is None else _changed(change, items)
            return items
        changes.append(node)
        sequence = node.inputs[0]
    return None


def _made(node: ir.Node) -> _Items | None:
    if node.op_type == "SequenceEmpty":
        return []
    if node.op_type == "SequenceConstruct":
        return [value for value in node.inputs if value is not None]
    return _split(node) if node.op_type == "SplitToSequence" else None


def _changed(node: ir.Node, items: _Items) -> _Items | None:
    if node.op_type == "Identity":
        return items
    erases = node.op_type == "SequenceErase"
    where = make.given(node, 1 if erases else 2)
    # A place to insert at may be the one behind the last.
    place = _place(where, len(items), None if erases else len(items) + 1)
    if place is None:
        return None
    if erases:
        return items[:place] + items[place + 1 :]
    tensor = node.inputs[1]
    return None if tensor is None else [*items[:place], tensor, *items[place:]]


def _place(value: ir.Value | None, count: int, places: int | None) -> int | None:
    """A constant place among `count` items, negative ones from the end; left out, the end."""
    places = count if places is None else places
    if value is None:
        return places - 1 if places else None
    stated = make.constant(value)
    if stated is None or stated.size != 1:
        return None
    place = int(stated.item())
    place += count if place < 0 else 0
    return place if 0 <= place < places else None


def _split(node: ir.Node) -> _Items | None:
    value, split = node.inputs[0], make.given(node, 1)
    axis = make.axis_of(node, value, 0)
    size = None if axis is None else (make.shape(value) or [])[axis]
    if value is None or axis is None or size is None:
        return None
    if split is None:
        keeps = bool(node.attributes.get_int("keepdims", 1))
        return [_Part(value, axis, i, i + 1, keeps) for i in range(size)]
    stated = make.constant(split)
    if stated is None:
        return None
    sizes = [int(n) for n in stated.reshape(-1)]
    if stated.ndim == 0 and sizes[0] > 0:
        sizes = [min(sizes[0], size - i) for i in range(0, size, sizes[0])]
    if sum(sizes) != size or min(sizes, default=0) < 0:
        return None
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [_Part(value, axis, i, i + n, keeps=True) for i, n in zip(starts, sizes, strict=True)]


def _tensor(maker: make.Maker, item: ir.Value | _Part) -> ir.Value:
    if not isinstance(item, _Part):
        return item
    bounds = maker.ints(item.start), maker.ints(item.stop), maker.ints(item.axis)
    part = maker("Slice", item.value, *bounds)
    return part if item.keeps else maker("Squeeze", part, maker.ints(item.axis))


def at(node: ir.Node, tape: Tape) -> Result:
    """SequenceAt a constant place."""
    items = _items(node.inputs[0])
    if items is None:
        return None
    place = None if node.inputs[1] is None else _place(node.inputs[1], len(items), None)
    if place is None:
        return None
    maker = make.Maker(node, tape)
    return [maker("Identity", _tensor(maker, items[place]))]


def length(node: ir.Node, tape: Tape) -> Result:
    """SequenceLength; of a tensor split by sizes it is their number, whatever they are."""
    sequence = node.inputs[0]
    made = None if sequence is None else sequence.producer()
    sizes = make.dims(make.given(made, 1)) if made is not None and not made.domain else None
    items = _items(sequence)
    if items is not None:
        count = len(items)
    elif made is not None and made.op_type == "SplitToSequence" and sizes and len(sizes) == 1:
        count = sizes[0]
    else:
        return None
    return [make.Maker(node, tape).array(count, ir.DataType.INT64)]


def concat(node: ir.Node, tape: Tape) -> Result:
    """ConcatFromSequence, along an old or a new axis."""
    items = _items(node.inputs[0])
    if not items:
        return None
    maker = make.Maker(node, tape)
    tensors = [_tensor(maker, item) for item in items]
    axis = node.attributes.get_int("axis")
    if node.attributes.get_int("new_axis", 0):
        tensors = [maker("Unsqueeze", tensor, maker.ints(axis)) for tensor in tensors]
    return [maker("Concat", *tensors, axis=axis)]


RULES: Final[dict[str, Rule]] = {
    "SequenceAt": at,
    "SequenceLength": length,
    "ConcatFromSequence": concat,
}
