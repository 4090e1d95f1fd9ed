# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Which source models lie in a folder; none is loaded."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.lib import source_look

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stages.lib.source_forms import Form

KINDS = (
    "<file>.onnx; <file>.pt2 of torch.export; a SavedModel's folder, <file>.keras or <file>.h5;"
    " <file>.json or <file>.pdmodel of PaddlePaddle; <file>.py with a function load(), or with the"
    " class of the model, and its weights, of MindSpore or PyTorch"
)
# Forms that are an entry by themselves, and those that are where nothing else is.
_WHOLE = frozenset({"onnx", "pt2", "saved_model", "keras", "hdf5", "pir", "pdmodel"})
_LAST = frozenset({"torchscript", "torch"})
# Forms of a module's weights, better ones first; a checkpoint of PyTorch is more than weights.
_WEIGHTS = {"pytorch": ({"safetensors"}, {"torch"}), "mindspore": ({"ckpt", "safetensors"},)}
_LOAD = "load"
_METHODS = frozenset({"forward", "construct"})


@dataclass(frozen=True)
class Found:
    """A source model, as `models.<m>.source` names it."""

    framework: str
    entry: str
    weights: str | None = None

    def __str__(self) -> str:
        weights = f" with {self.weights}" if self.weights else ""
        return f"{self.entry}{weights} ({self.framework})"


def find(folder: Path) -> list[Found]:
    """All that could be meant, in order of name."""
    return list(_found(folder)) if folder.is_dir() else []


def _found(folder: Path) -> Iterator[Found]:
    forms = {path: form for path in sorted(folder.iterdir()) if (form := source_look.look(path))}
    code = {path: form for path, form in forms.items() if form.kind == "python"}
    if len(code) > 1:  # the others are what it imports
        code = {path: form for path, form in code.items() if _name(path) == _LOAD} or code
    kinds = _WHOLE if code or _WHOLE & {form.kind for form in forms.values()} else _LAST
    for path, form in forms.items():
        if path in code:
            framework = "mindspore" if form.framework == "mindspore" else "pytorch"
            yield from _of_code(path, framework, forms)
        elif form.kind in kinds:
            yield Found(str(form.framework), path.name)


def _of_code(path: Path, framework: str, forms: dict[Path, Form]) -> Iterator[Found]:
    name = _name(path)
    found: list[str] = []
    if framework == "mindspore" or name != _LOAD:  # PyTorch's load() brings its own
        for kinds in _WEIGHTS[framework]:
            found = found or [other.name for other, form in forms.items() if form.kind in kinds]
    # One of several would be a guess; none of them, a network of random weights.
    for weights in found or (None,):
        yield Found(framework, f"{path.name}:{name or _LOAD}", weights)


def _name(path: Path) -> str | None:
    """`load`, or the one network that no other class in the file uses; the code is not run."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError):  # told when it is run
        return None
    if any(isinstance(node, ast.FunctionDef) and node.name == _LOAD for node in body):
        return _LOAD
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    used = {
        inner.id
        for one in classes
        for inner in ast.walk(one)
        if isinstance(inner, ast.Name) and inner.id != one.name
    }
    nets = [one.name for one in classes if one.name not in used and _is_net(one)]
    return nets[0] if len(nets) == 1 else None


def _is_net(node: ast.ClassDef) -> bool:
    return any(isinstance(one, ast.FunctionDef) and one.name in _METHODS for one in node.body)
