# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The one way in which a clean graph is written, however it came about.

Nodes are sorted by what they need, and stay in their order otherwise; initializers come as their
first reader does, with plain bytes; opset imports, attributes and metadata are sorted by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

# Since then an initializer need not be an input too, and none is (onnx/docs/IR.md).
_IR_VERSION = 4
_LAST = 1 << 62


def arrange(model: ir.Model) -> None:
    """Change `model` in place; what it computes and all its names stay.

    Raises:
        ValueError: the graph has a cycle.
    """
    model.graph.sort()
    model.ir_version = max(model.ir_version, _IR_VERSION)
    for graph in model.graphs():
        _sort_initializers(graph)
        for value in graph.initializers.values():
            value.const_value = _plain(value.const_value)
    for node in model.graph.all_nodes():
        _sort(node.attributes)
        _sort(node.metadata_props)
    _sort(model.metadata_props)
    _sort(model.graph.opset_imports)


def _sort_initializers(graph: ir.Graph) -> None:
    first: dict[str, int] = {}
    for node in graph.all_nodes():
        for value in node.inputs:
            if value is not None:
                first.setdefault(value.name or "", len(first))
    values = sorted(graph.initializers.items(), key=lambda one: (first.get(one[0], _LAST), one[0]))
    graph.initializers.clear()
    for _, value in values:
        graph.initializers.add(value)


def _plain(tensor: ir.TensorProtocol | None) -> ir.TensorProtocol | None:
    """The tensor with its bytes as they are: ONNX has a field for each type, and one for all."""
    if not isinstance(tensor, ir.TensorProtoTensor) or tensor.dtype == ir.DataType.STRING:
        return tensor
    if tensor.raw.HasField("raw_data"):
        return tensor
    return ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name)


def _sort(table: MutableMapping[str, Any]) -> None:
    ordered = sorted(table.items())
    if ordered != list(table.items()):
        table.clear()
        table.update(ordered)
