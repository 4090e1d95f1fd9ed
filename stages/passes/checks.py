# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What a graph must still be after each pass, short of what it computes."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import onnx_ir as ir

from stages.lib import errors

_MOST_WORDS = 300
_MEND = (
    "take passes out of models.<m>.sanitize.passes one by one to find the one at fault, leave that"
    " one out, and report it"
)
# Larger ones, and those in files, are left out of what ONNX's checker sees: it asks nothing of
# their values.
_SMALL = 1 << 10
# Since then an initializer need not be an input too (onnx/docs/IR.md).
_IR_VERSION = 4


def same_interface(before: ir.Model, after: ir.Model) -> None:
    """Same inputs and outputs: names, order, types, shapes and symbolic dimensions.

    Raises:
        ProofError: they differ.
    """
    for what, old, new in (
        ("inputs", before.graph.inputs, after.graph.inputs),
        ("outputs", before.graph.outputs, after.graph.outputs),
    ):
        olds, news = [_face(v) for v in old], [_face(v) for v in new]
        if olds != news:
            msg = f"the clean-up changed the graph's {what}: {olds} became {news}"
            raise errors.ProofError(msg, mend=_MEND)


def valid(before: ir.Model, after: ir.Model) -> None:
    """ONNX's checker accepts the graph, unless it refused the first one too.

    Raises:
        ProofError: it refuses.
    """
    fault = _fault(after)
    if fault and not _fault(before):
        msg = f"the graph is not valid ONNX any more: {fault}"
        raise errors.ProofError(msg, mend=_MEND)


def reason(error: Exception) -> str:
    """First line of what went wrong, without what differs from run to run or machine to machine."""
    root: BaseException = error
    while not isinstance(root, errors.EngineryError) and root.__cause__ is not None:
        root = root.__cause__  # onnx_ir tells of the pass, and hides why
    text = getattr(root, "what", f"{type(root).__name__}: {root}")
    line = text.strip().split("\n", 1)[0].replace(f"{Path.cwd()}/", "")
    return re.sub(r"0x[0-9a-fA-F]+", "0x...", line)[:_MOST_WORDS]


def _face(value: ir.Value) -> tuple[str | None, str, str]:
    return value.name, str(value.type), str(value.shape)


def _fault(model: ir.Model) -> str | None:
    try:
        onnx.checker.check_model(ir.to_proto(_light(model)))
    except onnx.checker.ValidationError as error:
        return str(error).strip().split("\n", 1)[0]
    return None


def _light(model: ir.Model) -> ir.Model:
    """The model with its large weights as inputs: what ONNX's checker sees ends at 2 GiB."""
    graph = model.graph
    small: list[ir.Value] = []
    large: list[ir.Value] = []
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is None or isinstance(tensor, ir.ExternalTensor) or tensor.nbytes > _SMALL:
            large.append(value)
        else:
            small.append(value)
    view = ir.GraphView(
        [*graph.inputs, *large],
        graph.outputs,
        nodes=graph,
        initializers=small,
        opset_imports=graph.opset_imports,
        name=graph.name,
    )
    functions = list(model.functions.values())
    return ir.Model(view, ir_version=max(model.ir_version, _IR_VERSION), functions=functions)  # type: ignore[arg-type] # only read
