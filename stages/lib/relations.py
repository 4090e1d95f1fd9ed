# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What must hold between values of params.yaml, beyond what a JSON Schema can say.

Each check looks only at values that the schema found sound, so that one mistake is told once.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib import shapes, wording
from stages.lib.schema import Problem
from stages.lib.sound import Sound

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECRET = re.compile(r"://([^/@]*:[^/]*@|[^?]*\?)")

_EXPORTERS = Path(__file__).parents[1] / "exporters"


def problems(document: Any, known: list[Problem]) -> list[Problem]:
    """All that is wrong with `document` besides the `known` problems that the schema found."""
    wrong = frozenset((*p.path, p.key) if p.key is not None else p.path for p in known)
    sound = Sound(document, wrong)
    users = _users(sound)
    return [
        *_references(sound),
        *_models(sound),
        *_frameworks(sound),
        *(found for name in sound.names("profiles") for found in shapes.bounds(sound, name)),
        *(found for (model, profile) in users for found in shapes.fit(sound, model, profile)),
        *shapes.validation_batches(sound, users),
        *_accuracy_gates(sound),
        *_budgets(sound),
        *_imports(sound),
        *_stores(sound),
        *_serving(sound),
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


def _frameworks(sound: Sound) -> Iterator[Problem]:
    """Each has an exporter, and pins."""
    for model in sound.names("models"):
        framework = sound.get("models", model, "source", "framework")
        known = sorted(path.parent.name for path in _EXPORTERS.glob("*/exporter.py"))
        if framework is not None and framework not in known:
            near = wording.suggestion(framework, known)
            text = f"there is no exporter {framework!r}.{near} There is: {', '.join(known)}"
            yield Problem(("models", model, "source", "framework"), text)
        elif framework is not None and f"export-{framework}" not in sound.names("toolchain"):
            text = f"models.{model} is a {framework} model, and has no pins: add export-{framework}"
            yield Problem(("toolchain",), text)


def _users(sound: Sound) -> dict[tuple[str, str], list[str]]:
    """Engines by the model and profile that they use, where both are sound."""
    users: dict[tuple[str, str], list[str]] = {}
    for engine in sound.names("engines"):
        model, profile = (sound.get("engines", engine, key) for key in ("model", "profile"))
        usable = sound.get("models", model, "inputs") and sound.get("profiles", profile)
        if model and profile and usable and not list(shapes.bounds(sound, profile)):
            users.setdefault((model, profile), []).append(engine)
    return users


def _references(sound: Sound) -> Iterator[Problem]:
    for engine in sound.names("engines"):
        for key, section in (("model", "models"), ("profile", "profiles")):
            name, known = sound.get("engines", engine, key), sound.names(section)
            if name is not None and name not in known:
                near = wording.suggestion(name, known)
                text = f"there is no {key} {name!r}.{near} Known {section}: {', '.join(known)}"
                yield Problem(("engines", engine, key), text)


def _models(sound: Sound) -> Iterator[Problem]:
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


def _accuracy_gates(sound: Sound) -> Iterator[Problem]:
    for engine in sound.names("engines"):
        here = ("engines", engine, "gates", "max_accuracy_drop")
        model = sound.get("engines", engine, "model")
        if sound.get(*here) is not None and sound.get("models", model, "metric", "kind") == "none":
            text = f"model {model!r} has no task metric (its metric.kind is none), so this gate"
            yield Problem(here, f"{text} could never be passed: write null")


def _imports(sound: Sound) -> Iterator[Problem]:
    for engine in sound.names("engines"):
        here, model = ("engines", engine, "method"), sound.get("engines", engine, "model")
        calibrate = sound.get("models", model, "calibrate")
        if sound.get(*here) == "imported" and calibrate and calibrate["import"] is None:
            text = f"there is nothing to import: models.{model}.calibrate.import is null; it names"
            yield Problem(here, f"{text} a TensorRT calibration cache in models/{model}/caches/")


def _budgets(sound: Sound) -> Iterator[Problem]:
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


def _serving(sound: Sound) -> Iterator[Problem]:
    """What would else be found only after the build."""
    for engine in sound.names("engines"):
        here = ("engines", engine, "serving")
        serving = sound.get(*here)
        if serving is None:
            continue
        policy, version = serving["version_policy"], serving["version"]
        specific = policy.get("specific") if isinstance(policy, dict) else None
        if specific is not None and version not in specific:
            text = f"leaves out {version}, the version of this engine"
            yield Problem((*here, "version_policy", "specific"), text)
        sets = sound.get("profiles", sound.get("engines", engine, "profile"))
        sizes = (serving["dynamic_batching"] or {}).get("preferred_batch_size", [])
        most = max(
            (bounds["max"][0] for one in sets or [] for bounds in one.values()), default=None
        )
        for index, size in enumerate(sizes):
            if most is not None and size > most:
                text = f"{size} is larger than {most}, the largest batch of the engine's profile"
                place = ("dynamic_batching", "preferred_batch_size", index)
                yield Problem((*here, *place), text)


def _stores(sound: Sound) -> Iterator[Problem]:
    """A URL stands in Git, so nothing secret may stand in it; nor in what is said about it."""
    for channel in sound.names("channels"):
        url = sound.get("channels", channel, "url") or ""
        if _SECRET.search(url):
            text = (
                "the URL holds a password or a key: leave it out, since credentials come from the"
            )
            text = f"{text} environment, and change that password if the file was ever committed"
            yield Problem(("channels", channel, "url"), text)
