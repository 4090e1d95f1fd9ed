# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A module or program becomes a graph, by `torch.onnx.export(dynamo=True)`."""

from __future__ import annotations

import logging
import re
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch._export.converter import TS2EPConverter

from stages.exporters.pytorch import interface
from stages.lib import errors

if TYPE_CHECKING:
    import onnx_ir as ir

    from stages.exporters.api import Arrays, Order
    from stages.exporters.pytorch.loading import Source

_REASON_LINES = 12
_COLOURS = re.compile(r"\x1b\[\d*m")
_OP = re.compile(r"No ONNX function found for <(?:OpOverload\(op='([^']+)', overload='([^']+)'\))?")


def trace(source: Source, order: Order, example: Arrays) -> ir.Model:
    """The graph of a module or program, with inputs and outputs by position.

    Raises:
        SourceModelError: its inputs are others, or torch cannot export it.
    """
    for library in ("torch.onnx", "torch._export"):
        logging.getLogger(library).setLevel(logging.ERROR)
    dynamic = _dynamic(order)
    arguments: tuple[Any, ...] = ()  # a program has its own
    if isinstance(source, torch.export.ExportedProgram):
        interface.check_program(source, order)
    else:
        interface.check_module(source, order)
        # A batch of one would be taken for a constant by the tracer.
        arguments = tuple(
            torch.from_numpy(np.concatenate([example[name]] * (2 if 0 in axes else 1)))
            for name, axes in zip(order.inputs, dynamic, strict=True)
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if isinstance(source, torch.jit.ScriptModule):
                source = _unscripted(source, arguments)
            program = torch.onnx.export(
                source,
                arguments,
                dynamo=True,
                dynamic_shapes=dynamic,
                opset_version=order.opset,
                verbose=False,
            )
    except Exception as error:
        raise _failed(error) from error
    if program is None:
        msg = "torch.onnx.export returned no program"
        raise errors.SourceModelError(msg, mend="run it by hand on the module for its own report")
    if program.exported_program is not None:
        interface.check_outputs(program.exported_program, order)
    return program.model


def _dynamic(order: Order) -> tuple[dict[int, Any], ...]:
    symbols: dict[str, Any] = {}
    return tuple(
        {
            axis: symbols.setdefault(size, torch.export.Dim(size))
            for axis, size in enumerate(spec["shape"])
            if isinstance(size, str)
        }
        for spec in order.inputs.values()
    )


def _unscripted(module: torch.jit.ScriptModule, arguments: tuple[Any, ...]) -> torch.nn.Module:
    """TorchScript as a module that torch.export takes, which refuses TorchScript itself.

    Its message names this converter. The checks of sizes that the converter adds are left out:
    dimensions are those of params.yaml.
    """
    return TS2EPConverter(module, arguments).convert().module(check_guards=False)


def _failed(error: Exception) -> errors.SourceModelError:
    version = torch.__version__.partition("+")[0]
    cause: BaseException | None = error
    while cause is not None:
        if unknown := _OP.search(str(cause)):
            op = ".".join(name for name in unknown.groups() if name) or "an op"
            msg = f"torch {version} has no ONNX form of {op}, which is {_place(error)}"
            mend = "write it with other ops in forward()"
            return errors.SourceModelError(msg, mend=mend)
        cause = cause.__cause__
    msg = f"torch.onnx.export failed (torch {version}): {type(error).__name__}: {_reason(error)}"
    return errors.SourceModelError(
        msg,
        mend="see the reason above; a dimension that the model fixes must be a number in"
        " models.<m>.inputs, and data-dependent control flow must leave forward()",
    )


def _place(error: BaseException | None) -> str:
    """The node that torch was at, and the module of the source that it comes from."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            node = frame.f_locals.get("node")
            if isinstance(node, torch.fx.Node):
                modules = list(node.meta.get("nn_module_stack", {}).values())
                where = f" in module {modules[-1][0]!r}" if modules and modules[-1][0] else ""
                return f"node {node.name!r}{where}"
        error = error.__cause__
    return "at an unknown node"


def _reason(error: Exception) -> str:
    """What torch says of the cause, without colours and advice about reporting bugs."""
    text = _COLOURS.sub("", str(error))
    _, _, summary = text.rpartition("## Exception summary")
    lines = [line for line in summary.splitlines() if line.strip()]
    return "\n".join(lines[:_REASON_LINES])
