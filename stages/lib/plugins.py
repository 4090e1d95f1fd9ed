# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Finds exporters and backends by name, and the user's own entries: no central table to edit.

What several frameworks say of such an entry is here too.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import sys
from typing import TYPE_CHECKING, Any

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

FRAMEWORKS = {
    "keras": "tensorflow",
    "mindspore": "mindspore",
    "paddle": "paddlepaddle",
    "tensorflow": "tensorflow",
    "torch": "pytorch",
}
"""Whose model it may be, by the package that its code imports."""

_SHOWN = 10


def load(package: str, name: str) -> Any:
    """Import `<package>.<name>`; the schema has checked the name.

    `importlib` is used here alone, so that tests/test_dag.py can follow every other import.
    """
    return importlib.import_module(f"{package}.{name}")


def entry(folder: Path, name: str) -> Any:
    """The object that an entry `<file>.py:<name>` of the user's means, or the module without `:`.

    The file can import what lies beside it, now and later. No bytecode is left in its folder.

    Raises:
        FileNotFoundError, AttributeError: there is no such file or name.
        Exception: whatever the file raises when it runs.
    """
    file, _, attribute = name.partition(":")
    path = folder / file
    spec = importlib.util.spec_from_file_location(f"enginery_entry_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look it up
    sys.dont_write_bytecode = True
    beside = str(folder.resolve())
    sys.path.insert(0, beside)
    try:
        spec.loader.exec_module(module)
    finally:
        # Last from here on, so that no file of the user's shadows a library's.
        sys.path.remove(beside)
        sys.path.append(beside)
    if attribute and not hasattr(module, attribute):
        own = [name for name, value in vars(module).items() if _is_own(value, spec.name)]
        msg = (
            f"{file} has no {attribute!r}; it has: {', '.join(own) or 'nothing that can be called'}"
        )
        raise AttributeError(msg)
    return getattr(module, attribute) if attribute else module


def _is_own(value: Any, module: str) -> bool:
    """Whether that module made it, and it can be called."""
    return callable(value) and getattr(value, "__module__", None) == module


def of_another_framework(error: ModuleNotFoundError) -> str | None:
    """How to mend it where the package that an entry lacks is another framework's."""
    framework = FRAMEWORKS.get((error.name or "").partition(".")[0])
    if framework is None:
        return None
    return f"if it is a {framework} model, set models.<m>.source.framework to that"


def random_weights(where: str, drawn: Collection[str], seeding: str) -> errors.SourceModelError:
    """The refusal of an entry that draws its weights.

    One seed would take a forgotten checkpoint through every later check.

    Args:
        where: the entry.
        drawn: parameters that are others under another seed.
        seeding: the framework's function that takes a seed.
    """
    msg = f"the weights of {where} are random: with another seed it has other {some(drawn)}"
    mend = (
        "name their file in models.<m>.source.weights, or load them in the entry; if they shall"
        f" be random, call {seeding} in the entry"
    )
    return errors.SourceModelError(msg, mend=mend)


def some(names: Collection[str]) -> str:
    """The first ten of an entry's names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(itertools.islice(names, _SHOWN)) + more
