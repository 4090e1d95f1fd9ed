# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Counts the layers of a parsed network by precision: as parsed, not as compiled.

The bindings arrive as objects: `tensorrt` and `tensorrt_rtx` have one API here.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMES = {
    "FLOAT": "fp32",
    "HALF": "fp16",
    "BF16": "bf16",
    "INT8": "int8",
    "FP8": "fp8",
}
_PRODUCTS = frozenset({"CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY"})
# Behind a DequantizeLinear the parser may still move axes about.
_SHUFFLES = frozenset({"SHUFFLE", "SQUEEZE", "UNSQUEEZE"})
_CONVERSIONS = frozenset({"CAST", "CONSTANT", "DEQUANTIZE", "QUANTIZE", *_SHUFFLES})
# What holds a precision where none may be wanted by name.
_ANY = frozenset({"auto"})
_SAME = {"tf32": "fp32"}
_QUANTIZED = frozenset({"int8", "fp8"})
_MEND = (
    "artifacts/onnx/<engine>/precision.facts.json says what `precision` kept and why; look at"
    " engines.<engine>.overrides in params.yaml"
)


def count(network: Any) -> dict[str, int]:
    """Layers by precision; those that convert, move or only hold values are left out.

    A convolution or product is int8 or fp8 when both operands come from a DEQUANTIZE layer of that
    type; any other layer has the type of its first output, if that is a float.
    """
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    made = {
        layer.get_output(index).name: layer
        for layer in layers
        for index in range(layer.num_outputs)
        if layer.get_output(index) is not None
    }
    found: Counter[str] = Counter()
    for layer in layers:
        kind = layer.type.name
        if kind in _CONVERSIONS or not layer.num_outputs:
            continue
        own = _NAMES.get(layer.get_output(0).dtype.name)
        precision = (_quantized(layer, made) if kind in _PRODUCTS else None) or own
        if precision is not None:
            found[precision] += 1
    return dict(sorted(found.items()))


def _quantized(layer: Any, made: Mapping[str, Any]) -> str | None:
    sources = set()
    for index in (0, 1):
        tensor = layer.get_input(index) if index < layer.num_inputs else None
        source = made.get(tensor.name) if tensor is not None else None
        while source is not None and source.type.name in _SHUFFLES:
            source = made.get(source.get_input(0).name)
        if source is None or source.type.name != "DEQUANTIZE":
            return None
        sources.add(_NAMES.get(source.get_input(0).dtype.name))
    return sources.pop() if len(sources) == 1 else None


def require(precision: str, found: Mapping[str, int]) -> None:
    """Refuse an engine that holds none of the precision asked for.

    Raises:
        BuildError: no layer has it.
    """
    wanted = _SAME.get(precision, precision)
    # A graph of whole numbers alone is as good as fp32.
    if wanted in _ANY or found.get(wanted) or (wanted == "fp32" and not found):
        return
    held = ", ".join(f"{number} {name}" for name, number in found.items()) or "none at all"
    msg = f"no layer of the parsed network is {wanted}, which was asked for; its layers: {held}"
    raise errors.BuildError(msg, mend=_MEND)


def require_compiled(
    precision: str, parsed: Mapping[str, int], compiled: Mapping[str, int] | None
) -> None:
    """Refuse a quantized engine whose plan lists its products, and none of them quantized.

    Args:
        precision: as asked for; auto asks for the quantized type that the parsed network holds.
        parsed: from `count`.
        compiled: products by precision, as the plan lists them; None if it lists none.

    Raises:
        BuildError: the builder dequantized them all.
    """
    if precision in _ANY:
        precision = next((name for name in parsed if name in _QUANTIZED), precision)
    if precision in _QUANTIZED and compiled and not compiled.get(precision):
        held = ", ".join(f"{number} {name}" for name, number in compiled.items())
        msg = f"the plan computes no convolution or product in {precision}; it lists {held}"
        raise errors.BuildError(msg, mend=_MEND)
