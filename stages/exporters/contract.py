# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The exported graph against the inputs and outputs that params.yaml declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np


def check(model: ir.Model, inputs: Mapping[str, Any], outputs: list[str], key: str) -> None:
    """Compare names, order, dtypes, ranks and fixed dimensions.

    Raises:
        SourceModelError: they differ; the message shows both, for all inputs and outputs.
    """
    found = {value.name or "": _face(value) for value in model.graph.inputs}
    wanted = {name: (spec["dtype"], spec["shape"]) for name, spec in inputs.items()}
    same = list(found) == list(wanted) and all(_fits(found[name], wanted[name]) for name in wanted)
    if not same:
        raise _differ("inputs", _show(found), _show(wanted), f"{key}.inputs")
    names = [value.name or "" for value in model.graph.outputs]
    if names != outputs:
        raise _differ("outputs", ", ".join(names), ", ".join(outputs), f"{key}.outputs")


def check_run(model: ir.Model, found: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Compare shapes of outputs, as they came out of a run, with those that the graph declares.

    Raises:
        SourceModelError: a rank or a fixed dimension differs: the graph's shapes are not true.
    """
    for value in model.graph.outputs:
        _, dims = _face(value)
        shape = list(getattr(found[value.name or ""], "shape", ()))
        known = value.shape is not None and isinstance(value.type, ir.TensorType)
        if known and (
            len(dims) != len(shape)
            or any(isinstance(d, int) and d != size for d, size in zip(dims, shape, strict=True))
        ):
            msg = f"output {value.name!r} is declared as {dims} and came out as {shape}"
            mend = "export the model again, with symbolic dimensions for those that vary"
            raise errors.SourceModelError(msg, mend=mend)


def _face(value: ir.Value) -> tuple[str, list[int | str]]:
    try:
        dtype = str(value.dtype.numpy()) if value.dtype is not None else "unknown"
    except TypeError:  # a type that numpy does not have
        dtype = str(value.dtype)
    dims = (
        []
        if value.shape is None
        else [d if isinstance(d, int) else str(d.value) for d in value.shape]
    )
    return dtype, dims


def _fits(found: tuple[str, list[int | str]], wanted: tuple[str, list[int | str]]) -> bool:
    """Equal, but for the names of symbolic dimensions."""
    same_rank = found[0] == wanted[0] and len(found[1]) == len(wanted[1])
    return same_rank and all(
        a == b if isinstance(a, int) or isinstance(b, int) else True
        for a, b in zip(found[1], wanted[1], strict=True)
    )


def _show(faces: Mapping[str, tuple[str, list[int | str]]]) -> str:
    return ", ".join(f"{name} {dtype} {shape}" for name, (dtype, shape) in faces.items()) or "none"


def _differ(what: str, found: str, wanted: str, key: str) -> errors.SourceModelError:
    msg = (
        f"the model's {what} are not what params.yaml says\n"
        f"  model:       {found}\n  params.yaml: {wanted}"
    )
    return errors.SourceModelError(msg, mend=f"set {key} to what the model has")
