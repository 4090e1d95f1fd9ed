# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of every exporter: two functions, in `stages/exporters/<framework>/exporter.py`.

A framework with a lock, `requirements/export-<framework>.txt`, runs in an environment of its own,
which holds nothing else: there its exporter may import the standard library, numpy, the packages of
that lock, this file, and of `stages/lib` `errors` and `plugins`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
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
        weights: file of the weights below `source`, or None if the entry brings or names them.
        channels_first: inputs and outputs that the source has channels-last (NHWC), and the graph
            shall have channels-first (NCHW).
        trusted: SHA-256 by file below `source`, of files that may run code when they are loaded.
        inputs: by name, {"dtype": str, "shape": list of int or symbol}; the first
            axis is the batch.
        outputs: names, in order.
        opset: ONNX opset to write, or None for the exporter's own, or the source's.
        threads: processors that the framework may use.
    """

    source: Path
    entry: str
    inputs: Mapping[str, Any]
    outputs: list[str]
    opset: int | None
    weights: str | None = None
    channels_first: tuple[str, ...] = ()
    trusted: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1

    @property
    def path(self) -> Path:
        """The entry's file, or folder."""
        return self.source / self.entry.partition(":")[0]


class Exporter(Protocol):
    """`stages/exporters/<framework>/exporter.py`."""

    def export(self, order: Order, example: Arrays, folder: Path) -> None:
        """Write the graph folder `folder`: `model.onnx`, and external data beside it.

        Inputs and outputs must be those of `order`, in that order. Their names, and those of
        symbolic dimensions, are given by the stage afterwards.

        Args:
            order: what to export.
            example: one batch of probe samples, as `order.inputs` declares them; it shapes a trace
                and chooses nothing.
            folder: does not exist yet.

        Raises:
            SourceModelError: the source cannot be read or exported.
        """
        ...

    def load(self, order: Order) -> Framework | None:
        """The source model as a function for the parity check, loaded afresh.

        It takes and gives arrays in the layout that `order` declares. None if the source is ONNX
        itself: then the stage leaves what `export` wrote as it is, to the byte.

        Raises:
            SourceModelError: the source cannot be read; or, when called, the model itself fails.
        """
        ...
