# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of every exporter: one function, satisfied by a module named as the framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np

Arrays = dict[str, "np.ndarray[Any, Any]"]
Framework = Callable[[Arrays], Arrays]
"""Runs the source model in its own framework: input arrays by name to output arrays by name."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to export.

    Attributes:
        source: folder of the source model.
        entry: what to load from it, as `models.<m>.source.entry` says.
        inputs: by name, {"dtype": str, "shape": list of int or symbol}; the first
            axis is the batch.
        outputs: names, in order.
        opset: ONNX opset to write, or None to keep the source's.
    """

    source: Path
    entry: str
    inputs: Mapping[str, Any]
    outputs: list[str]
    opset: int | None


class Exporter(Protocol):
    """`stages/exporters/<framework>.py`."""

    @property
    def FOREIGN(self) -> bool:  # noqa: N802 (a constant of the module)
        """Whether it reads bytes that no code of ours or of the user's wrote: it runs confined."""
        ...

    def export(self, order: Order, example: Arrays, folder: Path) -> Framework | None:
        """Write the graph folder `folder`.

        Args:
            order: what to export.
            example: one batch of probe samples; it shapes the trace and chooses nothing.
            folder: does not exist yet.

        Returns:
            The source model as a function for the parity check; None if the source is ONNX itself.

        Raises:
            SourceModelError: the source cannot be read or exported.
        """
        ...
