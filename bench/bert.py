# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""An ONNX graph with the shapes of BERT-base (arXiv 1810.04805) and random weights, 440 MB.

12 layers of width 768 with 12 heads over [batch, 128] of 30,522 words: 109 million weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

LAYERS, WIDTH, HEADS, HIDDEN, WORDS, LENGTH = 12, 768, 12, 3072, 30522, 128
_SCALE = 0.02
_FORWARD, _TURNED = [0, 2, 1, 3], [0, 2, 3, 1]


class _Graph:
    """Nodes and weights so far."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def const(self, name: str, value: Any) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, name: str, *shape: int) -> str:
        values = self._random.standard_normal(shape, np.float32)
        return self.const(name, (values * _SCALE).astype(np.float32))

    def dense(self, source: str, target: str, rows: int, columns: int) -> str:
        product = self.add(
            "MatMul", [source, self.weight(f"{target}_w", rows, columns)], f"{target}_m"
        )
        return self.add("Add", [product, self.weight(f"{target}_b", columns)], target)

    def norm(self, source: str, target: str) -> str:
        factors = [self.weight(f"{target}_{part}", WIDTH) for part in ("gain", "shift")]
        return self.add("LayerNormalization", [source, *factors], target)

    def heads(self, source: str, target: str, perm: list[int]) -> str:
        split = self.add(
            "Reshape", [self.dense(source, target, WIDTH, WIDTH), "split"], f"{target}_s"
        )
        return self.add("Transpose", [split], f"{target}_t", perm=perm)

    def layer(self, x: str, at: str) -> str:
        query, value = (self.heads(x, f"{at}_{part}", _FORWARD) for part in "qv")
        product = self.add("MatMul", [query, self.heads(x, f"{at}_k", _TURNED)], f"{at}_qk")
        scaled = self.add("Mul", [product, "scale"], f"{at}_scaled")
        chances = self.add("Softmax", [scaled], f"{at}_p", axis=-1)
        mixed = self.add("MatMul", [chances, value], f"{at}_pv")
        turned = self.add("Transpose", [mixed], f"{at}_turned", perm=_FORWARD)
        joined = self.add("Reshape", [turned, "join"], f"{at}_joined")
        out = self.dense(joined, f"{at}_out", WIDTH, WIDTH)
        x = self.norm(self.add("Add", [x, out], f"{at}_sum1"), f"{at}_norm1")
        hidden = self.add("Gelu", [self.dense(x, f"{at}_up", WIDTH, HIDDEN)], f"{at}_gelu")
        down = self.dense(hidden, f"{at}_down", HIDDEN, WIDTH)
        return self.norm(self.add("Add", [x, down], f"{at}_sum2"), f"{at}_norm2")


def write(folder: Path) -> Path:
    """Write model.onnx, and its weights in one file beside it."""
    folder.mkdir(parents=True)
    graph = _Graph()
    graph.const("split", np.array([0, LENGTH, HEADS, WIDTH // HEADS]))
    graph.const("join", np.array([0, LENGTH, WIDTH]))
    graph.const("scale", np.float32((WIDTH // HEADS) ** -0.5))
    found = graph.add("Gather", [graph.weight("words", WORDS, WIDTH), "ids"], "found")
    x = graph.add("Add", [found, graph.weight("places", LENGTH, WIDTH)], "placed")
    for index in range(LAYERS):
        x = graph.layer(x, f"layer{index}")
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", LENGTH])
    out = helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", LENGTH, WIDTH])
    made = helper.make_model(
        helper.make_graph(graph.nodes, "bert", [ids], [out], graph.weights),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.save(made, folder / "model.onnx", save_as_external_data=True, location="weights")
    return folder / "model.onnx"
