# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What tf2onnx 1.17 logs and does not raise: operators that it leaves as they are."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING

import tf2onnx
from tf2onnx import constants

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stages.exporters.api import Order
    from stages.exporters.tensorflow.saved_model import Source

_SHOWN = 5


class Complaints(logging.Handler):
    """What tf2onnx logs where it cannot convert a node; it goes on, and leaves the node there."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.unknown: list[tuple[str, str]] = []
        self.failed: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the operator, or the reason, and the node."""
        if record.msg.startswith("Tensorflow op [") and isinstance(record.args, tuple):
            name, op = record.args
            self.unknown.append((str(op), str(name)))
        elif record.msg.startswith("Failed to convert node") and isinstance(record.args, tuple):
            reason = record.exc_info[1] if isinstance(record.exc_info, tuple) else ""
            self.failed.append((str(reason), str(record.args[0])))

    def check(self, source: Source, order: Order) -> None:
        """Raise what there is to tell.

        Raises:
            SourceModelError: a node was not converted.
        """
        if not self.unknown and not self.failed:
            return
        version = f"tf2onnx {tf2onnx.__version__}, opset {order.opset}"
        parts = []
        if self.unknown:
            parts.append(f"operators that {version} does not know:\n{listed(self.unknown)}")
        if self.failed:
            parts.append(f"nodes that {version} cannot convert:\n{listed(self.failed)}")
        msg = f"{source.what} has " + "\nand ".join(parts)
        mend = (
            "write these parts of the model with other operators"
            " (tf2onnx's support_status.md lists those that it knows)"
        )
        if order.opset and order.opset < max(constants.OPSET_TO_IR_VERSION):
            mend += ", or raise models.<m>.opset"
        raise errors.SourceModelError(msg, mend=mend)


def listed(pairs: Iterable[tuple[str, str]]) -> str:
    """Each operator or reason with the nodes where it stands, the most frequent ones shown."""
    places: dict[str, list[str]] = {}
    for what, node in pairs:
        places.setdefault(what, []).append(node)
    lines = []
    for what, nodes in itertools.islice(places.items(), _SHOWN):
        more = f" and {len(nodes) - 1} more" if len(nodes) > 1 else ""
        lines.append(f"  {what} at {nodes[0]}{more}")
    if len(places) > _SHOWN:
        lines.append(f"  and {len(places) - _SHOWN} others")
    return "\n".join(lines)
