# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs and outputs that params.yaml declares, against those of a module or a program.

They go by position. What does not fit is told here, before torch says it in its own words.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch

from stages.lib import errors

if TYPE_CHECKING:
    from stages.exporters.api import Order

_KINDS = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_AGAIN = (
    "export it again with a dynamic dimension:"
    " `torch.export.export(module, args, dynamic_shapes=({{{axis}: torch.export.Dim({name!r})}},"
    " ...))` and a batch of two or more in args, or write {size} in models.<m>.inputs"
)


def check_module(module: torch.nn.Module, order: Order) -> None:
    """Compare number and names with the arguments of forward().

    Raises:
        SourceModelError: there are too many or too few, or they have another order.
    """
    if isinstance(module, torch.jit.ScriptModule):
        method: Any = module.forward
        arguments = method.schema.arguments[1:]
        names = [one.name for one in arguments]
        needed = sum(not one.has_default_value() for one in arguments)
    else:
        signature = inspect.signature(module.forward).parameters.values()
        if any(one.kind == inspect.Parameter.VAR_POSITIONAL for one in signature):
            return
        taken = [one for one in signature if one.kind in _KINDS]
        names = [one.name for one in taken]
        needed = sum(one.default is inspect.Parameter.empty for one in taken)
    _check(names, needed, order, f"forward({', '.join(names)})")


def check_program(program: torch.export.ExportedProgram, order: Order) -> None:
    """Compare number, names, and the dimensions that are fixed in one and symbolic in the other.

    Raises:
        SourceModelError: they differ.
    """
    names = list(program.graph_signature.user_inputs)
    _check([str(name) for name in names], len(names), order, f"the program's {len(names)} inputs")
    for name, (declared, spec) in zip(names, order.inputs.items(), strict=True):
        for axis, (found, size) in enumerate(
            zip(_shape(program, name), spec["shape"], strict=False)
        ):
            if isinstance(found, int) and isinstance(size, str):
                msg = (
                    f"{order.path} has been exported for {found} alone in dimension {axis} of"
                    f" {declared!r}, where params.yaml has {size!r}"
                )
                mend = _AGAIN.format(axis=axis, name=size, size=found)
                raise errors.SourceModelError(msg, mend=mend)


def check_outputs(program: torch.export.ExportedProgram, order: Order) -> None:
    """Compare number and names with the keys of a flat dictionary, if that is what comes out.

    Raises:
        SourceModelError: there are too many or too few, or they have another order.
    """
    spec, values = program.call_spec.out_spec, program.graph_signature.user_outputs
    if spec is None or spec.type not in (dict, OrderedDict) or len(spec.context) != len(values):
        return
    # None is not exported.
    names = [str(key) for key, value in zip(spec.context, values, strict=True) if value is not None]
    if len(names) == len(order.outputs) and sorted(names) != sorted(order.outputs):
        return  # other names
    if names != order.outputs:
        msg = (
            "outputs come by position, and params.yaml has not those of the model's dictionary\n"
            f"  model:       {', '.join(names)}\n  params.yaml: {', '.join(order.outputs)}"
        )
        raise errors.SourceModelError(msg, mend="set models.<m>.outputs to what the model has")


def _shape(program: torch.export.ExportedProgram, name: Any) -> tuple[Any, ...]:
    value = next(node.meta["val"] for node in program.graph.nodes if node.name == name)
    return tuple(getattr(value, "shape", ()))


def _check(found: list[str], needed: int, order: Order, what: str) -> None:
    declared = list(order.inputs)
    if not needed <= len(declared) <= len(found):
        msg = (
            f"{what} does not take {len(declared)} inputs\n"
            f"  model:       {', '.join(found)}\n  params.yaml: {', '.join(declared)}"
        )
        raise errors.SourceModelError(msg, mend="set models.<m>.inputs to what the model has")
    taken = found[: len(declared)]
    pairs = zip(declared, taken, strict=True)
    if any(name != own and name in found for name, own in pairs):
        msg = (
            "inputs go in by position, and params.yaml has names of the model in another place\n"
            f"  model:       {', '.join(taken)}\n  params.yaml: {', '.join(declared)}"
        )
        mend = "put models.<m>.inputs in the model's order, by its names or by names of your own"
        raise errors.SourceModelError(msg, mend=mend)
