# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""An exported graph gets the names of params.yaml, and loses what names the exporting machine.

Exporters leave stack traces, paths and times in documentation and metadata, and the build flavour
of their framework (`+cpu`) in the producer's version. Of the metadata only torch's module scopes
are kept: they name a node's place in the source model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stages.exporters.api import Order

_KEPT_METADATA = frozenset({"pkg.torch.onnx.name_scopes"})


def apply(model: ir.Model, order: Order) -> bool:
    """Change `model` in place; return whether there was anything to change.

    Inputs, outputs and their symbolic dimensions are named by position; an inner value of such a
    name steps aside. What does not fit is left for `contract.check` to tell.
    """
    renamed = _rename(model, order)
    resized = _name_dimensions(model, order.inputs)
    return _strip(model) or renamed or resized


def _rename(model: ir.Model, order: Order) -> bool:
    faces = [*zip(model.graph.inputs, order.inputs, strict=False)]
    faces += [*zip(model.graph.outputs, order.outputs, strict=False)]
    if all(value.name == name for value, name in faces):
        return False
    wanted, ends = {name for _, name in faces}, {id(value) for value, _ in faces}
    inner = [value for value in _values(model) if id(value) not in ends]
    taken = {value.name for value in inner} | wanted
    for value in inner:
        if value.name in wanted:
            fresh = next(
                f"{value.name}_{n}" for n in range(1, 1 << 30) if f"{value.name}_{n}" not in taken
            )
            taken.add(fresh)
            value.name = fresh
    for value, name in faces:
        value.name = name
    return True


def _name_dimensions(model: ir.Model, inputs: Mapping[str, Any]) -> bool:
    names: dict[str | None, str] = {}
    changed = False
    for value, spec in zip(model.graph.inputs, inputs.values(), strict=False):
        if value.shape is None or len(value.shape) != len(spec["shape"]):
            continue
        for found, declared in zip(value.shape, spec["shape"], strict=True):
            if isinstance(found, ir.SymbolicDim) and isinstance(declared, str) and found.value:
                names.setdefault(str(found.value), declared)
        changed |= _set(
            value, [_named(*pair) for pair in zip(value.shape, spec["shape"], strict=True)]
        )
    for value in _values(model):
        if value.shape is not None:
            dims = [
                names.get(str(d.value), d.value) if isinstance(d, ir.SymbolicDim) else d
                for d in value.shape
            ]
            changed |= _set(value, dims)
    return changed


def _named(found: int | ir.SymbolicDim, declared: int | str) -> int | str | None:
    if isinstance(found, int):
        return found
    return declared if isinstance(declared, str) else found.value


def _set(value: ir.Value, dims: list[Any]) -> bool:
    """Give a value that shape; return whether it is another one."""
    if value.shape is None:
        return False
    now = [d if isinstance(d, int) else d.value for d in value.shape]
    if now == dims:
        return False
    value.shape = ir.Shape(dims)
    return True


def _values(model: ir.Model) -> Iterator[ir.Value]:
    """Every value of the main graph and of graphs within it, once."""
    for graph in model.graphs():
        yield from graph.inputs
        yield from (value for value in graph.initializers.values() if not value.is_graph_input())
        yield from (value for node in graph for value in node.outputs)


def _strip(model: ir.Model) -> bool:
    version = (model.producer_version or "").partition("+")[0]
    changed = (model.producer_version or "") != version
    model.producer_version = version
    for owner in _owners(model):
        kept = {k: v for k, v in owner.metadata_props.items() if k in _KEPT_METADATA}
        if len(kept) < len(owner.metadata_props) or owner.doc_string:
            owner.metadata_props.clear()
            owner.metadata_props.update(kept)
            owner.doc_string = None
            changed = True
    return changed


def _owners(model: ir.Model) -> Iterator[Any]:
    """All that carries metadata."""
    yield model
    for function in model.functions.values():
        yield function
        yield from function.inputs
        for node in function.all_nodes():
            yield node
            yield from node.outputs
    yield from _values(model)
    for graph in model.graphs():
        yield graph
        yield from graph
