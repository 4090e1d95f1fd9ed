# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""PyTorch through `torch.onnx.export(dynamo=True)`.

The exporter leaves each node's Python stack trace, with paths of the exporting machine, in the
graph's metadata, and the build flavour of torch (`+cpu`) in the producer's version. Neither may
reach an output, so of the metadata only the module scopes are kept: they name a node's place in
the source model.
"""

from __future__ import annotations

import logging
import re
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch.utils import _pytree as pytree

from stages.lib import errors, graphs, plugins

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

    from stages.exporters.api import Arrays, Framework, Order

FOREIGN: Final = False
_KEPT_METADATA = frozenset({"pkg.torch.onnx.name_scopes"})
_REASON_LINES = 12


def export(order: Order, example: Arrays, folder: Path) -> Framework:
    """Trace the module that the entry returns; see `stages/exporters/api.py`."""
    torch.manual_seed(0)
    module = _module(order)
    model = _trace(module, order, example)
    _rename(model, order)
    _canonicalize(model)
    graphs.save(model, folder)
    return _framework(module, order)


def _module(order: Order) -> torch.nn.Module:
    where = f"{order.source.as_posix()}/{order.entry}"
    try:
        module = plugins.entry(order.source, order.entry)()
    except Exception as error:
        msg = f"{where} could not be loaded: {type(error).__name__}: {error}"
        raise errors.SourceModelError(
            msg, mend="make the entry a function without arguments that returns the trained module"
        ) from error
    if not isinstance(module, torch.nn.Module):
        msg = f"{where} returned a {type(module).__name__}, not a torch.nn.Module"
        raise errors.SourceModelError(msg, mend="return the module itself")
    return module.eval().requires_grad_(False)


def _trace(module: torch.nn.Module, order: Order, example: Arrays) -> ir.Model:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    symbols: dict[str, Any] = {}
    dynamic = tuple(
        {
            axis: symbols.setdefault(size, torch.export.Dim(size))
            for axis, size in enumerate(spec["shape"])
            if isinstance(size, str)
        }
        for spec in order.inputs.values()
    )
    # A batch of one would be taken for a constant by the tracer.
    arguments = tuple(
        torch.from_numpy(np.concatenate([example[name]] * (2 if 0 in axes else 1)))
        for name, axes in zip(order.inputs, dynamic, strict=True)
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                arguments,
                dynamo=True,
                dynamic_shapes=dynamic,
                opset_version=order.opset,
                verbose=False,
            )
    except Exception as error:
        msg = f"torch.onnx.export failed: {type(error).__name__}: {_reason(error)}"
        raise errors.SourceModelError(
            msg,
            mend="see the reason above; a dimension that the model fixes must be a number in"
            " models.<m>.inputs, and data-dependent control flow must leave forward()",
        ) from error
    if program is None:
        msg = "torch.onnx.export returned no program"
        raise errors.SourceModelError(msg, mend="run it by hand on the module for its own report")
    return program.model


def _reason(error: Exception) -> str:
    """What torch says of the cause, without colours and advice about reporting bugs."""
    text = re.sub(r"\x1b\[\d*m", "", str(error))
    _, _, summary = text.rpartition("## Exception summary")
    lines = [line for line in summary.splitlines() if line.strip()]
    return "\n".join(lines[:_REASON_LINES])


def _rename(model: ir.Model, order: Order) -> None:
    """Give inputs and outputs their declared names; an inner value of that name steps aside."""
    faces = [*zip(model.graph.inputs, order.inputs, strict=False)]
    faces += [*zip(model.graph.outputs, order.outputs, strict=False)]
    wanted = {name for _, name in faces}
    inner = [value for node in model.graph.all_nodes() for value in node.outputs]
    taken = {value.name for value in inner} | set(model.graph.initializers) | wanted
    for value in [*inner, *model.graph.initializers.values()]:
        if value.name in wanted:
            fresh = next(
                f"{value.name}_{n}" for n in range(1, 1 << 30) if f"{value.name}_{n}" not in taken
            )
            taken.add(fresh)
            value.name = fresh
    for value, name in faces:
        value.name = name


def _canonicalize(model: ir.Model) -> None:
    model.producer_version = (model.producer_version or "").partition("+")[0]
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():
        _keep(node.metadata_props)
        for value in node.outputs:
            value.metadata_props.clear()
    for value in [*model.graph.inputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()


def _keep(properties: Any) -> None:
    for key in [key for key in properties if key not in _KEPT_METADATA]:
        del properties[key]


def _framework(module: torch.nn.Module, order: Order) -> Framework:
    def run(feeds: Arrays) -> Arrays:
        try:
            with torch.inference_mode():
                result = module(*(torch.tensor(feeds[name]) for name in order.inputs))
        except Exception as error:
            msg = f"the module itself failed on the probe samples: {type(error).__name__}: {error}"
            raise errors.SourceModelError(
                msg, mend="run it by hand on the arrays of models/<m>/samples/probe"
            ) from error
        # Flat, as the exporter lists the outputs of a dictionary or of nested tuples.
        outputs = pytree.tree_leaves(result)
        return {name: out.numpy() for name, out in zip(order.outputs, outputs, strict=False)}

    return run
