# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Whether Triton may put requests together, and up to which size.

With a `max_batch_size` above 0 Triton adds a leading axis to every input and output, sends any size
from 1 on, and counts samples by that axis (model_configuration.md of triton-inference-server).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.lib import graphs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx_ir as ir

    Tensors = Sequence[Mapping[str, Any]]
    Profiles = Sequence[Mapping[str, Mapping[str, Sequence[int]]]]

_BATCHES, _OTHER = (3, 5), 32  # sizes that are tried, and that of other axes that vary


@dataclass(frozen=True)
class Batching:
    """Largest batch, or 0 with the rule that forbids one; `why_not` is empty otherwise."""

    size: int
    why_not: str


def first_axes(model: ir.Model, inputs: Mapping[str, Any]) -> dict[str, str | None]:
    """What the first axis of each input and output is called; None where it has no name.

    Exporters name the axes of outputs as they like. So an output has the name of the batch if the
    graph gives it the name that its first input has, or if ONNX's shape inference derives it: by
    name, or, where that ends (at a Resize, say), as the size of the batch for two sizes.

    Args:
        model: the typed graph; left as it is.
        inputs: `models.<m>.inputs`, whose words count: the same word is the same size.
    """
    graph = model.graph
    called = {value.name or "": _first(value) for value in (*graph.inputs, *graph.outputs)}
    declared = {name: spec["shape"] for name, spec in inputs.items()}
    derived = {
        value.name or "": _first(value) for value in graphs.sized(model, declared).graph.outputs
    }
    firsts = {name: spec["shape"][0] for name, spec in inputs.items()}
    words = {name: first for name, first in firsts.items() if isinstance(first, str)}
    found = {value.name or "": words.get(value.name or "") for value in graph.inputs}
    first = graph.inputs[0].name or "" if graph.inputs else ""
    following = _following(model, declared, words[first]) if first in words else set()
    for value in graph.outputs:
        name = value.name or ""
        same = called[name] is not None and called[name] == called.get(first)
        same = same or name in following
        found[name] = words.get(first) if same else derived.get(name) or called[name]
    return found


def _first(value: ir.Value) -> str | None:
    first = value.shape[0] if value.shape else None
    return None if first is None or isinstance(first, int) else first.value


def _following(
    model: ir.Model, declared: Mapping[str, Sequence[int | str]], batch: str
) -> set[str]:
    """Outputs whose first axis is as long as the batch, for each of two sizes."""
    names = {value.name or "" for value in model.graph.outputs}
    for size in _BATCHES:
        shapes = {
            name: [d if isinstance(d, int) else size if d == batch else _OTHER for d in shape]
            for name, shape in declared.items()
        }
        outputs = graphs.sized(model, shapes).graph.outputs
        names &= {value.name or "" for value in outputs if value.shape and value.shape[0] == size}
    return names


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
