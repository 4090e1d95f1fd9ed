# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What may run code when it is loaded: only files that params.yaml trusts, by their SHA-256.

A pickle runs whatever its maker wrote into it, and TorchScript is a program. So everything is read
with `weights_only=True` (https://docs.pytorch.org/docs/stable/notes/serialization.html), and a file
that needs more must stand in `models.<m>.source.trusted`. While the user's entry runs, its own
calls of `torch.load`, `torch.jit.load` and `torch.export.load` are held to that too. It guards
against a file, not against the entry, which is code already.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from stages.exporters.pytorch import archive
from stages.lib import errors, files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stages.exporters.api import Order

# Read by torch.load at each call: it then unpickles no more than tensors, whatever the caller asks.
_FORCE, _FORCE_NOT = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_KINDS = {
    "TorchScript": ("TorchScript", "export the module itself, or a .pt2 of torch.export, instead"),
    "a pickle": ("a pickle of more than tensors", "save its state_dict() as safetensors instead"),
    "a program": ("a torch.export program", "export it again by torch.export.save"),
}


def trusted(order: Order, path: Path) -> bool:
    """Whether params.yaml trusts this file.

    Raises:
        SourceModelError: it trusts other bytes under this name.
    """
    name = _below(order, path)
    wanted = order.trusted.get(name or "")
    if wanted is None or not path.is_file():
        return False
    if (found := files.sha256(path)) != wanted:
        msg = (
            f"{path} is not the file that models.<m>.source.trusted allows\n"
            f"  file:        {found}\n  params.yaml: {wanted}"
        )
        mend = "bring back the file that was allowed, or look at this one and allow its SHA-256"
        raise errors.SourceModelError(msg, mend=mend)
    return True


def refused(
    order: Order, path: Path | None, kind: str, why: str | None = None
) -> errors.SourceModelError:
    """The error of a file that would run code; `kind` is a key of `_KINDS`."""
    what, instead = _KINDS[kind]
    reason = f": {why}" if why else ""
    if path is None:
        msg = f"bytes in memory are {what}, which may run code when it is loaded{reason}"
        return errors.SourceModelError(msg, mend=f"{instead}; or load it from its file")
    name = _below(order, path)
    shown = path if name is None else order.source / name  # the user's code may name it in full
    msg = f"{shown} is {what}, which may run code when it is loaded, and is not trusted{reason}"
    if not path.is_file():
        return errors.SourceModelError(f"{path} is not there", mend="correct the path")
    if name is None:
        return errors.SourceModelError(msg, mend=f"{instead}; or copy it to {order.source} first")
    mend = (
        f"{instead}. Or, if you trust who made it, say so in params.yaml:\n"
        "  models.<m>.source.trusted:\n"
        f"    - file: {name}\n      sha256: {files.sha256(path)}"
    )
    return errors.SourceModelError(msg, mend=mend)


class Guard:
    """torch's loaders, held to what an order trusts."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._free = False  # inside the load of a trusted file, which may hold others
        self._archive: Path | None = None  # whose members are read as bytes in memory

    def load(self, real: Callable[..., Any], file: Any, *more: Any, **options: Any) -> Any:
        """`torch.load`, with `weights_only=True` unless the file is trusted."""
        path = _path(file)
        if self._trusts(path):
            return self._freely(real, file, *more, **options)
        if options.get("weights_only"):
            return real(file, *more, **options)  # as the caller wants it, who may catch what comes
        try:
            forced = options | {"weights_only": True, "pickle_module": None}
            return real(file, *more[:1], **forced)  # behind map_location comes the pickle_module
        except (pickle.UnpicklingError, RuntimeError) as error:
            if "TorchScript" in str(error):
                raise refused(self._order, path, "TorchScript") from error
            if isinstance(error, RuntimeError):
                raise  # it is damaged
            raise refused(self._order, path or self._archive, "a pickle", _wanted(error)) from error

    def script(self, real: Callable[..., Any], file: Any, *more: Any, **options: Any) -> Any:
        """`torch.jit.load`, of trusted files."""
        path = _path(file)
        if self._trusts(path):
            return self._freely(real, file, *more, **options)
        raise refused(self._order, path, "TorchScript")

    def program(self, real: Callable[..., Any], file: Any, *more: Any, **options: Any) -> Any:
        """`torch.export.load`, of archives that run nothing, or are trusted."""
        path = _path(file)
        if self._trusts(path):
            return self._freely(real, file, *more, **options)
        fault = "it is read from no file" if path is None else archive.fault(path)
        if fault:
            raise refused(self._order, path, "a program", fault)
        self._archive = path
        try:
            return real(file, *more, **options)
        finally:
            self._archive = None

    def _trusts(self, path: Path | None) -> bool:
        return self._free or (path is not None and trusted(self._order, path))

    def _freely(self, real: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        before, self._free = self._free, True
        try:
            with _forced(None):
                return real(*arguments, **options)
        finally:
            self._free = before


@contextlib.contextmanager
def guarding(order: Order) -> Iterator[None]:
    """Hold `torch.load`, `torch.jit.load` and `torch.export.load` to what `order` trusts.

    They raise SourceModelError for what it does not.
    """
    guard = Guard(order)
    doors: tuple[tuple[Any, Any], ...] = (
        (torch, guard.load),
        (torch.serialization, guard.load),
        (torch.jit, guard.script),
        (torch.export, guard.program),
    )
    with contextlib.ExitStack() as stack:
        for owner, door in doors:
            real = owner.load
            stack.callback(setattr, owner, "load", real)
            owner.load = functools.wraps(real)(functools.partial(door, real))
        stack.enter_context(_forced("1"))
        yield


@contextlib.contextmanager
def _forced(value: str | None) -> Iterator[None]:
    before = {name: os.environ.pop(name, None) for name in (_FORCE, _FORCE_NOT)}
    if value is not None:
        os.environ[_FORCE] = value
    try:
        yield
    finally:
        for name, old in before.items():
            os.environ.pop(name, None)
            if old is not None:
                os.environ[name] = old


def _path(file: Any) -> Path | None:
    """Of a path or an open file; bytes in memory have none."""
    name = file if isinstance(file, str | os.PathLike) else getattr(file, "name", None)
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes | os.PathLike) else None


def _below(order: Order, path: Path) -> str | None:
    """Its name below source/; None if it lies elsewhere. DVC may make links, which are kept."""
    home = os.path.normpath(order.source.absolute())
    here = Path(os.path.normpath(path.absolute()))
    return here.relative_to(home).as_posix() if here.is_relative_to(home) else None


def _wanted(error: Exception) -> str | None:
    """What the pickle asks for, without torch's advice to switch the check off."""
    asked = re.search(r"GLOBAL (\S+)", str(error))
    return f"it asks for {asked[1]}" if asked else None
