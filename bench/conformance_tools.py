# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Clean-up tools under one interface: a path in, a model out."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
from ruamel.yaml import YAML

from bench.workspace import ROOT
from stages.lib import graphs
from stages.passes import sequence
from stages.passes.api import Context

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What a tool made.

    Attributes:
        model: the clean model.
        undone: ours alone: passes that failed or broke the interface, with the reason.
    """

    model: onnx.ModelProto
    undone: list[str] = field(default_factory=list)


def ours(path: Path) -> Cleaned:
    """The passes of the demo model in params.yaml, with its settings.

    Nothing is proven on the way, as in the stage, where a pass that changes a result is undone: so
    the verdict is on the passes, not on what catches them.
    """
    settings = YAML(typ="safe").load(ROOT / "params.yaml")["models"]["digits"]["sanitize"]
    context = Context(fold_limit_bytes=settings["fold_limit_kib"] << 10, opset=settings["opset"])
    with tempfile.TemporaryDirectory() as folder:
        no_rewrites = Path(folder)
        model, changes = sequence.run(
            graphs.load_file(path),
            settings["passes"],
            context=context,
            user=no_rewrites,
            prove=_unproven,
        )
        return Cleaned(
            model=ir.to_proto(model),
            undone=[f"{one['pass']}: {one['undone']}" for one in changes if "undone" in one],
        )


def _unproven(model: ir.Model, *, exact: bool) -> None:
    """Accept."""


def onnxscript(path: Path) -> Cleaned:
    """`onnxscript.optimizer.optimize` with its own defaults."""
    from onnxscript import optimizer

    return Cleaned(model=ir.to_proto(optimizer.optimize(ir.load(path))))


def onnxslim(path: Path) -> Cleaned:
    """`onnxslim.slim` with its own defaults."""
    from onnxslim import slim

    return Cleaned(model=slim(onnx.load(path)))


def polygraphy(path: Path) -> Cleaned:
    """`fold_constants` of Polygraphy with its own defaults."""
    from polygraphy.backend.onnx import fold_constants

    return Cleaned(model=fold_constants(onnx.load(path)))


TOOLS: dict[str, Callable[[Path], Cleaned]] = {
    "ours": ours,
    "onnxscript": onnxscript,
    "onnxslim": onnxslim,
    "polygraphy": polygraphy,
}
