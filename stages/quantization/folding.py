# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Where a factor for each channel of an activation can hide: the constants of what computes it.

Channels lie on the last axis. The way goes up through operations that commute with a positive
factor, and ends at constants that hold one number for each channel: scale and bias of a
normalization, weight columns of a linear layer, an operand of Mul or Div. A scalar is never made
a vector, or a pattern that a backend knows (GELU's 0.5) would be lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from stages.quantization import rewiring

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Factor = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A constant input that takes the factor along one axis.

    Attributes:
        node: its reader.
        index: which of the reader's inputs.
        axis: counted from the end, -1 or -2.
        divides: whether the node divides by it.
    """

    node: ir.Node
    index: int
    axis: int = -1
    divides: bool = False


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the factor goes.

    Attributes:
        constants: what is scaled.
        values: activations that carry the factor then, the wanted one among them.
    """

    constants: tuple[Constant, ...]
    values: tuple[ir.Value, ...]


def find(value: ir.Value, size: int) -> Place | None:
    """The place for a factor on `value`, float32 [..., size] with size > 1; None if there is none.

    Who else reads `value` is the caller's affair; everything above it has one reader.
    """
    node = value.producer()
    if node is None or node.domain or value is not node.outputs[0]:
        return None
    rule = _RULES.get(node.op_type)
    found = rule(node, size) if rule is not None else None
    if found is None:
        return None
    return Place(constants=found.constants, values=(*found.values, value))


def scale(graph: ir.Graph, names: rewiring.Names, constant: Constant, factor: Factor) -> None:
    """Give a node a copy of its constant times `factor`, [size] and > 0; others keep theirs."""
    value = constant.node.inputs[constant.index]
    tensor = rewiring.constant(value)
    if tensor is None or value is None:  # whoever made `constant` has seen it
        raise AssertionError(constant)
    column = factor if constant.axis == -1 else factor[:, None]
    array = tensor.numpy()
    scaled = (array / column if constant.divides else array * column).astype(np.float32)
    copy = ir.Tensor(scaled, name=names.fresh(f"{value.name}_smoothed"))
    constant.node.replace_input_with(constant.index, rewiring.add_initializer(graph, copy))


def _through(value: ir.Value | None, size: int) -> Place | None:
    """Further up, where nothing but the operation below reads."""
    if value is None or len(value.uses()) != 1 or value.is_graph_output():
        return None
    return find(value, size)


def _homogeneous(node: ir.Node, size: int) -> Place | None:
    return _through(node.inputs[0], size)


def _normalization(node: ir.Node, size: int) -> Place | None:
    last = node.attributes.get("axis")
    given = [i for i, value in enumerate(node.inputs) if i > 0 and value is not None]
    if (last is not None and last.as_int() not in (-1, _rank(node.outputs[0]) - 1)) or not all(
        _vector(node.inputs[i], size) for i in given
    ):
        return None
    return Place(constants=tuple(Constant(node=node, index=i) for i in given), values=())


def _sum(node: ir.Node, size: int) -> Place | None:
    for index in (0, 1):
        if _vector(node.inputs[index], size):
            above = _through(node.inputs[1 - index], size)
            if above is None:
                return None
            own = Constant(node=node, index=index)
            return Place(constants=(*above.constants, own), values=above.values)
    return None


def _product(node: ir.Node, size: int) -> Place | None:
    divides = node.op_type == "Div"
    for index in (0, 1):
        if _vector(node.inputs[index], size):
            own = Constant(node=node, index=index, divides=divides and index == 1)
            return Place(constants=(own,), values=())
    # Either factor may carry it, as in a gated layer; of a quotient only the numerator.
    for index in (0,) if divides else (0, 1):
        above = _through(node.inputs[index], size)
        if above is not None:
            return above
    return None


def _matmul(node: ir.Node, size: int) -> Place | None:
    weight = rewiring.constant(node.inputs[1])
    if weight is None or len(weight.shape) < 2 or weight.numpy().shape[-1] != size:  # noqa: PLR2004
        return None
    return Place(constants=(Constant(node=node, index=1),), values=())


def _gemm(node: ir.Node, size: int) -> Place | None:
    weight = rewiring.constant(node.inputs[1])
    transposed = "transB" in node.attributes and bool(node.attributes["transB"].as_int())
    axis = -2 if transposed else -1
    if weight is None or weight.numpy().shape[axis] != size:
        return None
    own = [Constant(node=node, index=1, axis=axis)]
    if len(node.inputs) > 2 and node.inputs[2] is not None:  # noqa: PLR2004
        if not _vector(node.inputs[2], size):
            return None
        own.append(Constant(node=node, index=2))
    return Place(constants=tuple(own), values=())


_RULES: Mapping[str, Callable[[ir.Node, int], Place | None]] = {
    "Add": _sum,
    "Div": _product,
    "Gemm": _gemm,
    "Identity": _homogeneous,
    "LayerNormalization": _normalization,
    "LeakyRelu": _homogeneous,
    "MatMul": _matmul,
    "Mul": _product,
    "RMSNormalization": _normalization,
    "Relu": _homogeneous,
    "Sub": _sum,
}


def _vector(value: ir.Value | None, size: int) -> bool:
    tensor = rewiring.constant(value)
    return tensor is not None and tensor.numpy().ndim > 0 and tensor.numpy().shape[-1] == size


def _rank(value: ir.Value) -> int:
    return len(value.shape) if value.shape is not None else 0
