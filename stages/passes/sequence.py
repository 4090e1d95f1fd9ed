# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Runs passes in the declared order, undoes those that fail, and tells what each changed.

All passes run first, and the result is checked once. Only when that fails are they run again in
halves, down to the ones at fault: a good graph costs one run and one proof.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from stages.lib import errors, graphs
from stages.passes import (
    cancel_optionals,
    census,
    checks,
    constant_inputs,
    convert_opset,
    decompose,
    expand_functions,
    fold_constants,
    infer_shapes,
    inline_functions,
    remove_dead,
    remove_identity,
    rewrites,
    strip_metadata,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import onnx_ir as ir

    from stages.passes.api import Context, Pass

PASSES: dict[str, Pass] = {
    "inline-functions": inline_functions,
    "convert-opset": convert_opset,
    "infer-shapes": infer_shapes,
    "cancel-optionals": cancel_optionals,
    "expand-functions": expand_functions,
    "fold-constants": fold_constants,
    "constant-inputs": constant_inputs,
    "decompose": decompose,
    "remove-identity": remove_identity,
    "remove-dead": remove_dead,
    "strip-metadata": strip_metadata,
}


class Prove(Protocol):
    """Compares what a graph computes with what the first one does."""

    def __call__(self, model: ir.Model, *, exact: bool) -> None:
        """Accept `model`, or raise; `exact`: equal bits to the graph accepted last."""
        ...


@dataclass(frozen=True, kw_only=True)
class Step:
    """One pass, or one rewrite of the user's."""

    name: str
    exact: bool
    apply: Callable[[ir.Model], ir.Model]


def run(
    model: ir.Model,
    names: Sequence[str],
    *,
    context: Context,
    user: Path,
    prove: Prove | None = None,
) -> tuple[ir.Model, list[dict[str, Any]]]:
    """Run the user's rewrites, then the passes `names`, in order.

    Args:
        model: stays as it is.
        names: of `PASSES`.
        context: for the passes.
        user: folder of the user's rewrites.
        prove: judges what a result computes; None to trust the passes.

    Returns:
        The model, and for each pass either {"pass", "undone": the reason}, or what
        `census.difference` tells and "pass".
    """
    steps = _steps(names, context, user)
    work = _Work(source=model, accepted=model, prove=prove)
    exact = not steps or any(step.exact for step in steps)
    if work.attempt(steps, exact=exact) is None:
        return work.accepted, work.changes
    for exact, group in itertools.groupby(steps, key=lambda step: step.exact):
        work.halves(list(group), exact=exact)
    return work.accepted, work.changes


def _steps(names: Sequence[str], context: Context, user: Path) -> list[Step]:
    def own(name: str) -> Step:
        return Step(
            name=f"rewrites/{name}",
            exact=False,
            apply=lambda model: rewrites.run(model, user, name),
        )

    def ours(name: str) -> Step:
        def apply(model: ir.Model) -> ir.Model:
            PASSES[name].run(model, context)
            return model

        return Step(name=name, exact=PASSES[name].EXACT, apply=apply)

    return [*map(own, rewrites.names(user)), *map(ours, names)]


@dataclass(kw_only=True)
class _Work:
    source: ir.Model
    accepted: ir.Model
    prove: Prove | None
    changes: list[dict[str, Any]] = field(default_factory=list)

    def attempt(self, steps: Sequence[Step], *, exact: bool) -> Exception | None:
        """Run `steps` on a copy and accept it, or return what speaks against it."""
        try:
            with graphs.without_collector():
                model, changes = _apply(graphs.clone(self.accepted), steps)
                checks.same_interface(self.source, model)
                checks.valid(self.source, model)
            if self.prove is not None:
                self.prove(model, exact=exact)
        except (MemoryError, OSError, errors.SamplesError, errors.StorageError):
            raise  # no fault of a pass
        except Exception as error:  # whatever else is raised undoes a pass
            return error
        self.accepted = model
        self.changes += changes
        return None

    def halves(self, steps: Sequence[Step], *, exact: bool) -> None:
        """Accept `steps` where possible; each that is at fault is undone."""
        error = self.attempt(steps, exact=exact)
        if error is not None and len(steps) == 1:
            self.changes.append({"pass": steps[0].name, "undone": checks.reason(error)})
        elif error is not None:
            middle = len(steps) // 2
            self.halves(steps[:middle], exact=exact)
            self.halves(steps[middle:], exact=exact)


def _apply(model: ir.Model, steps: Sequence[Step]) -> tuple[ir.Model, list[dict[str, Any]]]:
    changes, before = [], census.take(model)
    for step in steps:
        declared = {value.name: value.shape for value in model.graph.outputs}
        model = step.apply(model)
        # Passes learn shapes; what the outputs declare is part of the interface, which stays.
        for value in model.graph.outputs:
            value.shape = declared.get(value.name, value.shape)
        after = census.take(model)
        changes.append({"pass": step.name, **census.difference(before, after)})
        before = after
    return model, changes
