# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The network of an entry `<file>.py:<class or function>`, with the weights of its checkpoint."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mindspore
import numpy as np
from mindspore import Tensor, nn

from stages.exporters.mindspore import reasons
from stages.lib import errors, plugins

if TYPE_CHECKING:
    from stages.exporters.api import Order

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"


def load(order: Order) -> Any:
    """The network that the entry gives, as an `nn.Cell` that does not train.

    Raises:
        SourceModelError: it cannot be loaded, is no `nn.Cell`, has other parameters than its
            checkpoint, or its `construct()` takes other arguments than `order` declares.
    """
    _settle(order.threads)
    where = f"{order.source}/{order.entry}"
    net = _make(order, where, seed=0)  # the same network each time it is loaded
    if order.weights is not None:
        _fill(net, order.source / order.weights, where)
    _check_arguments(net, order, where)
    return net.set_train(False)


def refuse_random(net: Any, order: Order) -> None:
    """See that an entry which brings its own weights does not draw them.

    Args:
        net: as `load` gives it.
        order: what to export.

    Raises:
        SourceModelError: under another seed the entry gives other parameters.
    """
    if order.weights is not None:
        return
    where = f"{order.source}/{order.entry}"
    other = _values(_make(order, where, seed=1))
    drawn = [name for name, value in _values(net).items() if not _equal(value, other.get(name))]
    if drawn:
        raise plugins.random_weights(where, sorted(drawn), "mindspore.set_seed")


def _make(order: Order, where: str, *, seed: int) -> Any:
    mindspore.set_seed(seed)
    try:
        net = plugins.entry(order.source, order.entry)()
    except (Exception, SystemExit) as error:
        raise _unloadable(where, error) from error
    if not isinstance(net, nn.Cell):
        msg = f"{where} returned a {type(net).__name__}, not a mindspore.nn.Cell"
        raise errors.SourceModelError(msg, mend="return the network itself")
    return net


def _values(net: Any) -> dict[str, Any]:
    return {one.name: one.float().asnumpy() for one in net.get_parameters()}


def _equal(one: Any, other: Any) -> bool:
    return other is not None and np.array_equal(one, other, equal_nan=True)


def run(net: Any, values: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """Outputs of the network, flat, as the exporter lists those of nested tuples.

    Raises:
        TypeError: it returns something else than tensors.
        Exception: whatever the network raises.
    """
    return [leaf.asnumpy() for leaf in _leaves(net(*map(Tensor, values)))]


@functools.cache  # MindSpore takes the number of threads once
def _settle(threads: int) -> None:
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    mindspore.set_device("CPU")
    mindspore.set_deterministic(True)
    mindspore.runtime.launch_blocking()  # so that an error has the line that made it
    mindspore.device_context.cpu.op_tuning.threads_num(threads)


def _leaves(found: Any) -> list[Any]:
    if isinstance(found, tuple | list):
        return [leaf for item in found for leaf in _leaves(item)]
    if not isinstance(found, Tensor):
        msg = f"construct() returns a {type(found).__name__}; return a tensor, or a tuple of them"
        raise TypeError(msg)
    return [found]


def _unloadable(where: str, error: BaseException) -> errors.SourceModelError:
    msg = f"{where} could not be loaded: {reasons.of(error)}"
    file = where.rpartition(":")[0]
    mend = (
        "make the entry an nn.Cell class, or a function that returns one, without arguments;"
        " source.weights names its checkpoint"
    )
    if isinstance(error, ModuleNotFoundError):
        name = (error.name or "").partition(".")[0]
        mend = plugins.of_another_framework(error) or (
            f"let the entry do without {name}, copy it into {where.rpartition('/')[0]}, or pin it"
            " in requirements/export-mindspore.in (`make lock`, `make envs`)"
        )
    elif line := reasons.line(error, Path(file)):
        mend = (
            f"correct line {line} of {file}, or what it needs;"
            f" `$(python -m stages.envs mindspore --interpreter) -i {file}` runs it by hand"
        )
    return errors.SourceModelError(msg, mend=mend)


def _fill(net: Any, path: Path, where: str) -> None:
    """Give the network the parameters of a checkpoint, all of them and no others."""
    stored = _checkpoint(path)
    wanted = {parameter.name for parameter in net.get_parameters()}
    lacking = [name for name in wanted if name not in stored]
    excess = [name for name in stored if name not in wanted]
    if lacking or excess:
        parts = [f"lacks {plugins.some(sorted(lacking))}"] * bool(lacking)
        parts += [f"has {plugins.some(sorted(excess))}, which the network has not"] * bool(excess)
        msg = f"{path} is not the checkpoint of {where}: it {' and '.join(parts)}"
        mend = (
            "build the network as it was trained, or save it alone:"
            f" `mindspore.save_checkpoint(net, '{path.name}')`, without the optimizer"
        )
        raise errors.SourceModelError(msg, mend=mend)
    try:
        mindspore.load_param_into_net(net, stored, strict_load=True)
    except Exception as error:
        msg = f"{path} does not fit {where}: {reasons.of(error)}"
        raise errors.SourceModelError(msg, mend="build the network as it was trained") from error


def _checkpoint(path: Path) -> dict[str, Any]:
    if not path.is_file():
        msg = f"{path} is not there"
        raise errors.SourceModelError(
            msg, mend="copy the checkpoint there, or correct models.<m>.source.weights"
        )
    kind = path.suffix.removeprefix(".")
    try:
        return dict(mindspore.load_checkpoint(str(path), format=kind))
    except Exception as error:
        size = path.stat().st_size
        msg = f"{path} is not a MindSpore checkpoint ({kind}), or is truncated ({size} bytes)"
        mend = "copy it again, or save it again with mindspore.save_checkpoint"
        with path.open("rb") as file:
            if file.read(4).startswith((_ZIP, _PICKLE)):
                msg += ": it begins like a pickle, as PyTorch writes"
                mend = "if it is a PyTorch model, set models.<m>.source.framework to pytorch"
        raise errors.SourceModelError(msg, mend=mend) from error


def _check_arguments(net: Any, order: Order, where: str) -> None:
    """Inputs are given by position: the names must say the same, or two of a shape may swap."""
    parameters = inspect.signature(net.construct).parameters.values()
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return
    names = [one.name for one in parameters if one.kind is not one.VAR_KEYWORD]
    needed = [one.name for one in parameters if one.default is one.empty and one.name in names]
    count = len(order.inputs)
    if names[:count] != list(order.inputs) or len(needed) > count:
        msg = (
            f"construct() of {where} takes ({', '.join(names) or 'nothing'}), and models.<m>.inputs"
            f" names {', '.join(order.inputs)}"
        )
        mend = "give models.<m>.inputs the names of the arguments, in their order"
        raise errors.SourceModelError(msg, mend=mend)
