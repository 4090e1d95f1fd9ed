# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Finds exporters and backends by name, and the user's own entries: no central table to edit."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


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
