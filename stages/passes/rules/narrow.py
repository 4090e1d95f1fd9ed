# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Types that TensorRT has no kernel for, computed in int32, of which they are a part: exact.

TensorRT knows uint8 only at a graph's inputs and outputs, and has few kernels for int8; what is
computed there in int32 and taken modulo 2^8 is what wraps around in the narrow type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx_ir as ir

from stages.passes.rules import make

if TYPE_CHECKING:
    from onnx_ir.tape import Tape

    from stages.passes.rules.make import Maker, Result, Rule

_WIDE: Final = ir.DataType.INT32
_BYTE: Final = ir.DataType.UINT8
_SPAN: Final = 256
_NARROW: Final = {ir.DataType.UINT8: 0, ir.DataType.INT8: -128}  # type, least value
_HOLD_BYTES: Final = {
    ir.DataType.FLOAT,
    ir.DataType.FLOAT16,
    ir.DataType.BFLOAT16,
    ir.DataType.DOUBLE,
    ir.DataType.INT32,
    ir.DataType.INT64,
    ir.DataType.BOOL,
}
# Where a value is known to fit a narrow type, its `meta` says so; no file keeps that.
_FITS: Final = "enginery.fits"


def wide(maker: Maker, value: ir.Value) -> ir.Value:
    """`value` of a narrow type as int32, without the narrow one between where that is proven."""
    source = _fitting(value)
    if source is None:
        return maker.cast(value, _WIDE)
    return source if source.dtype == _WIDE else maker.cast(source, _WIDE)


def _fitting(value: ir.Value) -> ir.Value | None:
    """What `value` is a Cast of, where that is known to fit the type of `value`."""
    producer = value.producer()
    if producer is None or producer.op_type != "Cast" or producer.domain != "":
        return None
    source = producer.inputs[0]
    return source if source is not None and source.meta.get(_FITS) == value.dtype else None


def narrowed(maker: Maker, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    """`value`, of which the caller knows that it fits, as `dtype`."""
    value.meta[_FITS] = dtype
    if value.dtype is None:
        value.dtype = _WIDE
    return maker.cast(value, dtype)


def wrapped(maker: Maker, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    """The int32 `value` modulo 2^8, as `dtype`."""
    least = maker.array(_NARROW[dtype], _WIDE)
    span = maker.array(_SPAN, _WIDE)
    if dtype == _BYTE:
        rest = maker("Mod", value, span)
    else:
        rest = maker("Add", maker("Mod", maker("Sub", value, least), span), least)
    return narrowed(maker, rest, dtype)


def moved(node: ir.Node, tape: Tape) -> Result:
    """Bytes that are moved, compared or chosen among: in int32, back where the result is bytes."""
    return _computed(node, tape, {_BYTE}, wrap=False)


def arithmetic(node: ir.Node, tape: Tape) -> Result:
    """Arithmetic of bytes, modulo 2^8."""
    return _computed(node, tape, {_BYTE}, wrap=True)


def remainder(node: ir.Node, tape: Tape) -> Result:
    """Mod of bytes of either sign; the remainder of such is one."""
    return _computed(node, tape, set(_NARROW), wrap=False)


def _computed(node: ir.Node, tape: Tape, kinds: set[ir.DataType], *, wrap: bool) -> Result:
    kind = next((v.dtype for v in node.inputs if v is not None and v.dtype in kinds), None)
    if kind is None or any(output.dtype is None for output in node.outputs if output.name):
        return None
    maker = make.Maker(node, tape)
    inputs = [wide(maker, v) if v is not None and v.dtype in kinds else v for v in node.inputs]
    results = maker.again(node, inputs)
    back = wrapped if wrap else narrowed
    return [
        back(maker, new, old.dtype) if old.dtype in kinds else new
        for old, new in zip(node.outputs, results, strict=True)
    ]


def cast(node: ir.Node, tape: Tape) -> Result:
    """A type between that loses nothing goes: Cast of what is known to fit the narrow type."""
    value = node.inputs[0]
    to = node.attributes.get_int("to")
    if value is None or value.dtype not in _NARROW or to is None:
        return None
    source = _fitting(value)
    if source is None or to not in _HOLD_BYTES:
        return None
    return [make.Maker(node, tape).cast(source, ir.DataType(to))]


def bit_cast(node: ir.Node, tape: Tape) -> Result:
    """BitCast between types of one byte: bool and int8 to uint8, int8 from uint8."""
    value, output = node.inputs[0], node.outputs[0].dtype
    if value is None or output not in _NARROW:
        return None
    if value.dtype not in {*_NARROW, ir.DataType.BOOL} or value.dtype == output:
        return None
    maker = make.Maker(node, tape)
    return [wrapped(maker, wide(maker, value), output)]


def reduced(node: ir.Node, tape: Tape) -> Result:
    """ReduceMax and ReduceMin of truth values and bytes: in int32, the result held in range.

    Of nothing, ReduceMax is the least value of the type and ReduceMin the greatest.
    """
    value = node.inputs[0]
    if value is None or value.dtype not in {ir.DataType.BOOL, _BYTE}:
        return None
    axes = make.given(node, 1)
    if axes is not None and make.constant(axes) is None:
        return None  # TensorRT refuses it for that
    maker = make.Maker(node, tape)
    (result,) = maker.again(node, [wide(maker, value), *node.inputs[1:]])
    most = 1 if value.dtype == ir.DataType.BOOL else _SPAN - 1
    held = maker("Max", result, maker.array(0, _WIDE))
    held = maker("Min", held, maker.array(most, _WIDE))
    return [narrowed(maker, held, value.dtype)]


def max_pool(node: ir.Node, tape: Tape) -> Result:
    """MaxPool of bytes, in float32, which holds all of them."""
    value = node.inputs[0]
    if value is None or value.dtype != _BYTE or make.used(node, 1):
        return None
    maker = make.Maker(node, tape)
    wider = maker.cast(wide(maker, value), ir.DataType.FLOAT)
    result = maker.again(node, [wider], outputs=1)[0]
    result.dtype = ir.DataType.FLOAT
    return [narrowed(maker, result, _BYTE)]


_MOVED: Final = (
    "Concat Expand Gather GatherElements GatherND Greater GreaterOrEqual Less"
    " LessOrEqual Max Min Pad Reshape Slice Split Squeeze Tile TopK Transpose"
    " Unsqueeze Where Abs Sign ArgMax ArgMin"
)

RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(_MOVED.split(), moved),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), arithmetic),
    "Mod": remainder,
    "Cast": cast,
    "BitCast": bit_cast,
    "ReduceMax": reduced,
    "ReduceMin": reduced,
    "MaxPool": max_pool,
}
