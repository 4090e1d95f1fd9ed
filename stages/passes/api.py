# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What a pass is: a module of this folder that changes a graph and not what the graph computes.

Its docstring says under "Requires:" what a graph must be like for the pass to do something, and
under "Ensures:" what holds afterwards. Names of inputs and outputs, their types and their symbolic
dimensions stay in every case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, kw_only=True)
class Context:
    """What passes take from `models.<m>.sanitize`.

    Attributes:
        fold_limit_bytes: largest constant that folding may make.
        opset: opset to which older graphs are converted; None for no conversion.
    """

    fold_limit_bytes: int
    opset: int | None


class Pass(Protocol):
    """A module `stages/passes/<name>.py`."""

    @property
    def EXACT(self) -> bool:  # noqa: N802 (a constant of the module)
        """Whether outputs stay equal bit by bit on ONNX Runtime; else within atol and rtol."""
        ...

    def run(self, model: ir.Model, context: Context) -> None:
        """Change `model` in place; whatever it raises undoes it."""
        ...
