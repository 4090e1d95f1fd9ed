# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Windows laid out as columns, put back: https://onnx.ai/onnx/operators/onnx__Col2Im.html."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from stages.passes.rules import make

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_ir.tape import Tape

    from stages.passes.rules.make import Array, Result, Rule

_FLOATS: Final = {ir.DataType.FLOAT, ir.DataType.DOUBLE}
_COLUMNS: Final = 3  # dimensions of what Col2Im reads: batch, channels times window, windows


def image(node: ir.Node, tape: Tape) -> Result:
    """Col2Im to a stated shape: each pixel gathers the entries that fall on it, and sums them."""
    value, sizes = node.inputs[0], [make.constant(make.given(node, i)) for i in (1, 2)]
    shape = make.shape(value)
    if value is None or value.dtype not in _FLOATS or shape is None or len(shape) != _COLUMNS:
        return None
    if sizes[0] is None or sizes[1] is None or shape[1] is None or shape[2] is None:
        return None
    pixels, block = ([int(n) for n in size] for size in sizes if size is not None)
    taps = int(np.prod(block))
    entries = _entries(node, pixels, block)
    if entries.shape[0] != taps or entries.shape[1] != shape[2] or shape[1] % taps:
        return None
    table = _table(entries.reshape(-1), int(np.prod(pixels)))
    maker = make.Maker(node, tape)
    channels = shape[1] // taps
    flat = maker("Reshape", value, maker.ints(0, channels, -1))
    zero = maker.array(0, value.dtype)
    ended = maker("Pad", flat, maker.ints(0, 1), zero, maker.ints(2), mode="constant")
    found = maker("Gather", ended, maker.array(table, ir.DataType.INT64), axis=2)
    total = maker("ReduceSum", found, maker.ints(2), keepdims=0)
    return [maker("Reshape", total, maker.ints(0, channels, *pixels))]


def _entries(node: ir.Node, pixels: Sequence[int], block: Sequence[int]) -> Array:
    """The pixel of each entry, [places in the window, windows]; -1 for those in the padding."""
    rank = len(pixels)
    dilations = node.attributes.get_ints("dilations") or [1] * rank
    strides = node.attributes.get_ints("strides") or [1] * rank
    pads = node.attributes.get_ints("pads") or [0] * (2 * rank)
    flat = np.zeros((1, 1), np.int64)
    inside = np.ones((1, 1), bool)
    for i in range(rank):
        room = pixels[i] + pads[i] + pads[i + rank] - (block[i] - 1) * dilations[i] - 1
        first = np.arange(max(room // strides[i] + 1, 0)) * strides[i] - pads[i]
        place = np.arange(block[i])[:, None] * dilations[i] + first[None, :]
        good = (place >= 0) & (place < pixels[i])
        flat = (flat[:, None, :, None] * pixels[i] + place[None, :, None, :]).reshape(
            flat.shape[0] * place.shape[0], -1
        )
        inside = (inside[:, None, :, None] & good[None, :, None, :]).reshape(flat.shape)
    return np.where(inside, flat, -1)


def _table(entries: Array, pixels: int) -> Array:
    """Entries of each pixel, [most of any, pixels]; the number of entries where there are fewer."""
    order = np.argsort(entries, kind="stable")
    order = order[entries[order] >= 0]
    counts = np.bincount(entries[order], minlength=pixels)
    table = np.full((max(int(counts.max(initial=0)), 1), pixels), entries.size)
    starts = np.cumsum(counts) - counts
    table[np.arange(order.size) - starts[entries[order]], entries[order]] = order
    return table


RULES: Final[dict[str, Rule]] = {"Col2Im": image}
