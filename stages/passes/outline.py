# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A graph without the bytes of its large weights, to ask TensorRT's parser about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx_ir as ir

if TYPE_CHECKING:
    from pathlib import Path

# Axes, shapes, scales and the like are smaller; the parser reads those.
_LARGE = 1 << 20
_HOLE = "zeros"


class Outline:
    """`model`, whose large weights become zeros that lie in a file without blocks on the disk."""

    def __init__(self, model: ir.Model, folder: Path) -> None:
        """Change the large weights of `model`; what else it is may change later."""
        self.model, self.folder = model, folder
        self.types: dict[tuple[str, str], bool] = {}
        most = 0
        for value in (v for graph in model.graphs() for v in graph.initializers.values()):
            tensor = value.const_value
            if tensor is not None and tensor.nbytes >= _LARGE:
                most = max(most, tensor.nbytes)
                value.const_value = _zeros(tensor, value.name or "", folder)
        with (folder / _HOLE).open("wb") as stream:
            stream.truncate(most)

    def refusals(self) -> list[dict[str, Any]]:
        """What one parse says of the graph as it is now."""
        return self._ask(self.model)

    def has_type(self, value: ir.Value, kind: str) -> bool:
        """Whether TensorRT has tensors of the type of `value`, as "input" or "initializer"."""
        if not isinstance(value.type, ir.TensorType):
            return False
        key = kind, str(value.type)
        if key not in self.types:
            told = self._ask(_one_value(value, kind))
            self.types[key] = not any(one["node"] < 0 and not one["name"] for one in told)
        return self.types[key]

    def of_node(self, node: ir.Node) -> list[dict[str, Any]]:
        """What one parse says of `node` alone; nothing of one whose inputs are not known."""
        return self._ask(made) if (made := _one_node(node)) is not None else []

    def _ask(self, model: ir.Model) -> list[dict[str, Any]]:
        from stages.backends.tensorrt_rtx import parse

        path = self.folder / "outline.onnx"
        ir.save(model, path)
        return parse.refusals(path)


def _zeros(tensor: ir.TensorProtocol, name: str, folder: Path) -> ir.ExternalTensor:
    shape = ir.Shape([int(size) for size in tensor.shape.numpy()])
    return ir.ExternalTensor(
        _HOLE, 0, tensor.nbytes, tensor.dtype, shape=shape, name=name, base_dir=folder
    )


def _one_value(value: ir.Value, kind: str) -> ir.Model:
    """A graph that hands out one value of that type."""
    if kind == "input" or value.const_value is None:
        one = ir.val("x", shape=ir.Shape([1]), type=value.type)
        inputs, initializers = [one], []
    else:
        one = ir.Value(name="x", const_value=value.const_value, type=value.type, shape=value.shape)
        inputs, initializers = [], [one]
    made = ir.node("Identity", [one])
    made.outputs[0].name, made.outputs[0].type = "y", value.type
    made.outputs[0].shape = one.shape
    return _model(inputs, made, initializers, {"": 20})


def _one_node(node: ir.Node) -> ir.Model | None:
    """`node` in a graph of its own; None for a branch or loop, and where types are not known."""
    graphs = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    given = {value: _copy(value) for value in node.inputs if value is not None}
    known = all(one.type is not None and one.shape is not None for one in given.values())
    if not known or any(attribute.type in graphs for attribute in node.attributes.values()):
        return None
    made = ir.Node(
        node.domain,
        node.op_type,
        [value and given[value] for value in node.inputs],
        node.attributes.values(),
        num_outputs=len(node.outputs),
        name=node.name,
    )
    for own, value in zip(made.outputs, node.outputs, strict=True):
        own.name, own.type, own.shape = value.name, value.type, value.shape
    opsets = dict(node.graph.opset_imports) if node.graph is not None else {}
    inputs = [one for one in given.values() if one.const_value is None]
    return _model(
        inputs, made, [one for one in given.values() if one.const_value is not None], opsets
    )


def _copy(value: ir.Value) -> ir.Value:
    return ir.Value(
        name=value.name, type=value.type, shape=value.shape, const_value=value.const_value
    )


def _model(
    inputs: list[ir.Value],
    node: ir.Node,
    initializers: list[ir.Value],
    opsets: dict[str, int],
) -> ir.Model:
    outputs = [value for value in node.outputs if value.name]
    graph = ir.Graph(
        inputs, outputs, nodes=[node], initializers=initializers, opset_imports=opsets, name="one"
    )
    return ir.Model(graph, ir_version=10)
