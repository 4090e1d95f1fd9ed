# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Which activations are observed, and how a graph is opened for that."""

from __future__ import annotations

import onnx_ir as ir

_IMAGE_RANK = 4
# What `precision` quantizes; both operands of the last two, a bias is none of them.
_QUANTIZED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
# What a builder fuses behind them, where all but one input is constant.
_FUSED = frozenset({"Add", "BatchNormalization", "Mul"})


def observed(model: ir.Model) -> dict[str, int]:
    """The activations to observe: every float32 one of the main graph.

    Constants are left out: their ranges are known. Values inside control flow are left out too,
    since they have no single value per run.

    Returns:
        By name of the graph's float32 activations, inputs included and in order of the graph: the
        axis of its channels, as `channel_axis` says. A feature map that needs no range counts as
        one: nothing asks for its channels.
    """
    with_range = ranged(model)
    made = (value for node in model.graph if node.op_type != "Constant" for value in node.outputs)
    return {
        value.name: axis if axis == _rank(value) - 1 or value.name in with_range else 0
        for value in (*model.graph.inputs, *made)
        if value.name and _float(value) and value.const_value is None
        for axis in [channel_axis(value)]
    }


def opening(model: ir.Model) -> bytes:
    """What makes each observed activation an output, appended to the model's serialized bytes.

    Protobuf parses messages set one behind the other as one, with their lists joined: so a graph
    of any size is opened without reading its weights (protobuf.dev, "Last One Wins").
    """
    outside = {value.name for value in (*model.graph.inputs, *model.graph.outputs)}
    names = [name for name in observed(model) if name not in outside]
    values = [ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT)) for name in names]
    graph = ir.Graph((), values, nodes=(), opset_imports={})
    return ir.to_proto(ir.Model(graph, ir_version=model.ir_version)).SerializeToString()


def ranged(model: ir.Model) -> set[str]:
    """Names of the activations that precision can need a range of, and so a histogram.

    These are what the quantized operators read, and the shortcuts of residual Adds, whose other
    input a convolution made. Every other activation has its extremes recorded, no more.
    """
    found: set[str] = set()
    for node in model.graph:
        if node.domain:
            continue
        if node.op_type in _QUANTIZED:
            found |= _read(node)
        elif node.op_type == "Add":
            for value, other in zip(node.inputs, reversed(node.inputs), strict=True):
                if value is not None and _activation(value) and _made_by_convolution(other):
                    found.add(value.name or "")
    return found


def needed(model: ir.Model) -> set[str]:
    """Names of the activations without whose range no quantized operator can be: those it reads."""
    nodes = (node for node in model.graph if not node.domain and node.op_type in _QUANTIZED)
    return {name for node in nodes for name in _read(node)}


def channel_axis(value: ir.Value) -> int:
    """1 for feature maps [N, C, H, W], the last for anything flatter; 0 where there is none.

    The last one, too, of whatever is multiplied by a weight: a product sums over it, of four
    dimensions (windows of tokens, or heads) as of two. There is none where that axis is the batch
    or has no fixed size: what is recorded of channels must not depend on how many samples a run
    holds, nor on their length.
    """
    if value.shape is None:
        return 0
    last = len(value.shape) - 1
    axis = 1 if len(value.shape) >= _IMAGE_RANK and not _multiplied(value) else last
    return axis if axis > 0 and isinstance(value.shape[axis], int) else 0


def _multiplied(value: ir.Value) -> bool:
    """Whether a MatMul reads it on its left, and a weight on its right."""
    return any(
        use.node.op_type == "MatMul" and use.idx == 0 and _constant(use.node.inputs[1])
        for use in value.uses()
    )


def _read(node: ir.Node) -> set[str]:
    """Activations among the two operands."""
    values = [value for value in node.inputs[:2] if value is not None]
    return {value.name or "" for value in values if _activation(value)}


def _rank(value: ir.Value) -> int:
    return 0 if value.shape is None else len(value.shape)


def _made_by_convolution(value: ir.Value | None) -> bool:
    while value is not None:
        node = value.producer()
        if node is None or node.domain:
            return False
        if node.op_type in _CONVOLUTIONS:
            return True
        inputs = [one for one in node.inputs if one is not None and _activation(one)]
        if node.op_type not in _FUSED or len(inputs) != 1:
            return False
        value = inputs[0]
    return False


def _activation(value: ir.Value) -> bool:
    return _float(value) and not _constant(value)


def _constant(value: ir.Value | None) -> bool:
    return value is not None and ir.convenience.get_const_tensor(value) is not None


def _float(value: ir.Value) -> bool:
    return value.type == ir.TensorType(ir.DataType.FLOAT)
