# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Plugin libraries: code that the builder loads, so it must be the code that params.yaml names."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.backends import refusals
from stages.lib import errors, files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_FOLDER = "plugins"


def named(settings: Mapping[str, Any], folder: Path) -> list[tuple[str, str]]:
    """Path and SHA-256 of each library of `engines.<e>.builder.plugins`, in order.

    Raises:
        PinError: one is not there, or is another file than params.yaml names.
    """
    found = [(folder / entry["file"], entry["sha256"]) for entry in settings["plugins"]]
    for path, wanted in found:
        if not path.is_file():
            msg = f"the plugin library {path} is not there"
            raise errors.PinError(msg, mend=f"put it there, or take it out of {_KEY}")
        _demand(path, files.sha256(path), wanted)
    return [(path.as_posix(), wanted) for path, wanted in found]


def copies(plugins: Iterable[tuple[str, str]], folder: Path) -> list[tuple[str, str]]:
    """Copy libraries into `folder`/plugins, so that nothing but what was checked is loaded.

    Returns:
        Their paths relative to `folder`, and their digests.

    Raises:
        PinError: one is another file than params.yaml names.
    """
    made = []
    for name, wanted in plugins:
        data = Path(name).read_bytes()
        _demand(Path(name), hashlib.sha256(data).hexdigest(), wanted)
        copy = folder / _FOLDER / Path(name).name
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(data)
        made.append((f"./{_FOLDER}/{copy.name}", wanted))
    return made


def load(builder: Any, plugins: Sequence[tuple[str, str]], failures: Sequence[str]) -> None:
    """Load them into the builder's `IPluginRegistry`.

    Args:
        builder: TensorRT's.
        plugins: as `copies` gives them.
        failures: where the logger keeps TensorRT's messages.

    Raises:
        BuildError: TensorRT refuses one.
    """
    for path, _ in plugins:
        if builder.get_plugin_registry().load_library(path) is None:
            what = f"TensorRT does not load the plugin library {Path(path).name}"
            mend = "build it for this version of TensorRT, with getCreators and setLoggerFinder"
            raise errors.BuildError(refusals.failure(what, failures).what, mend=mend)


_KEY = "`builder.plugins` in params.yaml"


def _demand(path: Path, found: str, wanted: str) -> None:
    if found != wanted:
        msg = f"{path} has the SHA-256 {found}; params.yaml names {wanted}"
        mend = f"bring back the library that was meant, or, if you trust this one, edit {_KEY}"
        raise errors.PinError(msg, mend=mend)
