# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Graph folders: model.onnx, and model.onnx.data for the weights of a large one.

The one door through which stages read and write ONNX graphs. It moves bytes and decides nothing
about the graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from stages.lib import files, layout

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
    return ir.load(files.need(folder / layout.GRAPH_FILE))


def save(model: ir.Model, folder: Path) -> None:
    """Write a graph folder; the same model gives the same bytes."""
    folder.mkdir(parents=True)
    values = model.graph.initializers.values()
    size = sum(value.const_value.nbytes for value in values if value.const_value is not None)
    path = folder / layout.GRAPH_FILE
    if size <= _INLINE_LIMIT:
        ir.save(model, path)
    else:
        ir.save(model, path, external_data=layout.GRAPH_DATA, size_threshold_bytes=_EXTERNAL_FLOOR)
