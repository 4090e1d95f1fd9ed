# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Which source models lie in a folder; none is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.lib import source_look

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = (
    "<file>.onnx; <file>.pt2 of torch.export; a SavedModel's folder, or <file>.keras; <file>.json"
    " or <file>.pdmodel of PaddlePaddle; <file>.py with a function load(), of MindSpore or PyTorch"
)
# Forms that are an entry by themselves.
_WHOLE = frozenset({"onnx", "pt2", "saved_model", "keras", "hdf5", "pir", "pdmodel", "python"})


@dataclass(frozen=True)
class Found:
    """A source model, as `models.<m>.source` names it."""

    framework: str
    entry: str
    weights: str | None = None


def find(folder: Path) -> list[Found]:
    """All that could be meant, in order of name."""
    return list(_found(folder)) if folder.is_dir() else []


def _found(folder: Path) -> Iterator[Found]:
    forms = {path.name: source_look.look(path) for path in sorted(folder.iterdir())}
    checkpoints = [name for name, form in forms.items() if form and form.kind == "ckpt"]
    for name, form in forms.items():
        if form is None or form.kind not in _WHOLE:
            continue
        if form.kind != "python":
            yield Found(str(form.framework), name)
        elif form.framework == "mindspore":
            weights = checkpoints[0] if len(checkpoints) == 1 else None
            yield Found("mindspore", f"{name}:load", weights)
        else:
            yield Found("pytorch", f"{name}:load")
