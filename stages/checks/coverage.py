# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Share of activations outside the calibrated range, read from the typed graph's own scales."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from stages.backends import emulation

Arrays = dict[str, "np.ndarray[Any, Any]"]

# Largest magnitude in steps of the scale that does not clip: half way to the first level beyond.
_LIMITS = {ir.DataType.INT8: 127.5, ir.DataType.FLOAT8E4M3FN: 464.0}


def open_up(model: ir.Model) -> dict[str, float]:
    """Make every quantized activation of `model` an output, in place.

    Args:
        model: a typed graph; one with low types comes from `emulation.emulate`, because ONNX
            Runtime runs no bfloat16.

    Returns:
        By output, the largest magnitude that its QuantizeLinear represents without clipping.
    """
    limits: dict[str, float] = {}
    for node in model.graph:
        if node.op_type != "QuantizeLinear":
            continue
        value, scale = node.inputs[0], _constant(node.inputs[1])
        # A weight that the source model quantizes itself is no activation.
        if value is None or not value.name or _constant(value) is not None:
            continue
        steps = _LIMITS.get(node.outputs[0].dtype or ir.DataType.UNDEFINED)
        if scale is None or scale.size != 1 or steps is None:
            continue
        limits[value.name] = float(scale.numpy().item()) * steps
        if value not in model.graph.outputs and value not in model.graph.inputs:
            model.graph.outputs.append(value)
    return limits


def _constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    return None if value is None else ir.convenience.get_const_tensor(value)


class Coverage:
    """Counts values outside their range, batch by batch."""

    def __init__(self, limits: dict[str, float]) -> None:
        self._limits = limits
        self._outside = dict.fromkeys(limits, 0)
        self._total = dict.fromkeys(limits, 0)

    def add(self, values: Arrays) -> None:
        """Take one batch: activations by name."""
        for name, limit in self._limits.items():
            array = values[name]
            inside = int(np.count_nonzero(np.abs(array) <= limit))  # which NaN is not
            self._outside[name] += array.size - inside
            self._total[name] += array.size

    def result(self) -> dict[str, Any]:
        """{"worst": share, "tensors": [{"name", "outside": share}]}, the worst tensors first.

        A list, because the keys of a JSON object are written in order of name.
        """
        shares = {
            emulation.original(name): round(self._outside[name] / max(self._total[name], 1), 9)
            for name in self._limits
        }
        order = sorted(shares, key=lambda name: (-shares[name], name))
        return {
            "worst": max(shares.values(), default=0.0),
            "tensors": [{"name": name, "outside": shares[name]} for name in order],
        }
