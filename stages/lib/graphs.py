# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Graph folders: model.onnx, and model.onnx.data for the weights of a large one.

The one door through which stages read and write ONNX graphs. It moves bytes and decides nothing
about the graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir
from google.protobuf.message import DecodeError

from stages.lib import errors, files, layout

if TYPE_CHECKING:
    from pathlib import Path

# A protobuf file ends at 2 GiB; well before, weights move to a file of their own.
_INLINE_LIMIT = 256 << 20
_EXTERNAL_FLOOR = 1 << 10


def load(folder: Path) -> ir.Model:
    """Read a graph folder; weights beside model.onnx are memory-mapped.

    Raises:
        ArtifactError: there is no graph in `folder`.
    """
    return load_file(folder / layout.GRAPH_FILE)


def load_file(path: Path) -> ir.Model:
    """Read one ONNX file; weights beside it are memory-mapped.

    Two liberties of old exporters end here. An initializer that is listed as an input too, a
    default that nobody feeds, is a constant; and a node without a name gets the one that
    TensorRT's parser gives it, after its first output.

    Raises:
        ArtifactError: there is no such file, or it is not ONNX.
    """
    try:
        model = ir.load(files.need(path))
    except (DecodeError, ir.serde.SerdeError):
        msg = f"{path} is not an ONNX file, or is truncated ({path.stat().st_size} bytes)"
        raise errors.ArtifactError(msg, mend="`dvc checkout --force` brings it back") from None
    for value in [value for value in model.graph.inputs if value.is_initializer()]:
        model.graph.inputs.remove(value)
    for node in model.graph.all_nodes():
        if not node.name and node.outputs:
            node.name = f"node_of_{node.outputs[0].name}"
    return model


def save(model: ir.Model, folder: Path) -> None:
    """Write a graph folder; the same model gives the same bytes."""
    folder.mkdir(parents=True)
    values = model.graph.initializers.values()
    size = sum(value.const_value.nbytes for value in values if value.const_value is not None)
    path = folder / layout.GRAPH_FILE
    if size <= _INLINE_LIMIT:
        # What lay beside the graph it was read from would be missed beside this one.
        ir.save(ir.external_data.load_to_model(model), path)
    else:
        ir.save(model, path, external_data=layout.GRAPH_DATA, size_threshold_bytes=_EXTERNAL_FLOOR)
