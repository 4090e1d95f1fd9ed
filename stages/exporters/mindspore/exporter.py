# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""MindSpore through `mindspore.onnx.export`: a Python entry and its checkpoint.

The export compiles the network as a graph; the parity check runs it eagerly (PyNative), so that
the compiler is not judged by itself.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from stages.exporters.mindspore import network, onnx_file, reasons, tracing
from stages.lib import errors

if TYPE_CHECKING:
    from pathlib import Path

    from stages.exporters.api import Arrays, Framework, Order


def export(order: Order, example: Arrays, folder: Path) -> None:
    """Compile the network that the entry returns; see `stages/exporters/api.py`."""
    net = network.load(order)
    _framework(net, order)(example)  # what fails eagerly says so better than the compiler does
    network.refuse_random(net, order)
    path = tracing.trace(order, example)
    onnx_file.finish(path, order)
    shutil.move(path.parent, folder)


def load(order: Order) -> Framework:
    """The network, run eagerly; see `stages/exporters/api.py`."""
    return _framework(network.load(order), order)


def _framework(net: Any, order: Order) -> Framework:
    def run(feeds: Arrays) -> Arrays:
        try:
            found = network.run(net, [feeds[name] for name in order.inputs])
        except Exception as error:
            msg = f"the network itself failed on the probe samples: {reasons.of(error)}"
            raise errors.SourceModelError(
                msg, mend="run it by hand on the arrays of models/<m>/samples/probe"
            ) from error
        if len(found) != len(order.outputs):
            msg = (
                f"construct() of {order.entry} returns {len(found)} tensors, and models.<m>.outputs"
                f" names {len(order.outputs)}: {', '.join(order.outputs)}"
            )
            raise errors.SourceModelError(msg, mend="name each of them, in their order")
        return dict(zip(order.outputs, found, strict=True))

    return run
