# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Sampling between pixels: deformable convolution and RoiAlign, by GridSample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from stages.passes.rules import make

if TYPE_CHECKING:
    from onnx_ir.tape import Tape

    from stages.passes.rules.make import Maker, Result, Rule

_IMAGE: Final = 4  # dimensions of a batch of images


def _between(maker: Maker, places: ir.Value, size: int) -> ir.Value:
    """Places in pixels as GridSample counts them: -1 and 1 are the outer edges."""
    scale = maker.array(2 / size, ir.DataType.FLOAT)
    return maker("Add", maker("Mul", places, scale), maker.array(1 / size - 1, ir.DataType.FLOAT))


def _grid(maker: Maker, down: ir.Value, across: ir.Value) -> ir.Value:
    pair = [maker("Unsqueeze", value, maker.ints(-1)) for value in (across, down)]
    return maker("Concat", *pair, axis=-1)


def deformable(node: ir.Node, tape: Tape) -> Result:
    """DeformConv of images: all places of the kernel are sampled at once, then multiplied."""
    value, weight, offset = node.inputs[:3]
    bias, mask = make.given(node, 3), make.given(node, 4)
    sizes, kernel = make.dims(weight), node.attributes.get_ints("kernel_shape")
    known = [s for s in [*(make.shape(value) or [])[1:], *(make.shape(offset) or [])[2:]] if s]
    if value is None or value.dtype != ir.DataType.FLOAT or sizes is None:
        return None
    if len(sizes) != _IMAGE or len(known) != _IMAGE + 1:
        return None
    kernel = list(kernel or sizes[2:])
    groups = node.attributes.get_int("offset_group", 1)
    channels, height, width, rows, columns = known
    taps = kernel[0] * kernel[1]
    down, across = _taps(node, kernel, rows, columns)
    maker = make.Maker(node, tape)
    float32 = ir.DataType.FLOAT
    moved = maker("Reshape", offset, maker.ints(-1, taps, 2, rows, columns))
    places = [
        _between(
            maker,
            maker(
                "Add",
                maker("Gather", moved, maker.array(i, ir.DataType.INT64), axis=2),
                maker.array(base[None], float32),
            ),
            size,
        )
        for i, (base, size) in enumerate(((down, height), (across, width)))
    ]
    grid = maker("Reshape", _grid(maker, *places), maker.ints(-1, taps * rows, columns, 2))
    images = maker("Reshape", value, maker.ints(-1, channels // groups, height, width))
    sampled = maker("GridSample", images, grid, align_corners=0, padding_mode="zeros")
    if mask is not None:
        shares = maker("Reshape", mask, maker.ints(-1, 1, taps * rows, columns))
        sampled = maker("Mul", sampled, shares)
    stacked = maker("Reshape", sampled, maker.ints(-1, channels * taps, rows, columns))
    flat = maker("Reshape", weight, maker.ints(sizes[0], sizes[1] * taps, 1, 1))
    inputs = [stacked, flat] if bias is None else [stacked, flat, bias]
    return [maker("Conv", *inputs, group=node.attributes.get_int("group", 1))]


def _taps(node: ir.Node, kernel: list[int], rows: int, columns: int) -> list[make.Array]:
    """Where the undeformed kernel reads: down and across, each [taps, rows, columns]."""
    strides = node.attributes.get_ints("strides") or [1, 1]
    dilations = node.attributes.get_ints("dilations") or [1, 1]
    pads = node.attributes.get_ints("pads") or [0, 0, 0, 0]
    places = []
    for axis in range(2):
        tap = np.indices(tuple(kernel))[axis].reshape(-1, 1, 1) * dilations[axis]
        window = np.indices((rows, columns))[axis][None] * strides[axis]
        places.append(tap + window - pads[axis])
    return places


def roi_align(node: ir.Node, tape: Tape) -> Result:
    """RoiAlign's mean over a stated number of samples, in batches of one image."""
    value, rois = node.inputs[:2]
    shape = make.shape(value)
    attributes = node.attributes
    samples = attributes.get_int("sampling_ratio", 0)
    if value is None or shape is None or value.dtype != ir.DataType.FLOAT or samples < 1:
        return None
    if attributes.get_string("mode", "avg") != "avg" or shape[0] != 1 or rois is None:
        return None
    sizes = [size for size in shape[1:] if size]
    if len(sizes) != _IMAGE - 1:
        return None
    maker = make.Maker(node, tape)
    rows, columns = attributes.get_int("output_height", 1), attributes.get_int("output_width", 1)
    half = attributes.get_string("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    shift = maker.array(0.5 if half else 0.0, ir.DataType.FLOAT)
    scale = maker.array(attributes.get_float("spatial_scale", 1.0), ir.DataType.FLOAT)
    boxes = maker("Sub", maker("Mul", rois, scale), shift)
    places = []
    for first, count in ((1, rows), (0, columns)):
        begin, end = (maker.fixed(boxes, 1, i) for i in (first, first + 2))
        length = maker("Sub", end, begin)
        if not half:
            length = maker("Max", length, maker.array(1.0, ir.DataType.FLOAT))
        steps = (np.arange(count * samples) + 0.5) / (count * samples)
        part = maker("Mul", length, maker.array(steps[None], ir.DataType.FLOAT))
        places.append(maker("Add", begin, part))  # [rois, count * samples]
    return [_pooled(maker, value, places, sizes, samples)]


def _pooled(
    maker: Maker, value: ir.Value, places: list[ir.Value], shape: list[int], samples: int
) -> ir.Value:
    """Means of `samples` x `samples` values sampled; what lies a pixel outside counts as 0."""
    channels, height, width = shape
    down = maker("Unsqueeze", places[0], maker.ints(2))
    across = maker("Unsqueeze", places[1], maker.ints(1))
    inside = [_inside(maker, p, s) for p, s in ((down, height), (across, width))]
    nothing = maker("Mul", maker("Add", down, across), maker.array(0.0, ir.DataType.FLOAT))
    grid = _grid(
        maker,
        maker("Add", _between(maker, down, height), nothing),
        maker("Add", _between(maker, across, width), nothing),
    )
    whole = maker("Shape", nothing)
    flat = maker("Reshape", grid, maker.ints(1, -1, 1, 2))
    sampled = maker("GridSample", value, flat, align_corners=0, padding_mode="border")
    target = maker("Concat", maker.ints(channels), whole, axis=0)
    windows = maker("Reshape", sampled, target)  # [channels, rois, rows, columns]
    zero = maker.array(0.0, ir.DataType.FLOAT)
    kept = maker("Where", maker("And", *inside), windows, zero)
    size = [samples, samples]
    means = maker("AveragePool", kept, kernel_shape=size, strides=size)
    return maker("Transpose", means, perm=[1, 0, 2, 3])


def _inside(maker: Maker, places: ir.Value, size: int) -> ir.Value:
    low = maker("GreaterOrEqual", places, maker.array(-1.0, ir.DataType.FLOAT))
    return maker("And", low, maker("LessOrEqual", places, maker.array(size, ir.DataType.FLOAT)))


RULES: Final[dict[str, Rule]] = {"DeformConv": deformable, "RoiAlign": roi_align}
