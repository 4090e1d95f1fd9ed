# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What a plan says itself about its convolutions and matrix products.

A plan of TensorRT-RTX 1.7 holds the compiled graph as text: tensors with their types, then one line
for each operation. The format is nobody's promise, so whatever is not understood is None, never a
failure. It tells which type an operation reads; which kernel runs is chosen on the GPU.
"""

from __future__ import annotations

import re
from collections import Counter

_BEGIN = re.compile(rb"header \{\n  version = ")
_END = re.compile(rb"\0")
_TENSOR = re.compile(
    rb'^  (?:sub_)?tensor=\{[^\n]*? name="([^"\n]*)"[^\n]*? type=(\w+) \}', re.MULTILINE
)
_PRODUCT = re.compile(
    rb'^  (?:corrltn|deconvolution|fully_connected)=\{ name="[^\n]*? input=\{([^}\n]*)\}',
    re.MULTILINE,
)
_NAME = re.compile(rb'"([^"]*)"')
_TYPES = {
    b"float": "fp32",
    b"half": "fp16",
    b"bf16": "bf16",
    b"int8": "int8",
    b"fp8_e4m3": "fp8",
}


def products(plan: bytes | memoryview) -> dict[str, int] | None:
    """Convolutions and matrix products by the type that both operands have, as compiled.

    Returns:
        Counts by precision; None where the plan holds no text that is understood. Products inside
        fused kernels, such as a whole attention, are not listed and not counted.
    """
    starts = [match.start() for match in _BEGIN.finditer(plan)]
    found: Counter[str] = Counter()
    for start in starts:
        end = _END.search(plan, start)
        text = bytes(plan[start : end.start() if end else len(plan)])
        types = dict(_TENSOR.findall(text))
        for inputs in _PRODUCT.findall(text):
            operands = {_TYPES.get(types.get(name, b"")) for name in _NAME.findall(inputs)[:2]}
            if len(operands) != 1 or None in operands:
                return None
            found.update(str(name) for name in operands)
    return dict(sorted(found.items())) if starts else None
