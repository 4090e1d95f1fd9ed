# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What must hold between values of params.yaml, beyond what a JSON Schema can say.

Each check looks only at values that the schema found sound, so that one mistake is told once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from stages.lib import wording
from stages.lib.schema import Problem, Where

if TYPE_CHECKING:
    from collections.abc import Iterator

_BOUNDS = ("min", "opt", "max")


@dataclass(frozen=True)
class _Sound:
    """A document, and the places where it is known to be wrong."""

    document: Any
    wrong: frozenset[Where]

    def get(self, *path: str | int) -> Any:
        """The value at `path`, or None where it is missing or wrong anywhere within."""
        value: Any = self.document
        for part in path:
            known = range(len(value)) if isinstance(value, list) else value
            if not isinstance(value, dict | list) or part not in known:
                return None
            value = value[part]  # type: ignore[index]  # `part` is a position where it is a list
        inside = any(place[: len(path)] == path for place in self.wrong)
        return None if inside else value

    def names(self, section: str) -> list[str]:
        """Names in a section, sound or not."""
        value = self.document.get(section) if isinstance(self.document, dict) else None
        return list(value) if isinstance(value, dict) else []


def problems(document: Any, known: list[Problem]) -> list[Problem]:
    """All that is wrong with `document` besides the `known` problems that the schema found."""
    wrong = frozenset((*p.path, p.key) if p.key is not None else p.path for p in known)
    sound = _Sound(document, wrong)
    users = _users(sound)
    return [
        *_references(sound),
        *_models(sound),
        *(found for name in sound.names("profiles") for found in _bounds(sound, name)),
        *(found for (model, profile) in users for found in _fit(sound, model, profile)),
        *_validation_batches(sound, users),
        *_accuracy_gates(sound),
        *_budgets(sound),
        *_imports(sound),
    ]


def foreign_settings(found: list[Problem], schema: dict[str, Any], document: Any) -> list[Problem]:
    """`found`, saying of an unknown builder setting whether another backend has it."""
    prefix = "builder-"
    owners = {
        name.removeprefix(prefix): definition["properties"]
        for name, definition in schema.get("$defs", {}).items()
        if name.startswith(prefix)
    }
    told = []
    for problem in found:
        others = [name for name in sorted(owners) if problem.key in owners[name]]
        if problem.path[0:1] == ("engines",) and problem.path[2:] == ("builder",) and others:
            backend = document["engines"][problem.path[1]]["backend"]
            known = ", ".join(owners[backend])
            text = f"{backend} has no {problem.key!r}; it is a setting of {', '.join(others)}."
            told.append(Problem(problem.path, f"{text} Known here: {known}", problem.key))
        else:
            told.append(problem)
    return told


def _users(sound: _Sound) -> dict[tuple[str, str], list[str]]:
    """Engines by the model and profile that they use, where both are sound."""
    users: dict[tuple[str, str], list[str]] = {}
    for engine in sound.names("engines"):
        model, profile = (sound.get("engines", engine, key) for key in ("model", "profile"))
        usable = sound.get("models", model, "inputs") and sound.get("profiles", profile)
        if model and profile and usable and not list(_bounds(sound, profile)):
            users.setdefault((model, profile), []).append(engine)
    return users


def _references(sound: _Sound) -> Iterator[Problem]:
    for engine in sound.names("engines"):
        for key, section in (("model", "models"), ("profile", "profiles")):
            name, known = sound.get("engines", engine, key), sound.names(section)
            if name is not None and name not in known:
                near = wording.suggestion(name, known)
                text = f"there is no {key} {name!r}.{near} Known {section}: {', '.join(known)}"
                yield Problem(("engines", engine, key), text)


def _models(sound: _Sound) -> Iterator[Problem]:
    for model in sound.names("models"):
        here = ("models", model)
        output, outputs = sound.get(*here, "metric", "output"), sound.get(*here, "outputs")
        if output is not None and outputs is not None and output not in outputs:
            near = wording.suggestion(output, outputs)
            text = f"{output!r} is no output of this model.{near} Its outputs: {', '.join(outputs)}"
            yield Problem((*here, "metric", "output"), text)
        batch, inputs = sound.get(*here, "observe", "batch"), sound.get(*here, "inputs")
        fixed = [spec["shape"][0] for spec in (inputs or {}).values()]
        other = next((size for size in fixed if isinstance(size, int) and size != batch), None)
        if batch is not None and other is not None:
            text = f"must be {other}, the fixed first dimension of this model's inputs, not {batch}"
            yield Problem((*here, "observe", "batch"), text)


def _bounds(sound: _Sound, profile: str) -> Iterator[Problem]:
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


def _fit(sound: _Sound, model: str, profile: str) -> Iterator[Problem]:
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


def _validation_batches(
    sound: _Sound, users: dict[tuple[str, str], list[str]]
) -> Iterator[Problem]:
    for (model, profile), engines in users.items():
        if list(_fit(sound, model, profile)):
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


def _accuracy_gates(sound: _Sound) -> Iterator[Problem]:
    for engine in sound.names("engines"):
        here = ("engines", engine, "gates", "max_accuracy_drop")
        model = sound.get("engines", engine, "model")
        if sound.get(*here) is not None and sound.get("models", model, "metric", "kind") == "none":
            text = f"model {model!r} has no task metric (its metric.kind is none), so this gate"
            yield Problem(here, f"{text} could never be passed: write null")


def _imports(sound: _Sound) -> Iterator[Problem]:
    for engine in sound.names("engines"):
        here, model = ("engines", engine, "method"), sound.get("engines", engine, "model")
        calibrate = sound.get("models", model, "calibrate")
        if sound.get(*here) == "imported" and calibrate and calibrate["import"] is None:
            text = f"there is nothing to import: models.{model}.calibrate.import is null; it names"
            yield Problem(here, f"{text} a TensorRT calibration cache in models/{model}/caches/")


def _budgets(sound: _Sound) -> Iterator[Problem]:
    for engine in sound.names("engines"):
        here = ("engines", engine, "auto", "budget")
        budget, model = sound.get(*here), sound.get("engines", engine, "model")
        if budget is None:
            continue
        if not any(value is not None for value in budget.values()):
            yield Problem(here, "asks for nothing: give at least one of its limits a value")
        unmeasured = sound.get("models", model, "metric", "kind") == "none"
        if budget["max_accuracy_drop"] is not None and unmeasured:
            text = f"model {model!r} has no task metric (its metric.kind is none): write null"
            yield Problem((*here, "max_accuracy_drop"), text)
