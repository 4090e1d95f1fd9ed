# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""To which sizes a Reshape is, where it computes them from those of another tensor.

In the place of unknown sizes stand primes, as a product has but one set of prime factors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_PRIMES = (100003, 100019, 100043, 100049, 100057)
# As the sizes of a shape are taken apart, multiplied, and put together.
_OF_NUMBERS: dict[str, Any] = {
    "Cast": lambda numbers: numbers,
    "Concat": lambda *parts: np.concatenate(parts),
    "Gather": lambda numbers, places: numbers[places],
    "Mul": np.multiply,
    "Reshape": np.reshape,
    "Slice": lambda numbers, start, end, _axes, step=(1,): numbers[start[0] : end[0] : step[0]],
    "Squeeze": lambda numbers, axes: np.squeeze(numbers, tuple(axes)),
    "Unsqueeze": lambda numbers, axes: np.expand_dims(numbers, tuple(axes)),
}


def trial(sizes: list[int]) -> list[int]:
    """`sizes`, with a prime for each that is unknown (-1)."""
    primes = iter(_PRIMES)
    return [next(primes) if size < 0 else size for size in sizes]


def asked(node: Any, source: str, sizes: list[int]) -> list[int] | None:
    """To which sizes a Reshape is where `source` has `sizes`; None if that is not told by these."""
    found = numbers(node.inputs[1], source, np.array(sizes))
    return None if found is None else [int(size) for size in found]


def numbers(node: Any, source: str = "", sizes: Any = None) -> Any:
    """What a node gives where `source` has these sizes, or None."""
    if node.is_const():
        return node.get_tensor_value(as_list=False)
    if node.type == "Shape" and node.input[0] == source:
        return sizes
    if node.type not in _OF_NUMBERS:
        return None
    given = [numbers(one, source, sizes) for one in node.inputs]
    return None if any(one is None for one in given) else _OF_NUMBERS[node.type](*given)
