# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The exported graph against the inputs and outputs that params.yaml declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir


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


def _face(value: ir.Value) -> tuple[str, list[int | str]]:
    dtype = str(value.dtype.numpy()) if value.dtype is not None else "unknown"
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
