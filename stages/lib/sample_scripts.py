# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Samples from a Python file: its generator `load_data()` yields feeds.

A feed is a dict of one array for each input, as Polygraphy's `--data-loader-script` takes it. What
the file reads shall lie in its own folder, else DVC does not see when it changes.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.lib import errors, plugins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_GENERATOR = "load_data"


def scripts(folder: Path) -> list[Path]:
    """Python files of a folder, in order of name: the feeds of each come from `load_data()`."""
    return sorted(folder.glob("*.py"))


def feeds(path: Path) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    """Yield what `load_data()` of a Python file yields.

    Raises:
        SamplesError: the file fails, or has no such generator, or yields no dicts.
    """
    try:
        made = plugins.entry(path.parent, f"{path.name}:{_GENERATOR}")()
        for number, feed in enumerate(made):
            yield {name: np.asarray(array) for name, array in _dict(feed, number).items()}
    except (Exception, SystemExit) as error:
        msg = f"{path}: {_GENERATOR}() fails: {type(error).__name__}: {error}"
        mend = f"`python {path}` may show where; it must yield dicts of numpy arrays"
        raise errors.SamplesError(msg, mend=mend) from error


def _dict(feed: Any, number: int) -> dict[str, Any]:
    if not isinstance(feed, dict):
        msg = f"feed {number} is a {type(feed).__name__}, not a dict"
        raise TypeError(msg)
    return feed


def check(path: Path) -> None:
    """Refuse a Python file without `load_data`, without running it.

    Raises:
        SamplesError: it has none, or is no Python.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        msg = f"{path} is not Python: {error}"
        raise errors.SamplesError(msg, mend=f"correct {path}") from None
    names = {name for node in tree.body for name in _bound(node)}
    if _GENERATOR not in names:
        known = ", ".join(sorted(names)) or "nothing"
        msg = f"{path} defines no {_GENERATOR}(); it defines: {known}"
        mend = f"write a generator {_GENERATOR}() in it that yields {{input name: numpy array}}"
        raise errors.SamplesError(msg, mend=mend)


def _bound(node: ast.stmt) -> list[str]:
    """Names that a statement of a module gives: Polygraphy calls whatever has the name."""
    match node:
        case ast.FunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Import() | ast.ImportFrom():
            return [alias.asname or alias.name for alias in node.names]
        case ast.Assign():
            return [target.id for target in node.targets if isinstance(target, ast.Name)]
        case _:
            return []
