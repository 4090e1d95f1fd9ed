# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Whether Triton may put requests together, and up to which size.

With a `max_batch_size` above 0 Triton adds a leading axis to every input and output, sends any size
from 1 on, and counts samples by that axis (model_configuration.md of triton-inference-server).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from stages.lib import graphs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Tensors = Sequence[Mapping[str, Any]]
    Profiles = Sequence[Mapping[str, Mapping[str, Sequence[int]]]]


@dataclass(frozen=True)
class Batching:
    """Largest batch, or 0 with the rule that forbids one; `why_not` is empty otherwise."""

    size: int
    why_not: str


def first_axes(model: ir.Model, inputs: Mapping[str, Any]) -> dict[str, str | None]:
    """What the first axis of each input and output is called; None where it has no name.

    Exporters name the axes of outputs as they like. So an output has the name of the batch if the
    graph gives it the name that its first input has, or if ONNX's shape inference derives it.

    Args:
        model: the typed graph; left as it is.
        inputs: `models.<m>.inputs`, whose words count: the same word is the same size.
    """
    graph = model.graph
    called = {value.name or "": _first(value) for value in (*graph.inputs, *graph.outputs)}
    derived = {value.name or "": _first(value) for value in _inferred(model, inputs).outputs}
    firsts = {name: spec["shape"][0] for name, spec in inputs.items()}
    words = {name: first for name, first in firsts.items() if isinstance(first, str)}
    found = {value.name or "": words.get(value.name or "") for value in graph.inputs}
    first = graph.inputs[0].name or "" if graph.inputs else ""
    for value in graph.outputs:
        name = value.name or ""
        same = called[name] is not None and called[name] == called.get(first)
        found[name] = words.get(first) if same else derived.get(name) or called[name]
    return found


def _first(value: ir.Value) -> str | None:
    first = value.shape[0] if value.shape else None
    return None if first is None or isinstance(first, int) else first.value


def _inferred(model: ir.Model, inputs: Mapping[str, Any]) -> ir.Graph:
    """A copy in which all shapes follow from the inputs'."""
    made = graphs.clone(model)
    for value in made.graph.inputs:
        if value.name and value.name in inputs:
            value.shape = ir.Shape(inputs[value.name]["shape"])
    for node in made.graph:
        for value in node.outputs:
            value.shape = None
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(made)
    return made.graph


def find(
    inputs: Tensors, outputs: Tensors, profiles: Profiles, axes: Mapping[str, str | None]
) -> Batching:
    """Largest batch that the plan takes in every size from 1 on.

    Args:
        inputs: {"name", "dtype", "shape"} (-1 where dynamic), in order.
        outputs: likewise.
        profiles: by input name, {"min", "opt", "max"}.
        axes: of the typed graph, by `first_axes`: a plan knows -1 alone, and so cannot tell a batch
            from a length that depends on the data.
    """
    for why_not in _faults(inputs, outputs, axes):
        return Batching(0, why_not)
    return _reach(profiles)


def _faults(inputs: Tensors, outputs: Tensors, axes: Mapping[str, str | None]) -> Iterator[str]:
    batch = axes.get(inputs[0]["name"]) if inputs else None
    kinds = [("input", tensor) for tensor in inputs] + [("output", tensor) for tensor in outputs]
    for kind, tensor in kinds:
        name, shape = tensor["name"], list(tensor["shape"])
        if shape[:1] != [-1]:
            yield f"{kind} {name!r} has no dynamic first axis: its shape is {shape}"
        elif axes.get(name) is None or axes.get(name) != batch:
            symbol = axes.get(name) or "nothing that has a name"
            yield (
                f"the first axis of {kind} {name!r} is no batch: the typed graph calls it {symbol},"
                f" and that of input {inputs[0]['name']!r} {batch}"
            )


def _reach(profiles: Profiles) -> Batching:
    """Together the profiles must take every size from 1 to the largest."""
    reach, spans = 0, []
    for index, profile in enumerate(profiles):
        sizes = {(shapes["min"][0], shapes["max"][0]) for shapes in profile.values()}
        if len(sizes) != 1:
            text = ", ".join(f"{low} to {high}" for low, high in sorted(sizes))
            return Batching(0, f"profile {index} takes other batches for each input: {text}")
        spans += list(sizes)
    for low, high in sorted(spans):
        if low > reach + 1:
            return Batching(0, f"no profile takes a batch of {reach + 1}, which Triton may send")
        reach = max(reach, high)
    return Batching(reach, "" if reach else "the plan has no profile")
