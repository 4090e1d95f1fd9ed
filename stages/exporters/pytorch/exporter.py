# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""PyTorch: a module that an entry returns, a program of torch.export, or trusted TorchScript."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.utils import _pytree as pytree

from stages.exporters import canonical
from stages.exporters.pytorch import loading, tracing
from stages.lib import errors, graphs

if TYPE_CHECKING:
    from pathlib import Path

    from stages.exporters.api import Arrays, Framework, Order
    from stages.exporters.pytorch.loading import Source


def export(order: Order, example: Arrays, folder: Path) -> None:
    """Trace what the entry means; see `stages/exporters/api.py`."""
    source = loading.load(order)
    loading.refuse_random(source, order)
    model = tracing.trace(source, order, example)
    canonical.apply(model, order)  # before it is written, so that it is written once
    graphs.save(model, folder)


def load(order: Order) -> Framework:
    """The module or program; see `stages/exporters/api.py`."""
    return _framework(loading.load(order), order)


def _framework(source: Source, order: Order) -> Framework:
    spec, module = None, source
    if isinstance(source, torch.export.ExportedProgram):
        with loading.telling(f"{order.path}", "export it again by torch.export.save"):
            spec, module = source.call_spec.in_spec, source.module()

    def run(feeds: Arrays) -> Arrays:
        given = [torch.tensor(feeds[name]) for name in order.inputs]
        # A program may take some of its inputs by name.
        args, named = (given, {}) if spec is None else pytree.tree_unflatten(given, spec)
        try:
            with torch.inference_mode():
                result = module(*args, **named)
        except (Exception, SystemExit) as error:
            msg = f"the module itself failed on the probe samples: {type(error).__name__}: {error}"
            raise errors.SourceModelError(
                msg, mend="run it by hand on the arrays of models/<m>/samples/probe"
            ) from error
        # Flat, as the exporter lists the outputs of a dictionary or of nested tuples, without None.
        outputs = [leaf for leaf in pytree.tree_leaves(result) if leaf is not None]
        return {name: out.numpy() for name, out in zip(order.outputs, outputs, strict=False)}

    return run
