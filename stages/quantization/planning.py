# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What is to be quantized, and by which ranges: those of the cache, or of smoothing."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.lib import errors
from stages.quantization import placement

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import onnx_ir as ir


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be quantized.

    Attributes:
        points: inputs of nodes.
        left: candidates left out, [{"node", "op", "reason"}].
        scales: INT8 scale (range / 127) by tensor name, as read from a calibration cache.
        smoothed: the same by smoothing, which takes the place of it.
    """

    points: list[placement.Point]
    left: list[dict[str, str]]
    scales: Mapping[str, float]
    smoothed: Mapping[str, float]

    def counts(self, names: Collection[str]) -> dict[str, int]:
        """Names of the cache in all, used and unused, and those that smoothing replaced.

        Args:
            names: tensors that have been quantized.
        """
        own = sum(name in self.smoothed for name in names)
        used = sum(name not in self.smoothed for name in names)
        observed = len(self.scales)
        return {"observed": observed, "used": used, "unused": observed - used, "smoothed": own}


def plan(
    model: ir.Model,
    scales: Mapping[str, float],
    kept: Mapping[str, str],
    smoothed: Mapping[str, float],
) -> Plan:
    """Choose what to quantize.

    Args:
        model: a float32 graph whose values have known types.
        scales: INT8 scale by tensor name, as read from a calibration cache.
        kept: reason by name of nodes that are not to be quantized.
        smoothed: INT8 scale by name of tensors that smoothing changed.

    Raises:
        CalibrationError: the cache lacks a tensor that is to be quantized.
    """
    points, left = placement.points(model.graph, kept)
    points, rangeless = _with_ranges(points, {**scales, **smoothed})
    return Plan(points=points, left=left + rangeless, scales=scales, smoothed=smoothed)


def _with_ranges(
    points: list[placement.Point], scales: Mapping[str, float]
) -> tuple[list[placement.Point], list[dict[str, str]]]:
    """Leave out nodes with an activation that was always zero, or infinite: its scale is 0."""
    names = {p: _name(p) for p in points if p.axis is None}
    missing = sorted({name for name in names.values() if name not in scales})
    if missing:
        near = difflib.get_close_matches(missing[0], list(scales), n=3)
        msg = (
            f"the calibration cache has no scale for {len(missing)} of"
            f" {len(set(names.values()))} tensors that are to be quantized;"
            f" the first is {missing[0]!r}"
            + (f", nearest in the cache: {', '.join(near)}" if near else "")
        )
        raise errors.CalibrationError(
            msg, mend="the cache was made for another graph: `dvc repro calibrate` makes it again"
        )
    dead = {p.node for p, name in names.items() if not scales[name]}
    left = [
        {
            "node": node.name or "",
            "op": node.op_type,
            "reason": "an input was always zero, or infinite, on the calibration samples",
        }
        for node in dict.fromkeys(p.node for p in points)
        if node in dead
    ]
    return [p for p in points if p.node not in dead], left


def _name(point: placement.Point) -> str:
    value = point.node.inputs[point.index]
    return (value.name if value is not None else None) or ""
