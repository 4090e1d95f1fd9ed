# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Compiles a network and writes it as ONNX, with the sizes that vary left open.

`mindspore.onnx.export` writes a size that it knows into the constants of the graph, such as the
target of a Reshape, whatever its `dynamic_axes` say. So it is given inputs without those sizes; a
network that it cannot compile so is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import mindspore
from mindspore import Tensor
from mindspore.train import mind_ir_pb2

from stages.exporters.mindspore import network, reasons
from stages.lib import errors

if TYPE_CHECKING:
    from stages.exporters.api import Arrays, Order

# In the current folder, a scratch one: MindSpore refuses paths with a space or an accent.
_MADE = Path("traced")
_TRIED = Path("tried")
_FILE = "model.onnx"


def trace(order: Order, example: Arrays) -> Path:
    """Write the graph, and large weights beside it, into a folder of its own; return its path.

    Args:
        order: what to export.
        example: gives the types, and the sizes where none varies.

    Raises:
        SourceModelError: MindSpore's exporter cannot.
    """
    try:
        return _export(order, _open(order, example), _MADE)
    except Exception as error:
        raise _refused(order, example, error) from error


def _export(order: Order, inputs: list[Any], folder: Path) -> Path:
    # A network that was exported once is no longer whole.
    mindspore.onnx.export(
        network.load(order),
        *inputs,
        file_name=str(folder / _FILE),
        input_names=list(order.inputs),
        dynamic_axes={
            name: {axis: size for axis, size in enumerate(spec["shape"]) if isinstance(size, str)}
            for name, spec in order.inputs.items()
        },
    )
    return folder / _FILE


def _open(order: Order, example: Arrays) -> list[Any]:
    """Tensors without values, whose symbolic dimensions have no size."""
    tensors = []
    for name, spec in order.inputs.items():
        known = Tensor(example[name])
        shape = [None if isinstance(size, str) else size for size in spec["shape"]]
        tensors.append(Tensor(shape=shape, dtype=known.dtype) if None in shape else known)
    return tensors


def _refused(order: Order, example: Arrays, error: Exception) -> errors.SourceModelError:
    reason, op = reasons.of(error), reasons.unknown_op(error)
    if op is not None:
        reason = f"it does not know the op {op}{_places(order, example, op)}"
    sizes = {size: None for spec in order.inputs.values() for size in spec["shape"]}
    varying = ", ".join(size for size in sizes if isinstance(size, str))
    if varying and _exports_fixed(order, example):
        msg = f"{reasons.EXPORTER} needs a fixed {varying} for {order.entry}: {reason}"
        mend = (
            f"declare numbers for {varying} in models.<m>.inputs; or let construct() do without"
            " them: `x.reshape((-1, 64))` for `x.reshape((x.shape[0], -1))`, no `if` over a shape"
        )
        return errors.SourceModelError(msg, mend=mend)
    msg = f"{reasons.EXPORTER} cannot export {order.entry}: {reason}"
    mend = (
        "let construct() compute that by other ops, return tensors or tuples of them, and branch"
        " on no values"
    )
    return errors.SourceModelError(msg, mend=mend)


def _exports_fixed(order: Order, example: Arrays) -> bool:
    try:
        _export(order, [Tensor(example[name]) for name in order.inputs], _TRIED)
    except Exception:
        return False
    return True


def _places(order: Order, example: Arrays, op: str) -> str:
    """Where in the network it is, by the names of MindSpore's own graph, if that can be had."""
    try:
        made = f"{_TRIED}.mindir"
        mindspore.export(
            network.load(order), *_open(order, example), file_name=made, file_format="MINDIR"
        )
        graph = mind_ir_pb2.ModelProto.FromString(Path(made).read_bytes()).graph
    except Exception:
        return ""
    nodes = [node.domain for node in graph.node if node.op_type.split(":")[2:3] == [op]]
    return f", at {', '.join(nodes)}" if nodes else ""
