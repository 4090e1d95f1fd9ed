# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT-RTX's parser, asked what it refuses. It needs no GPU.

A graph on which it crashes takes the process along: it belongs in a child.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.backends.refusals import SHAPE_INPUT
from stages.lib import errors

try:
    import tensorrt_rtx as trt
except (ImportError, OSError) as error:
    msg = f"the bindings of TensorRT-RTX cannot be imported: {error}"
    raise errors.PinError(
        msg, mend="`python -m pip install tensorrt-rtx==<toolchain.tensorrt_rtx of params.yaml>`"
    ) from None

if TYPE_CHECKING:
    from pathlib import Path


class _Silent(trt.ILogger):
    """What the parser has to say is read from its errors."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)

    def log(self, severity: Any, message: str) -> None:
        """Drop the message."""


def refusals(graph: Path) -> list[dict[str, Any]]:
    """What one parse of a file says: unsupported nodes, or the first that fails to import.

    Returns:
        For each refusal {"node": index in its graph, -1 for none; "name", "op", "code": member of
        `ErrorCode`; "what": the parser's words}. A graph input that TensorRT takes for a shape has
        the code SHAPE_INPUT: the parser accepts it, and the builder asks for bounds of its values.
    """
    logger = _Silent()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if parser.parse_from_file(str(graph)):
        inputs = (network.get_input(index) for index in range(network.num_inputs))
        return [_shape_input(tensor.name) for tensor in inputs if tensor.is_shape_tensor]
    return [_told(parser.get_error(index)) for index in range(parser.num_errors)]


def _told(found: Any) -> dict[str, Any]:
    return {
        "node": found.node(),
        "name": found.node_name(),
        "op": found.node_operator(),
        "code": found.code().name,
        "what": found.desc(),
    }


def _shape_input(name: str) -> dict[str, Any]:
    return {"node": -1, "name": name, "op": "", "code": SHAPE_INPUT, "what": ""}
