# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""SmoothQuant: outliers of activations move into the weights that read them.

Xiao et al., "SmoothQuant" (arXiv 2211.10438). All products X W of one activation X read X / s, and
the rows of W are multiplied by s, one factor for each channel (`levelling`), which changes no
result. 1 / s goes into the constants of what computes X where nothing else reads X (`folding`);
else, where X comes from a pointwise operation or a normalization, into a Mul before the products,
which backends fuse with the quantization behind it. X from anything else is left alone: a Mul
behind an attention, say, would break TensorRT's fused INT8 attention, and there are no outliers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from stages.quantization import folding, levelling, rewiring
from stages.quantization.folding import Constant

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from stages.quantization.levelling import Maxima

_LEVELS = 127

# What backends fuse a Mul with.
_FUSING = frozenset(
    {
        *("Add", "Div", "Mul", "Sub", "Clip", "LeakyRelu", "Relu", "PRelu"),
        *("Elu", "Gelu", "HardSwish", "Mish", "Selu", "Sigmoid", "Softplus", "Swish", "Tanh"),
        *("LayerNormalization", "RMSNormalization"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Smoothed:
    """What was rewritten.

    Attributes:
        scales: INT8 scale (range / 127) of each tensor that the smoothed products read. It is the
            maximum: smoothing has levelled what a clipping method would cut.
        maxima: largest |x| of each activation that is new or carries a factor now.
        groups: {"activation": name before, "reads": name of what the products read, "place":
            "folded" or "mul", "products": node names, "before", "after": ranges}.
        left: {"activation", "products", "reason"}.
    """

    scales: dict[str, float] = field(default_factory=dict)
    maxima: dict[str, float] = field(default_factory=dict)
    groups: list[dict[str, Any]] = field(default_factory=list)
    left: list[dict[str, Any]] = field(default_factory=list)


def smooth(
    model: ir.Model,
    strength: float,
    channels: Mapping[str, Maxima],
    maxima: Mapping[str, float],
    *,
    kept: Container[str] = frozenset(),
) -> Smoothed:
    """Rewrite `model` in place; its outputs stay the same up to float32 rounding.

    Args:
        model: a float32 graph whose values have known types and shapes.
        strength: 0 (all stays with the activations) to 1 (all moves into the weights).
        channels: by tensor, largest |x| of each channel, float32 [channels].
        maxima: by tensor, largest |x|.
        kept: names of products that will not be quantized; a group of such alone is left.
    """
    graph, done = model.graph, Smoothed()
    names = rewiring.Names(graph)
    # From the end: a linear layer that takes a factor into its columns has its rows read later.
    for value, products in reversed(_groups(graph).items()):
        peaks = channels.get(value.name or "", np.zeros(0, np.float32))
        place = _place(value, products)
        reason = _refusal(value, products, peaks, place, kept)
        if reason:
            told = {"activation": value.name, "products": _names(products), "reason": reason}
            done.left.append(told)
            continue
        factor = levelling.factors(peaks, _rows(products), strength)
        reads = _move(graph, names, value, products, place, factor)
        _record(done, value, reads, products, peaks / factor, maxima)
        for above in place.values[:-1] if place else ():
            done.maxima[above.name or ""] = _above(above.name or "", channels, maxima, factor)
    rewiring.remove_unused_initializers(graph)
    done.groups.reverse()
    done.left.reverse()
    return done


def _groups(graph: ir.Graph) -> dict[ir.Value, list[Constant]]:
    """Products with a constant weight by the activation they share, in order of the graph."""
    found: dict[ir.Value, list[Constant]] = {}
    for node in graph:
        if node.domain or node.op_type not in ("MatMul", "Gemm") or _flag(node, "transA"):
            continue
        value, weight = node.inputs[0], rewiring.constant(node.inputs[1])
        if value is None or rewiring.constant(value) is not None:
            continue
        if weight is not None and len(weight.shape) == 2:  # noqa: PLR2004
            axis = -1 if _flag(node, "transB") else -2
            found.setdefault(value, []).append(Constant(node=node, index=1, axis=axis))
    return found


def _place(value: ir.Value, products: list[Constant]) -> folding.Place | None:
    if len(value.uses()) != len(products) or value.is_graph_output():
        return None  # a shortcut, say, reads it too
    return folding.find(value, len(_row_maxima(products[0])))


def _refusal(
    value: ir.Value,
    products: list[Constant],
    peaks: Maxima,
    place: folding.Place | None,
    kept: Container[str],
) -> str:
    producer = value.producer()
    if all(product.node.name in kept for product in products):
        return "its products are not quantized"
    if value.dtype != ir.DataType.FLOAT:
        return "it is not float32"
    if len(peaks) != len(_row_maxima(products[0])):
        return "its channels were not observed along its last axis"
    if not np.isfinite(peaks).all() or not peaks.any() or not _rows(products).any():
        return "it, or its weights, are always zero, or infinite"
    if place is None and (producer is None or producer.op_type not in _FUSING):
        what = "an input" if producer is None else f"{producer.op_type}, which fuses with no Mul"
        return f"it comes from {what}"
    return ""


def _rows(products: list[Constant]) -> Maxima:
    """Largest |w| of each input channel over all products: float32 [channels]."""
    every: Maxima = np.max([_row_maxima(product) for product in products], axis=0)
    return every


def _row_maxima(product: Constant) -> Maxima:
    tensor = rewiring.constant(product.node.inputs[1])
    if tensor is None:  # `_groups` has seen it; for the type checker
        raise AssertionError(product)
    found: Maxima = np.abs(tensor.numpy()).max(axis=-1 if product.axis == -2 else 0)  # noqa: PLR2004
    return found


def _move(
    graph: ir.Graph,
    names: rewiring.Names,
    value: ir.Value,
    products: list[Constant],
    place: folding.Place | None,
    factor: Maxima,
) -> ir.Value:
    """Divide the activation and multiply the weights; returns what the products read."""
    reads, inverse = value, (1 / factor).astype(np.float32)
    if place is None:
        reads = _mul(graph, names, value, inverse)
        for product in products:
            product.node.replace_input_with(0, reads)
    for constant in place.constants if place else ():
        folding.scale(graph, names, constant, inverse)
    for product in products:
        folding.scale(graph, names, product, factor)
    return reads


def _mul(graph: ir.Graph, names: rewiring.Names, value: ir.Value, factor: Maxima) -> ir.Value:
    tensor = ir.Tensor(factor, name=names.fresh(f"{value.name}_smoothing"))
    operand = rewiring.add_initializer(graph, tensor)
    node = ir.node("Mul", [value, operand], name=names.fresh(f"smooth_{value.name}"))
    made = node.outputs[0]
    made.name = names.fresh(f"{value.name}_smoothed")
    made.dtype, made.shape = ir.DataType.FLOAT, value.shape
    rewiring.insert_after(graph, value, [node])
    return made


def _record(
    done: Smoothed,
    value: ir.Value,
    reads: ir.Value,
    products: list[Constant],
    peaks: Maxima,
    maxima: Mapping[str, float],
) -> None:
    name, largest = reads.name or "", float(peaks.max())
    done.maxima[name] = largest
    done.scales[name] = float(np.float32(levelling.above(largest) / _LEVELS))
    done.groups.append(
        {
            "activation": value.name,
            "reads": name,
            "place": "folded" if reads is value else "mul",
            "products": _names(products),
            "before": levelling.above(maxima[value.name or ""]),
            "after": levelling.above(largest),
        }
    )


def _above(
    name: str, channels: Mapping[str, Maxima], maxima: Mapping[str, float], factor: Maxima
) -> float:
    """Largest |x| of what carries the factor on its way; no less where no channels are known."""
    known = channels.get(name)
    if known is None or len(known) != len(factor):
        return maxima[name] / float(factor.min())
    return float((known / factor).max())


def _names(products: list[Constant]) -> list[str]:
    return [product.node.name or "" for product in products]


def _flag(node: ir.Node, name: str) -> bool:
    return name in node.attributes and bool(node.attributes[name].as_int())
