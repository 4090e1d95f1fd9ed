# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Makes tf2onnx 1.17 give the same bytes each time.

It walks sets of its nodes, which Python orders by where they lie in memory; here their hash is
their number. Names that it makes have a number too, which counts through the process.
"""

from __future__ import annotations

import itertools
from typing import Any

from tf2onnx import graph, utils

_begin = graph.Node.__init__
_numbers = itertools.count()


def restart() -> None:
    """Count nodes and names from the beginning."""
    global _numbers
    _numbers, utils.INTERNAL_NAME = itertools.count(), 1


def _init(self: Any, *arguments: Any, **named: Any) -> None:
    self.number = next(_numbers)
    _begin(self, *arguments, **named)


graph.Node.__init__ = _init
graph.Node.__hash__ = lambda self: self.number
