# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A recipe of precisions, and how a clean float32 graph becomes a strongly typed one by it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stages.quantization import (
    casts,
    formats,
    opsets,
    overflow,
    placement,
    planning,
    qdq,
    reading,
    smoothing,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import onnx_ir as ir

_BF16 = formats.FLOATS["bf16"]
_OVERRIDDEN = "an override or the search keeps it"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What each node of a graph shall compute in.

    Attributes:
        precision: fp32, tf32, fp16, bf16, int8 or fp8.
        remainder: fp32, fp16 or bf16: what int8 and fp8 leave over runs in; ignored otherwise.
        chosen: precision by node name, where it is not what the two above say.
        scales: INT8 scale (range / 127) by tensor; FP8 takes the same ranges.
        maxima: largest observed |x| by tensor, possibly infinite.
        channels: the same by channel, float32 [channels]; for smoothing.
        smoothing: strength, or None for none.
        why: reason by node name for what in `chosen` is no override.
        sizes: size by symbolic dimension for shares of compute; 1 for any other.
    """

    precision: str
    remainder: str
    chosen: Mapping[str, str]
    scales: Mapping[str, float]
    maxima: Mapping[str, float]
    channels: Mapping[str, np.ndarray[Any, Any]]
    smoothing: float | None
    sizes: Mapping[str, int] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)

    @property
    def form(self) -> formats.Format | None:
        """The quantized format, if there is one."""
        return formats.QUANTIZED.get(self.precision)

    @property
    def rest(self) -> str:
        """The float precision of a node that is neither chosen nor quantized."""
        return self.precision if self.form is None else self.remainder

    def float_of(self, node: ir.Node) -> ir.DataType:
        """The float type wanted for a node; for a quantized one, that of its result."""
        own = self.chosen.get(node.name or "", self.rest)
        return formats.FLOATS[self.rest if own in formats.QUANTIZED else own]

    def low_of(self, node: ir.Node) -> ir.DataType:
        """As `float_of`, had no override asked for float32: what is kept from it is to be told."""
        wanted = self.float_of(node)
        return formats.FLOATS[self.rest] if wanted == formats.FLOATS["fp32"] else wanted

    def quantized(self, node: ir.Node) -> bool:
        """Whether a node is to be quantized if it can be."""
        own = self.chosen.get(node.name or "", self.precision)
        return own in formats.QUANTIZED


def apply(model: ir.Model, recipe: Recipe) -> dict[str, Any]:
    """Type a clean float32 graph, in place.

    Args:
        model: a float32 graph whose values have known types; its nodes have names.
        recipe: what to make of it.

    Returns:
        {"layers", "compute", "ops": see reading.shares; "kept": [{"node", "op", "reason"}] of
        nodes that compute in more than was wanted; "overflow": [{"node", "op", "tensor",
        "maximum"}]; "casts": int; "opset": {"from", "to"}; and for int8 and fp8 "quantized",
        "activations", "weights", "scales": see qdq.quantize; "smoothed": {"groups", "left"} where
        there is smoothing, see smoothing.Smoothed}

    Raises:
        CalibrationError: a tensor that is to be quantized has no scale.
        GraphError: the graph's opset is too old for it, and cannot be raised.
    """
    details: dict[str, Any] = {}
    maxima, kept_float, smoothed = recipe.maxima, _floats(model.graph, recipe), smoothing.Smoothed()
    if recipe.form is not None and recipe.smoothing is not None:
        smoothed = smoothing.smooth(
            model, recipe.smoothing, recipe.channels, maxima, kept=set(kept_float)
        )
        maxima = {**maxima, **smoothed.maxima}
        details["smoothed"] = {"groups": smoothed.groups, "left": smoothed.left}
    # What bfloat16 needs must be there before the schemas are asked.
    wanted = {recipe.float_of(node) for node in model.graph}
    opset = opsets.attempt(model, formats.BFLOAT16_OPSET if _BF16 in wanted else 0)
    exceeding = overflow.find(model.graph, recipe.float_of, maxima)
    floats = {name: _OVERRIDDEN for name, own in recipe.chosen.items() if own == "fp32"}
    types, kept = casts.decide(model, recipe.low_of, floats | overflow.reasons(exceeding))
    details |= {"overflow": exceeding}
    made: list[ir.Node] = []
    if recipe.form is not None:
        planned = planning.plan(model, recipe.scales, kept_float, smoothed.scales)
        floor, why = recipe.form.opset, f"{recipe.form.name} with scales by channel"
        if types and planned.points:
            floor, why = formats.MIXED_SCALE_OPSET, f"{recipe.form.name} beside FP16 or BF16"
        opset |= {"to": opsets.ensure(model, floor, why)["to"]}
        made, counts = qdq.quantize(model, planned, recipe.form, types)
        details |= counts
        kept = planned.left + kept
    count = casts.lower(model, types, made) if types else 0
    reading.annotate(model.graph, kept)
    details |= {"casts": count, "kept": kept, "opset": opset}
    return details | reading.shares(model, recipe.sizes)


def _floats(graph: ir.Graph, recipe: Recipe) -> dict[str, str]:
    return {
        node.name or "": recipe.why.get(node.name or "", _OVERRIDDEN)
        for node in graph
        if node.op_type in {*placement.RULES, *placement.RESIDUALS} and not recipe.quantized(node)
    }
