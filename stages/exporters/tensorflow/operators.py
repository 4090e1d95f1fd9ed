# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Operators of TensorFlow that tf2onnx 1.17 lacks, and that Keras' own layers use."""

from __future__ import annotations

from typing import Any

import numpy as np
from tf2onnx import utils


def _erfc(graph: Any, node: Any, name: str, _: list[Any]) -> None:
    """1 - erf(x): Keras' exact GELU."""
    outputs, inputs = node.output, node.input
    dtype = graph.get_dtype(outputs[0])
    shape = graph.get_shape(outputs[0])
    graph.remove_node(node.name)
    one = graph.make_const(f"{name}/one", np.ones((), utils.map_onnx_to_numpy_type(dtype)))
    erf = graph.make_node("Erf", inputs, name=f"{name}/erf", shapes=[shape], dtypes=[dtype])
    graph.make_node(
        "Sub",
        [one.output[0], erf.output[0]],
        name=name,
        outputs=outputs,
        shapes=[shape],
        dtypes=[dtype],
    )


HANDLERS: dict[str, tuple[Any, list[Any]]] = {"Erfc": (_erfc, [])}
