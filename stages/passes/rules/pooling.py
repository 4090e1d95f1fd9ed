# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Pooling that TensorRT lacks: dilated windows, powers other than 1 and 2, positions, unpooling.

A dilated window is gathered next to the others, so that a pooling without dilations reads it:
https://onnx.ai/onnx/operators/onnx__MaxPool.html gives the positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from stages.passes.rules import make

if TYPE_CHECKING:
    from onnx_ir.tape import Tape

    from stages.passes.rules.make import Array, Maker, Result, Rule

FLOATS: Final = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE}
_BATCH: Final = 2  # dimensions before the spatial ones: N and C
# Elements that the windows of one node may take beyond what it reads.
_MOST_GATHERED: Final = 64


@dataclass(frozen=True)
class Axis:
    """Windows along one spatial dimension.

    Attributes:
        places: int64, [windows, kernel]: places read, counted from the first unpadded one.
        size: of the dimension.
        padded: first place beyond the padding asked for; those later are due to `ceil_mode`.
    """

    places: Array
    size: int
    padded: int

    @property
    def inside(self) -> Array:
        """Bool, as `places`: those that the dimension has."""
        return (self.places >= 0) & (self.places < self.size)


def windows(node: ir.Node) -> list[Axis] | None:
    """The windows of a pooling node; None where the graph does not state them."""
    kernel = node.attributes.get_ints("kernel_shape", None)
    sizes = make.shape(node.inputs[0])
    if kernel is None or sizes is None or len(sizes) != len(kernel) + _BATCH:
        return None
    spatial = sizes[_BATCH:]
    ones, zeros = [1] * len(kernel), [0] * (2 * len(kernel))
    strides = node.attributes.get_ints("strides") or ones
    dilations = node.attributes.get_ints("dilations") or ones
    pads = node.attributes.get_ints("pads") or zeros
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    ceil = bool(node.attributes.get_int("ceil_mode", 0))
    result = []
    for i, size in enumerate(spatial):
        if size is None:
            return None
        reach = (kernel[i] - 1) * dilations[i] + 1
        before, after = pads[i], pads[i + len(kernel)]
        if auto in {"SAME_UPPER", "SAME_LOWER"}:
            if dilations[i] != 1 or ceil:
                return None
            total = max((-(-size // strides[i]) - 1) * strides[i] + reach - size, 0)
            before = (total + (auto == "SAME_LOWER")) // 2
            after = total - before
        elif auto == "VALID":
            before = after = 0
        room = size + before + after - reach
        if room < 0:
            return None
        count = (-(-room // strides[i]) if ceil else room // strides[i]) + 1
        if ceil and (count - 1) * strides[i] >= size + before:  # starts in the padding behind
            count -= 1
        first = np.arange(count)[:, None] * strides[i] - before
        places = first + np.arange(kernel[i])[None, :] * dilations[i]
        result.append(Axis(places=places, size=size, padded=size + after))
    if np.prod([a.places.size / max(a.size, 1) for a in result]) > _MOST_GATHERED:
        return None
    return result


def gathered(maker: Maker, value: ir.Value, axes: list[Axis]) -> ir.Value:
    """Windows side by side: [N, C, windows * kernel, ...]; places outside hold one inside."""
    for i, axis in enumerate(axes):
        places = np.clip(axis.places, 0, axis.size - 1).reshape(-1)
        value = maker("Gather", value, maker.ints(*places), axis=i + _BATCH)
    return value


def split(maker: Maker, value: ir.Value, axes: list[Axis]) -> ir.Value:
    """[N, C, windows, kernel, windows, kernel, ...]."""
    shape = [0, 0] + [int(size) for axis in axes for size in axis.places.shape]
    return maker("Reshape", value, maker.ints(*shape))


def outer(axes: list[Axis], masks: list[Array]) -> Array:
    """Product of masks [windows, kernel], as [windows, kernel, windows, kernel, ...]."""
    result = np.ones([1] * (2 * len(axes)), dtype=bool)
    for i, mask in enumerate(masks):
        shape = [1] * (2 * len(axes))
        shape[2 * i : 2 * i + 2] = mask.shape
        result = result & mask.reshape(shape)
    return result


def kernel_axes(axes: list[Axis]) -> list[int]:
    """Dimensions of `split` that count places within a window."""
    return [_BATCH + 1 + 2 * i for i in range(len(axes))]


def plain(node: ir.Node) -> bool:
    """Whether no window of a pooling node is dilated."""
    return all(d == 1 for d in node.attributes.get_ints("dilations") or [1])


def max_pool(node: ir.Node, tape: Tape) -> Result:
    """Dilated MaxPool, and one whose positions are read.

    A place outside is replaced by one of the same window inside, which cannot change a maximum.
    """
    positions = make.used(node, 1)
    if node.inputs[0] is None or (plain(node) and not positions):
        return None
    axes = windows(node)
    if axes is None or not all(axis.inside.any(axis=1).all() for axis in axes):
        return None
    axes = [_inward(axis) for axis in axes]
    maker = make.Maker(node, tape)
    if positions:
        return _positions(node, maker, axes)
    kernel = [int(axis.places.shape[1]) for axis in axes]
    side_by_side = gathered(maker, node.inputs[0], axes)
    return [maker("MaxPool", side_by_side, kernel_shape=kernel, strides=kernel)]


def _inward(axis: Axis) -> Axis:
    inside = axis.inside
    first = np.take_along_axis(axis.places, inside.argmax(axis=1)[:, None], axis=1)
    places = np.where(inside, axis.places, first)
    return Axis(places=places, size=axis.size, padded=axis.padded)


def _positions(node: ir.Node, maker: Maker, axes: list[Axis]) -> Result:
    """Values and positions: of equal maxima the first in the order of memory."""
    sizes = make.dims(node.inputs[0])
    if node.inputs[0] is None or sizes is None or node.inputs[0].dtype not in FLOATS:
        return None
    spatial = sizes[_BATCH:]
    kernel = kernel_axes(axes)
    apart = split(maker, gathered(maker, node.inputs[0], axes), axes)
    peaks = maker("ReduceMax", apart, maker.ints(*kernel), keepdims=1)
    flat = np.zeros([1] * (2 * len(axes)), dtype=np.int64)
    for i, axis in enumerate(axes):
        shape = [1] * (2 * len(axes))
        shape[2 * i : 2 * i + 2] = axis.places.shape
        flat = flat * spatial[i] + axis.places.reshape(shape)
    last = int(np.prod(spatial)) - 1
    hit = maker(
        "Where",
        maker("Equal", apart, peaks),
        maker.array(flat[None, None], ir.DataType.INT64),
        maker.ints(last),
    )
    place = maker("ReduceMin", hit, maker.ints(*kernel), keepdims=0)
    if node.attributes.get_int("storage_order", 0):
        place = _column_major(maker, place, spatial)
    planes = np.arange(sizes[0] * sizes[1]).reshape(sizes[:2] + [1] * len(axes)) * (last + 1)
    place = maker("Add", place, maker.array(planes, ir.DataType.INT64))
    return [maker("Squeeze", peaks, maker.ints(*kernel)), place]


def _column_major(maker: Maker, place: ir.Value, spatial: list[int]) -> ir.Value:
    """Row-major places of a plane in column-major order."""
    parts, stride = [], int(np.prod(spatial))
    for i, size in enumerate(spatial):
        row = int(np.prod(spatial[i + 1 :]))
        stride = int(np.prod(spatial[:i]))
        index = maker("Mod", maker("Div", place, maker.ints(row)), maker.ints(size))
        parts.append(maker("Mul", index, maker.ints(stride)))
    total = parts[0]
    for part in parts[1:]:
        total = maker("Add", total, part)
    return total


RULES: Final[dict[str, Rule]] = {"MaxPool": max_pool}
