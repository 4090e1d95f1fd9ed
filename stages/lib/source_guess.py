# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A source model that is not what its framework takes: what it is, and whose it may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.lib import source_forms, source_look
from stages.lib.schema import Problem

if TYPE_CHECKING:
    from pathlib import Path

    from stages.lib.source_forms import Form

# Kinds that an exporter takes, by the end of the entry's name; "" is for all other names.
_TAKES: dict[str, dict[str, tuple[str, ...]]] = {
    "onnx": {"": ("onnx",)},
    "pytorch": {".py": ("python",), ".pt2": ("pt2",), "": ("torchscript", "torch")},
    "tensorflow": {
        ".keras": ("keras",),
        ".h5": ("hdf5",),
        ".hdf5": ("hdf5",),
        "": ("saved_model",),
    },
    "paddlepaddle": {".json": ("pir",), ".pdmodel": ("pdmodel",), "": ()},
    "mindspore": {"": ("python",)},
}
_WORDS = {
    "onnx": "<file>.onnx",
    "pytorch": "<file>.py:<function or class>, <file>.pt2, or trusted TorchScript",
    "tensorflow": "the folder of a SavedModel, <file>.keras or <file>.h5",
    "paddlepaddle": "<file>.json or <file>.pdmodel",
    "mindspore": "<file>.py:<function or class>",
}
_ENDS = {
    "pt2": ".pt2",
    "keras": ".keras",
    "hdf5": ".h5",
    "pir": ".json",
    "pdmodel": ".pdmodel",
    "torchscript": ".ts",
}
_MOST_NAMES = 6


def unfit(framework: str, source: Path, entry: str) -> tuple[str, str] | None:
    """What is wrong with the form of an entry that is there, and how to mend it.

    Args:
        framework: that params.yaml declares.
        source: folder of the source model.
        entry: what to load below `source`.

    Returns:
        None if it fits, is not there, or has a form that is not known here.
    """
    path = source / entry.partition(":")[0]
    if framework not in _TAKES or not path.exists():
        return None
    if path.is_dir() and source_look.look(path) is None:
        return _folder(framework, path, entry)
    form = source_look.look(path)
    if form is None or _fits(framework, path, form):
        return None
    return f"{path} is {_named(form)}, and {_wants(framework)}", _mend(framework, form)


def told(found: list[Problem], document: Any) -> list[Problem]:
    """`found`, saying of an entry that does not fit whose it looks like, by its name alone."""
    return [_guessed(problem, document) for problem in found]


def _guessed(problem: Problem, document: Any) -> Problem:
    if problem.path[:1] != ("models",) or problem.path[2:] != ("source", "entry"):
        return problem
    source = document["models"][problem.path[1]]["source"]
    entry, framework = source.get("entry"), source.get("framework")
    form = source_forms.by_name(entry.partition(":")[0]) if isinstance(entry, str) else None
    if form is None or framework not in _TAKES or (form.framework == framework and not form.advice):
        return problem
    if form.kind == "python" and "python" in sum(_TAKES[framework].values(), ()):
        return problem
    mend = _mend(str(framework), form).replace("<m>", str(problem.path[1]))
    text = f"{problem.message} {entry!r} looks like {_named(form)}: {mend}"
    return Problem(problem.path, text, problem.key, problem.expected)


def _fits(framework: str, path: Path, form: Form) -> bool:
    takes = _TAKES[framework]
    kinds = takes.get(path.suffix, takes[""])
    # Code that names no framework, or several, may be of any.
    return form.kind in kinds and form.framework in (framework, None)


def _named(form: Form) -> str:
    code = form.kind == "python" and form.framework
    return f"{form.what} that imports {form.framework}" if code else form.what


def _wants(framework: str) -> str:
    return f"framework {framework} takes {_WORDS[framework]}"


def _mend(framework: str, form: Form) -> str:
    steps = []
    if form.kind == "python" and form.framework is None:
        steps.append("set models.<m>.source.framework to pytorch or mindspore")
    elif form.framework not in (framework, None):
        steps.append(f"set models.<m>.source.framework to {form.framework}")
    elif form.advice is None and form.kind in _ENDS:
        steps.append(f"give the file a name that ends with {_ENDS[form.kind]}")
    if form.advice:
        steps.append(form.advice)
    return "; ".join(steps) or f"set models.<m>.source.entry to {_WORDS[framework]}"


def _folder(framework: str, path: Path, entry: str) -> tuple[str, str]:
    """A folder that is no SavedModel: what lies in it, and whether one of that can be the entry."""
    here = sorted(one for one in path.iterdir() if one.name != ".gitkeep")
    names = ", ".join(one.name for one in here[:_MOST_NAMES]) or "nothing"
    more = ", ..." if len(here) > _MOST_NAMES else ""
    lacks = " without saved_model.pb" if framework == "tensorflow" else ""
    what = f"{path} is a folder{lacks} with {names}{more} in it, and {_wants(framework)}"
    for one in here:
        form = source_look.look(one)
        if form is not None and form.framework and form.advice is None and form.kind != "python":
            set_to = f"models.<m>.source.entry to {entry.rstrip('/')}/{one.name}, {_named(form)}"
            also = "" if form.framework == framework else f", and framework to {form.framework}"
            return what, f"set {set_to}{also}"
    return what, f"set models.<m>.source.entry to {_WORDS[framework]}"
