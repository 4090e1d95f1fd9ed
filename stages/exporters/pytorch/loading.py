# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What an entry means: a module from Python code, TorchScript or a pickle, or a program."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

from stages.exporters.pytorch import trust
from stages.lib import errors, plugins

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stages.exporters.api import Order

Source = torch.nn.Module | torch.export.ExportedProgram
_PROGRAM = ".pt2"
_ENTRY = (
    "correct the code: an entry is a function that returns the module, or its class, and is called"
    " without arguments, on the CPU"
)


def load(order: Order) -> Source:
    """The module that the entry gives, with its weights, or the program that it is.

    Raises:
        SourceModelError: it cannot be loaded, or needs a trust that it has not.
    """
    torch.manual_seed(0)  # the same module each time it is loaded
    with trust.guarding(order):  # it decides what weights_only is, below
        if order.path.suffix == _PROGRAM:
            return _program(order)
        module = _from_code(order) if ":" in order.entry else _from_file(order)
        if order.weights is not None:
            _fill(module, order.source / order.weights)
    for parameter in module.parameters():
        parameter.requires_grad = False
    return module.eval()


def refuse_random(source: Source, order: Order) -> None:
    """See that code which brings its own weights does not draw them.

    Raises:
        SourceModelError: under another seed the entry gives other parameters or buffers.
    """
    if order.weights is not None or isinstance(source, torch.export.ExportedProgram):
        return
    if ":" not in order.entry:
        return
    torch.manual_seed(1)
    with trust.guarding(order):
        other = dict(_tensors(_from_code(order)))
    drawn = [name for name, tensor in _tensors(source) if not _equal(tensor, other.get(name))]
    if drawn:
        where = f"{order.source.as_posix()}/{order.entry}"
        raise plugins.random_weights(where, drawn, "torch.manual_seed")


def _tensors(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _equal(one: torch.Tensor, other: torch.Tensor | None) -> bool:
    if other is None or one.shape != other.shape or one.dtype != other.dtype:
        return False
    same = (one == other) | (one.isnan() & other.isnan())
    return bool(same.all())


def _from_code(order: Order) -> torch.nn.Module:
    where = f"{order.source.as_posix()}/{order.entry}"
    with telling(where, _ENTRY):
        module = plugins.entry(order.source, order.entry)()
    if not isinstance(module, torch.nn.Module):
        msg = f"{where} returned a {type(module).__name__}, not a torch.nn.Module"
        raise errors.SourceModelError(msg, mend="return the module itself")
    return module


def _from_file(order: Order) -> torch.nn.Module:
    """TorchScript, or a pickled module, whose class may lie beside it; both need trust."""
    beside = str(order.source.resolve())
    with telling(f"{order.path}", "save the model again"), _importing(beside):
        warnings.filterwarnings("ignore", "'torch.load' received a zip file")
        found = torch.load(order.path, map_location="cpu", weights_only=False)
    if isinstance(found, torch.nn.Module):
        return found
    msg = f"{order.path} holds a {type(found).__name__}, not a module"
    mend = (
        "give the code of the module as entry (`<file>.py:<class>`), and this file as"
        " models.<m>.source.weights"
    )
    raise errors.SourceModelError(msg, mend=mend)


def _program(order: Order) -> torch.export.ExportedProgram:
    mend = "export it again by torch.export.save, with the torch that toolchain.export-pytorch pins"
    if order.weights is not None:
        msg = f"{order.path} has its weights in it, and models.<m>.source.weights is given"
        raise errors.SourceModelError(msg, mend="set models.<m>.source.weights to null")
    with telling(f"{order.path}", mend), _reasoned():
        return torch.export.load(order.path)


def _fill(module: torch.nn.Module, path: Path) -> None:
    """Give the module its weights: all of them, and nothing else."""
    with telling(f"{path}", "save module.state_dict() again"):
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=False)
    tensors = isinstance(state, dict) and all(isinstance(v, torch.Tensor) for v in state.values())
    if not tensors:
        inside = f" with {', '.join(map(str, state))}" if isinstance(state, dict) else ""
        msg = f"{path} holds a {type(state).__name__}{inside}, not tensors by name"
        raise errors.SourceModelError(msg, mend="save module.state_dict() alone")
    if faults := list(_faults(module.state_dict(), state)):
        msg = "\n  ".join([f"{path} does not fit the module", *faults])
        raise errors.SourceModelError(
            msg, mend="save the state_dict() of this very module, not of one around it"
        )
    module.load_state_dict(state, strict=False)  # strictly, but for tensors under two names


def _faults(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    shapes = {
        f"{name} {list(found[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in found and found[name].shape != tensor.shape
    }
    # Safetensors hold a tensor once, though the module may have it under several names.
    given = {tensor.data_ptr() for name, tensor in wanted.items() if name in found}
    lacking = {
        name for name in wanted.keys() - found.keys() if wanted[name].data_ptr() not in given
    }
    for words, names in (
        ("it lacks", lacking),
        ("the module lacks", found.keys() - wanted.keys()),
        ("shapes differ:", shapes),
    ):
        if names:
            yield f"{words} {plugins.some(sorted(names))}"


@contextlib.contextmanager
def telling(where: str, mend: str) -> Iterator[None]:
    """Say of any error that it came while `where` was loaded."""
    try:
        yield
    except errors.EngineryError:
        raise
    except FileNotFoundError as error:
        said = str(error).replace(f"{Path.cwd()}/", "")
        msg = f"{where} could not be loaded: FileNotFoundError: {said}"
        raise errors.SourceModelError(msg, mend="correct the path, or bring the file") from error
    except ModuleNotFoundError as error:
        msg = f"{where} could not be loaded: {error}"
        own = "put its code into the folder of the source model, or install the package into .venv"
        mend = plugins.of_another_framework(error) or own
        raise errors.SourceModelError(msg, mend=mend) from error
    except (Exception, SystemExit) as error:
        msg = f"{where} could not be loaded: {type(error).__name__}: {error}"
        raise errors.SourceModelError(msg, mend=mend) from error


@contextlib.contextmanager
def _reasoned() -> Iterator[None]:
    """Raise the reason that torch.export.load only logs, with its traceback."""
    reasons: list[BaseException | None] = []

    def keep(record: logging.LogRecord) -> bool:
        reasons.append(record.exc_info[1] if record.exc_info else None)
        return False

    log = logging.getLogger("torch.export")
    log.addFilter(keep)
    try:
        yield
    except RuntimeError as error:
        raise next(filter(None, reasons), error) from None
    finally:
        log.removeFilter(keep)


@contextlib.contextmanager
def _importing(folder: str) -> Iterator[None]:
    sys.path.append(folder)
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.path.remove(folder)
