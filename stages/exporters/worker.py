# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What runs in an exporter's own environment: it reads an order, and writes files.

Of ours it may import what needs nothing but the standard library and numpy.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from stages.exporters.api import Order
from stages.lib import confined, errors, pins, plugins

ORDER, ANSWER, FEEDS, OUTPUTS = "order.json", "answer.json", "feeds", "outputs"
STARTED = "started"  # by then the interpreter is one that can run this file


def main(root: Path, folder: Path, parent: int) -> None:
    """Do the order in `folder`, for the project in `root`."""
    (folder / STARTED).touch()
    told = json.loads((folder / ORDER).read_bytes())
    confined.confine(told["limits"]["memory_mib"] << 20, parent)
    said = confined.answer(lambda: _work(root, folder, told))
    (folder / ANSWER).write_bytes(said)
    sys.stdout.flush()
    ctypes.CDLL(None).fflush(None)
    os._exit(0)  # a framework may hang, or crash, when it is torn down


def _work(root: Path, folder: Path, told: dict[str, Any]) -> dict[str, Any]:
    framework = told["framework"]
    _check_pins(framework, told)
    places = list(sys.path)  # setuptools adds a folder of its own, which nobody has installed
    before = _distributions(places)
    source = Path(told["order"]["source"])
    order = Order(**told["order"] | {"source": source})
    batches = [arrays(file, list(order.inputs)) for file in sorted((folder / FEEDS).iterdir())]
    exporter = plugins.load(f"stages.exporters.{framework}", "exporter")
    try:
        exporter.export(order, batches[0], Path(told["graph"]))
        model = exporter.load(order)
        if model is not None:
            (folder / OUTPUTS).mkdir()
            for number, feeds in enumerate(batches):
                found = model(feeds)
                save(folder / OUTPUTS / f"{number:06}.npz", found, order.outputs)
    except (errors.EngineryError, MemoryError, OSError):
        raise
    except BaseException as error:
        msg = f"{framework} failed: {type(error).__name__}: {error}"
        mend = f"see {told['log']}"
        if isinstance(error, ImportError):
            mend += f". If the exporter's environment is damaged: {told['mend']}"
        raise errors.SourceModelError(msg, mend=mend) from error
    if more := sorted(_distributions(places) - before):
        msg = f"the exporter installed packages by itself: {', '.join(more)}"
        mend = f"pin them in requirements/export-{framework}.in, `make lock`, `make envs`"
        raise errors.PinError(msg, mend=mend)
    return {"onnx": model is None, "code": _code(root)}


def save(path: Path, values: dict[str, np.ndarray[Any, Any]], names: list[str]) -> None:
    """Write arrays in the order of `names`; a name may be one that a file cannot have."""
    if lacking := [name for name in names if name not in values]:
        found = ", ".join(values) or "none"
        msg = f"the source model has no output {', '.join(lacking)}; it has: {found}"
        raise errors.SourceModelError(msg, mend="set models.<m>.outputs to what the model has")
    made = [np.asarray(values[name]) for name in names]
    for name, value in zip(names, made, strict=True):
        if value.dtype.kind in "OV":  # pickles, and types that numpy does not have
            msg = f"output {name} of the source model is of type {value.dtype}, which has no file"
            mend = "let the model give numbers of a type that numpy has"
            raise errors.SourceModelError(msg, mend=mend)
    np.savez(path, *made)


def arrays(path: Path, names: list[str]) -> dict[str, np.ndarray[Any, Any]]:
    """What `save` wrote."""
    with np.load(path) as file:
        return {name: file[f"arr_{index}"] for index, name in enumerate(names)}


def _check_pins(framework: str, told: dict[str, Any]) -> None:
    try:
        pins.check(told["python"], told["pins"])
    except errors.PinError as error:
        msg = f"{sys.executable}, the interpreter of the exporter {framework}:\n{error.what}"
        mend = (
            f"bring toolchain.export-{framework} and requirements/export-{framework}.txt together"
            f" (`make pins`), or give another interpreter in interpreters.{framework}"
        )
        raise errors.PinError(msg, mend=mend) from None


def _distributions(places: list[str]) -> set[str]:
    return {f"{one.name} {one.version}" for one in metadata.distributions(path=places)}


def _code(root: Path) -> list[str]:
    """Files of ours that ran here, below `root`."""
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    paths = {Path(file) for file in files if file}
    return sorted(
        path.relative_to(root).as_posix() for path in paths if path.is_relative_to(root / "stages")
    )
