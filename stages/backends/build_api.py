# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of every backend that builds engines: one function, satisfied by a module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to build.

    Attributes:
        graph: path of the strongly typed model.onnx.
        precision: `engines.<e>.precision`; only `tf32` means anything to a builder.
        profiles: for each optimization profile, by input name,
            {"min": [...], "opt": [...], "max": [...]}.
        builder: `engines.<e>.builder`, the keys that this backend has.
        timing_cache: absolute path of the timing cache to write or to read, as
            `builder["timing_cache"]` says; None for neither.
        plugins: paths of the plugin libraries, with the SHA-256 that each must have; the child
            process gets paths of checked copies.
    """

    graph: Path
    precision: str
    profiles: list[Mapping[str, Mapping[str, list[int]]]]
    builder: Mapping[str, Any]
    timing_cache: str | None = None
    plugins: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What was built. A plan cannot be opened without a GPU later, so its face is kept here.

    Attributes:
        plan: the serialized engine, in a buffer of the builder or as bytes.
        inputs, outputs: in order, {"name", "dtype" (numpy's name), "shape" (-1 where dynamic)}.
        profiles: as ordered.
        layers: number of layers of the parsed network.
        precisions: those that compute, by precision, as parsed and not as compiled.
        compiled: convolutions and products by the precision of their operands, where the plan
            itself tells; None where it does not.
        command: the equivalent command line, for people who know it.
        timing_cache: what became of the timing cache (`timing.facts`); None without one.
    """

    plan: bytes | memoryview
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    profiles: list[Mapping[str, Mapping[str, list[int]]]]
    layers: int
    precisions: dict[str, int]
    command: str
    timing_cache: dict[str, Any] | None = None
    compiled: dict[str, int] | None = None


class BuildBackend(Protocol):
    """`stages/backends/<backend>/build.py`."""

    def build(self, order: Order, log: Callable[[str], None]) -> Engine:
        """Build an engine.

        Args:
            order: what to build.
            log: takes each message of the builder, one line each.

        Raises:
            UnsupportedError: the parser refuses nodes; all of them are listed.
            BuildError: the builder fails.
        """
        ...
