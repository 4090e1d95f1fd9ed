# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What must hold between a shape profile, the inputs it bounds, and the engines that use it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from stages.lib import wording
from stages.lib.schema import Problem, Where

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.lib.sound import Sound

_BOUNDS = ("min", "opt", "max")


def bounds(sound: Sound, profile: str) -> Iterator[Problem]:
    """Rank and order of the bounds themselves."""
    for index, shapes in enumerate(sound.get("profiles", profile) or []):
        for name, bounds in shapes.items():
            here = ("profiles", profile, index, name)
            ranks = [len(bounds[key]) for key in _BOUNDS]
            if len(set(ranks)) > 1:
                text = "min, opt and max must have the same number of dimensions, not "
                yield Problem(here, text + ", ".join(map(str, ranks)))
                continue
            for low, high in pairwise(_BOUNDS):
                for axis, (small, large) in enumerate(zip(bounds[low], bounds[high], strict=True)):
                    if small > large:
                        text = f"{small} is larger than {large}, its {high}: min <= opt <= max"
                        yield Problem((*here, low, axis), text)


def fit(sound: Sound, model: str, profile: str) -> Iterator[Problem]:
    """Whether each set of a profile fits the inputs of a model that is used with it."""
    inputs = sound.get("models", model, "inputs")
    for index, shapes in enumerate(sound.get("profiles", profile)):
        here = ("profiles", profile, index)
        missing = [name for name in inputs if name not in shapes]
        for name in shapes:
            if name not in inputs:
                near = wording.suggestion(name, missing) or wording.suggestion(name, inputs)
                text = (
                    f"model {model!r} has no input {name!r}.{near} Its inputs: {', '.join(inputs)}"
                )
                yield Problem(here, text, name)
        strange = [name for name in shapes if name not in inputs]
        misspelt = {wording.nearest(name, missing) for name in strange}
        for name in missing:
            if name not in misspelt:
                yield Problem(here, f"lacks bounds for {name!r}, an input of model {model!r}")
        common = {name: spec["shape"] for name, spec in inputs.items() if name in shapes}
        wrong = [
            found
            for name, shape in common.items()
            for found in _fit_input(
                (*here, name), shapes[name], shape, f"{name!r} of model {model!r}"
            )
        ]
        yield from wrong or _one_size((*here,), shapes, common, model)


def _fit_input(here: Where, bounds: Any, shape: list[int | str], owner: str) -> Iterator[Problem]:
    rank = len(bounds["min"])  # that of opt and max too, by now
    if rank != len(shape):
        dimensions = ", ".join(map(str, shape))
        text = f"has {rank} dimensions, but {owner} has {len(shape)}: [{dimensions}]"
        yield Problem(here, text)
        return
    for key in _BOUNDS:
        for axis, (size, wanted) in enumerate(zip(bounds[key], shape, strict=True)):
            if isinstance(wanted, int) and size != wanted:
                text = f"{size} does not fit: dimension {axis} of {owner} is fixed at {wanted}"
                yield Problem((*here, key, axis), text)


def _one_size(here: Where, shapes: Any, inputs: dict[str, Any], model: str) -> Iterator[Problem]:
    """One symbol, one size: TensorRT refuses a profile whose opt shapes disagree."""
    first: dict[str, tuple[int, str]] = {}
    for name, shape in inputs.items():
        for axis, symbol in enumerate(shape):
            size = shapes[name]["opt"][axis]
            if isinstance(symbol, str) and size != first.setdefault(symbol, (size, name))[0]:
                text = f"{size} does not fit: {symbol!r} of model {model!r} is {first[symbol][0]}"
                yield Problem((*here, name, "opt", axis), f"{text} in {first[symbol][1]!r}")


def validation_batches(sound: Sound, users: dict[tuple[str, str], list[str]]) -> Iterator[Problem]:
    """Whether profiles allow the batches in which engines are judged; `users` by model, profile."""
    for (model, profile), engines in users.items():
        if list(fit(sound, model, profile)):
            continue
        inputs = sound.get("models", model, "inputs")
        ranges = [
            (max(shapes[n]["min"][0] for n in inputs), min(shapes[n]["max"][0] for n in inputs))
            for shapes in sound.get("profiles", profile)
        ]
        for engine in engines:
            batch = sound.get("engines", engine, "validation_batch")
            if batch is not None and not any(low <= batch <= high for low, high in ranges):
                allowed = " or ".join(f"{low} to {high}" for low, high in ranges)
                text = f"the profile excludes the validation batch: {profile!r} allows {allowed}"
                yield Problem(("engines", engine, "validation_batch"), f"{text}, not {batch}")
