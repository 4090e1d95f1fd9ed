# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""params.yaml, and the files that it names, before any work is done.

The output is constant: a wrong file stops every stage, a right one invalidates none.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from stages.lib import (
    console,
    environments,
    errors,
    files,
    layout,
    params,
    samples,
    source_guess,
    wording,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def main() -> None:
    """Check everything and say all that is wrong at once."""
    document = params.load()
    models = document.param("models")
    judging = _judging(document)
    in_params = [row for name in models for row in _rows(document, name, _folders)]
    in_params += [*_libraries(document), *_interpreters(document)]
    in_samples = [
        row
        for name in models
        for row in _rows(document, name, functools.partial(_samples, judging))
    ]
    if rows := [*in_params, *in_samples]:
        count = "1 mistake" if len(rows) == 1 else f"{len(rows)} mistakes"
        msg = "\n".join([*rows, f"{count} in the files that {layout.PARAMS} names"])
        kind = errors.ParamsError if in_params else errors.SamplesError
        raise kind(msg, mend="correct these files, then `python -m stages.check`")
    files.write_bytes(layout.PARAMS_OK, b"ok\n")
    engines = document.param("engines")
    console.say(f"{layout.PARAMS} is right: models {len(models)}, engines {len(engines)}")


def _rows(
    document: params.Params, model: str, check: Callable[[str, Any], Iterator[str]]
) -> Iterator[str]:
    for text in check(model, document.param(f"models.{model}")):
        yield f"{document.where('models', model)}: models.{model}: {text}"


def _libraries(document: params.Params) -> Iterator[str]:
    """Plugin libraries: there, and what params.yaml names."""
    for engine, spec in document.param("engines").items():
        here = ("engines", engine, "builder", "plugins")
        for index, entry in enumerate(spec["builder"]["plugins"]):
            path, where = (
                layout.plugins(spec["model"]) / entry["file"],
                document.where(*here, index),
            )
            found = files.sha256(path) if path.is_file() else None
            if found is None:
                yield f"{where}: {'.'.join(here)}: {path} is not there"
            elif found != entry["sha256"]:
                yield f"{where}: {'.'.join(here)}: {path} has another SHA-256: {found}"


def _interpreters(document: params.Params) -> Iterator[str]:
    """One for a framework that has no environment of its own would not be used."""
    known = environments.frameworks()
    for name in document.param("interpreters"):
        if name not in known:
            near, where = wording.suggestion(name, known), document.where("interpreters", name)
            what = f"it has no environment of its own.{near} These have: {', '.join(known)}"
            yield f"{where}: interpreters.{name}: {what}"


def _folders(model: str, spec: Any) -> Iterator[str]:
    """The model's folders, and the files that are entries."""
    home = layout.model_source(model).parent
    if not home.is_dir():
        near = wording.suggestion(model, _names(home.parent, "*/"))
        folders = "source/, samples/, rewrites/, metric/, timing/, latency/ and caches/"
        yield f"{home}/ is not there.{near} It holds {folders}"
        return
    source, metric = layout.model_source(model), layout.metric(model)
    others = (layout.rewrites, layout.metric, layout.timing, layout.latency, layout.caches)
    for folder in (source, *(place(model) for place in others)):
        if not folder.is_dir():
            make = f"mkdir -p {folder} && touch {folder}/.gitkeep"
            yield f"{folder}/ is not there; it may be empty but must exist: `{make}`"
    yield from _entry(source, spec["source"]["entry"], "source.entry")
    if unfit := source_guess.unfit(spec["source"]["framework"], source, spec["source"]["entry"]):
        yield f"source.entry: {'; '.join(unfit).replace('<m>', model)}"
    yield from _entry(source, spec["source"]["weights"], "source.weights")
    for trusted in spec["source"]["trusted"]:
        yield from _entry(source, trusted["file"], "source.trusted")
    yield from _entry(metric, spec["metric"]["entry"], "metric.entry")
    yield from _entry(layout.caches(model), spec["calibrate"]["import"], "calibrate.import")


def _entry(folder: Path, entry: str | None, key: str) -> Iterator[str]:
    name = (entry or "").partition(":")[0]
    if name and folder.is_dir() and not (folder / name).exists():
        here = _names(folder, "**/*")
        known = ", ".join(here[:10]) or "nothing"
        near = wording.suggestion(name, here)
        yield f"{key} names {folder / name}, which is not there.{near} There is: {known}"


def _names(folder: Path, pattern: str) -> list[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.glob(pattern))
    return sorted(name for name in found if "__pycache__" not in name and name != ".gitkeep")


def _judging(document: params.Params) -> set[str]:
    """Models with an engine that is searched for by the task metric, on calibration samples."""
    autos = ((one["model"], one["auto"]) for one in document.param("engines").values())
    return {m for m, auto in autos if auto and auto["budget"]["max_accuracy_drop"] is not None}


def _samples(judging: set[str], model: str, spec: Any) -> Iterator[str]:
    """The sample files, by their headers; validation samples need labels, others for a search."""
    if not layout.model_source(model).parent.is_dir():
        return
    for split in layout.SPLITS:
        judges = split == "validation" or (split == "calibration" and model in judging)
        labels = spec["metric"]["labels"] if judges else None
        folder = layout.samples(model, split)
        try:
            samples.Split(folder=folder, inputs=spec["inputs"], labels=labels).check_headers()
        except errors.SamplesError as error:
            yield f"{error.what}; {error.mend}"


if __name__ == "__main__":
    console.run("check", main)
