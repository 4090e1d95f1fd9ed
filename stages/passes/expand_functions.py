# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Operators that TensorRT lacks, and that ONNX itself defines by others, become those others.

The body is the one in ONNX's schema of the operator, at the graph's opset and for the node's types.

Covered whatever the node says: AffineGrid, Attention, CausalConvWithState, CenterCropPad,
LinearAttention, NegativeLogLikelihoodLoss, SoftmaxCrossEntropyLoss, SwiGLU.
Covered where it is refused: CastLike (as Cast), Celu and Clip by type, LayerNormalization with more
than one output in use.

TensorRT's own Attention is left out: its parser takes one output, no softcap and equal head sizes,
and its compiler fails on nearly all that is left (measured with TensorRT-RTX 1.7.1).

Requires: known element types, and ranks where the body depends on them (run infer-shapes before).
Ensures: the same results up to rounding: a body's order of operations is one of many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, RemoveUnusedNodesPass

from stages.lib import op_schemas
from stages.passes import infer_shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from stages.passes.api import Context

EXACT: Final = False

# Bodies that are made of such operators again are expanded in the next round.
_ROUNDS = 4
_DOMAIN = "enginery.expanded"
_PRECISE = {ir.DataType.FLOAT, ir.DataType.DOUBLE}
_CLIPPED = {*_PRECISE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.INT32}


def run(model: ir.Model, context: Context) -> None:
    """Change `model` in place; a node whose body ONNX does not give stays."""
    for _ in range(_ROUNDS):
        found = [(node, _body(node, model)) for graph in model.graphs() for node in graph]
        bodies = [(node, body) for node, body in found if body is not None]
        if not bodies:
            return
        for index, (node, body) in enumerate(bodies):
            node.domain, node.overload = _DOMAIN, str(index)
            body.domain, body.overload = _DOMAIN, str(index)
            body.opset_imports.update(model.opset_imports)
            model.functions[body.identifier()] = body
        InlinePass(lambda function: function.domain == _DOMAIN)(model)
        model.opset_imports.pop(_DOMAIN, None)
        RemoveUnusedNodesPass()(model)
        infer_shapes.run(model, context)


def _always(node: ir.Node) -> bool:  # noqa: ARG001 (one signature for all)
    return True


def _several_outputs(node: ir.Node) -> bool:
    return any(value.uses() or value.is_graph_output() for value in node.outputs[1:])


def _low(types: set[ir.DataType]) -> Callable[[ir.Node], bool]:
    return lambda node: node.outputs[0].dtype not in {None, *types}


_EXPANDED: Final[dict[str, Callable[[ir.Node], bool]]] = {
    "AffineGrid": _always,
    "Attention": _always,
    "CastLike": _always,
    "CausalConvWithState": _always,
    "Celu": _low(_PRECISE),
    "CenterCropPad": _always,
    "Clip": _low({*_CLIPPED, ir.DataType.INT64}),
    "LayerNormalization": _several_outputs,
    "LinearAttention": _always,
    "NegativeLogLikelihoodLoss": _always,
    "SoftmaxCrossEntropyLoss": _always,
    "SwiGLU": _always,
}


def _body(node: ir.Node, model: ir.Model) -> ir.Function | None:
    wanted = _EXPANDED.get(node.op_type) if node.domain == "" else None
    opset = model.opset_imports.get("")
    if wanted is None or opset is None or not wanted(node):
        return None
    proto = _function(node, opset)
    if proto is None:
        return None
    said = {entry.domain: entry.version for entry in proto.opset_import}
    same = set(said) == {""} and all(
        _lasting(inner, said[""], opset) for inner in _inner(proto.node)
    )
    return ir.serde.deserialize_function(proto) if same and _fit(proto, node) else None


def _fit(proto: onnx.FunctionProto, node: ir.Node) -> bool:
    """A body lacks what it was not asked for; what nobody reads gets a value of no meaning."""
    made = {name for inner in proto.node for name in inner.output}
    del proto.output[len(node.outputs) :]
    for name, value in zip(proto.output, node.outputs, strict=True):
        if name in made:
            continue
        if value.uses() or value.is_graph_output():
            return False
        proto.node.add(op_type="Identity", input=[proto.input[0]], output=[name])
    return True


def _lasting(node: onnx.NodeProto, opset: int, later: int) -> bool:
    """Whether a node of a body means the same in the graph."""
    # Axes of reductions became an input; to name none always meant all.
    over_all = node.op_type.startswith("Reduce") and not any(
        attribute.name == "axes" for attribute in node.attribute
    )
    return over_all or op_schemas.only_adds(node.op_type, opset, later)


def _inner(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _inner(graph.node)


def _function(node: ir.Node, opset: int) -> onnx.FunctionProto | None:
    """The body for the types of this node, in the newest words that ONNX has up to `opset`."""
    schema = cast("Any", onnx.defs.get_schema(node.op_type, opset, ""))  # its stubs lack these
    plain, typed = schema.function_opset_versions, schema.context_dependent_function_opset_versions
    best = max((number for number in (*plain, *typed) if number <= opset), default=None)
    if best is None:
        return None
    if best in plain:
        data = schema.get_function_with_opset_version(best)
    elif all(value is None or value.type is not None for value in node.inputs):
        faces = [b"" if v is None else _type(v) for v in node.inputs]
        call = ir.to_proto(node).SerializeToString()
        data = schema.get_context_dependent_function_with_opset_version(best, call, faces)
    else:
        return None
    return onnx.FunctionProto.FromString(data) if data else None


def _type(value: ir.Value) -> bytes:
    return bytes(ir.to_proto(value).type.SerializeToString())
