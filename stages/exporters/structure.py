# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What a graph must be like so that every later stage may trust it.

`export` is the border: beyond it nobody looks for cycles, dangling inputs, names defined twice,
functions that call themselves, negative sizes (all of which ONNX's own checker sees), tensors with
more or fewer bytes than they need, or types and shapes that are not the true ones. External data
are not read for that.
"""

from __future__ import annotations

import math
import tempfile
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError, Message

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Tensors above this hold no shape that shape inference would look at.
_SHAPE_LIKE_BYTES = 1 << 12
# TensorRT's own plugins end so, and exporters leave them in ONNX's domain, where they are unknown.
_PLUGIN = "_TRT"
_PLUGIN_DOMAIN = "tensorrt.plugins"
_REFUSALS = (
    DecodeError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    ir.serde.SerdeError,
    RecursionError,
    RuntimeError,
    TypeError,
    UnicodeDecodeError,  # a damaged name makes even the checker's message unreadable
    ValueError,
)


def check(path: Path, name: str) -> None:
    """Check a graph; weights beside it stay on disk.

    Args:
        path: the ONNX file, with its external data beside it.
        name: what messages call it.

    Raises:
        SourceModelError: ONNX's checker refuses it, a tensor has other bytes than its type and
            shape ask for, or a declared type or shape is not the true one.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        _checker(model, path)
        ir.from_proto(model)  # as every later stage does
    except _REFUSALS as error:
        raise _refused(f"{name} is not valid ONNX: {_cause(error)}") from None
    for tensor in tensors(model):
        if fault := _fault(tensor, path.parent):
            raise _refused(f"{name}: tensor {tensor.name!r} {fault}")
    _check_shapes(model, name)


def _cause(error: BaseException) -> str:
    """The innermost reason: onnx_ir wraps it in one error for each level of the graph."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


def tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model, wherever it lies: subgraphs, functions, sparse tensors."""
    return (item for item in _within(message) if isinstance(item, onnx.TensorProto))


def _within(message: Message) -> Iterator[Message]:
    """All messages in a model; their depth is limited by the parser, to a hundred levels."""
    todo = [message]
    while todo:
        for field, value in todo.pop().ListFields():
            if field.message_type is None:
                continue
            for item in [value] if isinstance(value, Message) else value:
                yield item
                if isinstance(item, onnx.TensorProto):  # to list its fields would copy its data
                    yield from item.external_data
                else:
                    todo.append(item)


def check_text(model: onnx.ModelProto, name: str) -> None:
    """Refuse text that is not UTF-8, of which protobuf makes bytes where others expect text.

    Raises:
        SourceModelError: there is such text.
    """
    for message in (model, *_within(model)):
        for field in message.DESCRIPTOR.fields:
            if field.type == field.TYPE_STRING:
                value = getattr(message, field.name)
                texts = [value] if isinstance(value, str | bytes) else value
                if any(isinstance(text, bytes) for text in texts):
                    where = f"{message.DESCRIPTOR.name}.{field.name}"
                    raise _refused(
                        f"{name} is not valid ONNX: {where} holds text that is not UTF-8"
                    )


def _fault(tensor: onnx.TensorProto, folder: Path) -> str | None:
    dims = list(tensor.dims)
    try:
        kind = ir.DataType(tensor.data_type)
        wanted, found, unit = _amounts(tensor, kind, math.prod(dims), folder)
    except (ValueError, TypeError):
        return f"has the type {tensor.data_type}, of which it can hold no values"
    if wanted == found:
        return None
    return f"of type {kind.name} and shape {dims} needs {wanted} {unit} and has {found}"


def _amounts(
    tensor: onnx.TensorProto, kind: ir.DataType, count: int, folder: Path
) -> tuple[int, int, str]:
    """What `count` values need, and what there is, in one unit."""
    if kind == ir.DataType.STRING:
        return count, len(tensor.string_data), "strings"
    octets = (count * kind.bitwidth + 7) // 8
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return octets, _external(tensor, folder), "bytes"
    if tensor.HasField("raw_data"):
        return octets, len(tensor.raw_data), "bytes"
    # In the typed fields complex numbers take two entries, and small integers share one.
    per_entry = max(1, 8 // kind.bitwidth)
    per_value = 2 if kind in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128) else 1
    filled = [value for field, value in tensor.ListFields() if field.name.endswith("_data")]
    return -(-count * per_value // per_entry), sum(map(len, filled)), "entries"


def _external(tensor: onnx.TensorProto, folder: Path) -> int:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if "length" in entries:
        return int(entries["length"])
    return (folder / entries["location"]).stat().st_size - int(entries.get("offset", 0))


def _checker(model: onnx.ModelProto, path: Path) -> None:
    """ONNX's own checker; a plugin without a domain is given one, else it is an unknown op."""
    unknown = [
        item
        for item in _within(model)
        if isinstance(item, onnx.NodeProto) and not item.domain and item.op_type.endswith(_PLUGIN)
    ]
    if not unknown:
        onnx.checker.check_model(str(path))
        return
    for node in unknown:
        node.domain = _PLUGIN_DOMAIN
    for owner in (model, *model.functions):
        owner.opset_import.append(onnx.helper.make_opsetid(_PLUGIN_DOMAIN, 1))
    with tempfile.NamedTemporaryFile(dir=path.parent) as named:  # beside the external data
        named.write(model.SerializeToString())
        named.flush()
        onnx.checker.check_model(named.name)


def _check_shapes(model: onnx.ModelProto, name: str) -> None:
    """Declared types and shapes against those that ONNX infers from the operators."""
    for tensor in tensors(model):
        if len(tensor.raw_data) > _SHAPE_LIKE_BYTES:
            tensor.ClearField("raw_data")  # it would be copied four times
    try:
        onnx.shape_inference.infer_shapes(model, strict_mode=True)
    except _REFUSALS as error:
        # Its other complaints are about operators, of which ONNX Runtime judges.
        if lines := [line for line in str(error).splitlines() if "differ" in line]:
            msg = f"{name} declares a type or shape that is not the true one: {lines[0].strip()}"
            raise _refused(msg) from None


def _refused(what: str) -> errors.SourceModelError:
    mend = "export the model again with a current exporter; `onnx.checker` must accept it"
    if "No Op registered" in what:
        mend = "correct the op, or give a custom op a domain of its own, such as my.ops"
    return errors.SourceModelError(what, mend=mend)
