# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Sparse initializers as ordinary ones: onnx_ir 1.1.0 drops them without a word.

Indices are linear, int64 [NNZ], or one row for each value, int64 [NNZ, rank] (onnx.proto,
SparseTensorProto).
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper


def fill(graph: onnx.GraphProto) -> None:
    """Give `graph`, and the graphs in its nodes, dense initializers for the sparse ones."""
    for sparse in graph.sparse_initializer:
        values = numpy_helper.to_array(sparse.values)
        indices = numpy_helper.to_array(sparse.indices)
        dense = np.zeros(tuple(sparse.dims), values.dtype)
        if indices.ndim == 1:
            dense.reshape(-1)[indices] = values
        else:
            dense[tuple(indices.T)] = values
        graph.initializer.append(numpy_helper.from_array(dense, sparse.values.name))
    graph.ClearField("sparse_initializer")
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    fill(inner)
