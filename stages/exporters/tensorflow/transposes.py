# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Folds transposes that tf2onnx 1.17 leaves: its own optimizer, with more operators.

A transpose from NCHW to NHWC is pushed down through an operator that computes the same on the other
layout, until it meets its inverse, or what it can be folded into.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from tf2onnx import optimizer, utils
from tf2onnx.optimizer.transpose_optimizer import TransposeOptimizer

from stages.exporters.tensorflow import products, repeats, rows

# One value at a time, or several that broadcast.
_SIMPLE = (
    "Ceil", "Celu", "Cos", "Floor", "HardSigmoid", "HardSwish", "Mish", "Not", "Round", "Sign",
    "Sin", "Softsign", "ThresholdedRelu",
)  # fmt: skip
_BROADCAST = (
    "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mod", "Or", "Pow",
    "Where", "Xor",
)  # fmt: skip
_BOTH = ("Add", "Max", "Min", "Mul", "PRelu", "Sub")  # that tf2onnx knows


class Transposes(TransposeOptimizer):
    """tf2onnx' optimizer; a handler gets a transpose and the one node that reads it."""

    def _initialize_handlers(self) -> None:
        super()._initialize_handlers()
        self._handler_map |= dict.fromkeys(_SIMPLE, self._simple_through_handler)
        self._handler_map |= dict.fromkeys(_BROADCAST, self._handle_node_having_branches)
        self._handler_map |= {"Reshape": self._flatten_handler, "Resize": self._resize_handler}
        self._handler_map["MatMul"] = self._product_handler

    def _handle_nhwc_tranpose(self, trans: Any) -> bool:
        """tf2onnx leaves what an output node reads; a sum over space needs no order of axes.

        Of several readers it serves each alone, but for a sequence: those that ask for its sizes.
        """
        readers = self._g.find_output_consumers(trans.output[0])
        asking = [node for node in readers if node.type == "Shape"]
        if asking and len(readers) > 1 and trans.get_attr_value("perm") == [0, 2, 1]:
            for node in asking:
                own = self._g.make_node("Transpose", trans.input, attr=trans.get_onnx_attrs())
                self._g.replace_input(node, trans.output[0], own.output[0], 0)
                self._shape_handler(own, node)
            return True
        last = len(readers) == 1 and readers[0].name in self._output_names
        if last and trans.output[0] not in self._g.outputs and _reduces(readers[0]):
            perm, node = trans.get_attr_value("perm"), readers[0]
            gone = sorted(perm[axis % len(perm)] for axis in node.inputs[1].get_tensor_value())
            kept = [axis for axis in perm if axis not in gone]
            if kept == sorted(kept):
                self._g.replace_input(node, trans.output[0], trans.input[0], 0)
                self._set_input(node, 1, np.array(gone, np.int64))
                return True
        return super()._handle_nhwc_tranpose(trans)

    def _add_handler(self, trans: Any, node: Any) -> bool:
        """tf2onnx fails on one number, and takes what runs along another axis for a bias."""
        constant = node.inputs[1].is_const()
        if constant and node.inputs[1].get_tensor_value(as_list=False).shape[-1:] in ((), (1,)):
            return self._handle_node_having_branches(trans, node)
        return super()._add_handler(trans, node)

    def _mul_handler(self, trans: Any, node: Any) -> bool:
        return super()._mul_handler(trans, node) or self._handle_node_having_branches(trans, node)

    def _reduce_latest_handler(self, trans: Any, node: Any) -> bool:
        """Axes as an input, without the reduced dimensions too: a mean over height and width."""
        keep, perm = node.get_attr_value("keepdims", 1), trans.get_attr_value("perm")
        if keep or len(node.input) < 2 or not node.inputs[1].is_const():  # noqa: PLR2004
            return super()._reduce_latest_handler(trans, node)
        axes = [axis % len(perm) for axis in node.inputs[1].get_tensor_value()]
        shape = self._g.get_shape(node.output[0])
        if not self._switch_transpose_and_node(node, trans, update_shape=False):
            return False
        gone = [perm[axis] for axis in axes]
        kept = [axis for axis in perm if axis not in gone]
        order = [sorted(kept).index(axis) for axis in kept]
        self._set_input(node, 1, np.array(sorted(gone), np.int64))
        trans.set_attr("perm", order)
        if shape is not None:
            self._g.set_shape(trans.output[0], shape)
            self._g.set_shape(node.output[0], [shape[order.index(i)] for i in range(len(order))])
        return True

    def _split_handler(self, trans: Any, node: Any) -> bool:
        """Any number of parts, each with a transpose of its own."""
        if len(node.output) == 1:
            return super()._split_handler(trans, node)
        perm = trans.get_attr_value("perm")
        node.set_attr("axis", perm[node.get_attr_value("axis", 0)])
        self._g.replace_input(node, trans.output[0], trans.input[0], 0)
        inverse = np.argsort(perm)
        for output in node.output:
            shape, dtype = self._g.get_shape(output), self._g.get_dtype(output)
            after = self._g.insert_new_node_on_output("Transpose", output, perm=perm)
            self._g.set_dtype(after.output[0], dtype)
            if shape is not None:
                self._g.set_shape(after.output[0], shape)
                self._g.set_shape(output, [shape[axis] for axis in inverse])
        return True

    def _resize_handler(self, trans: Any, node: Any) -> bool:
        """A resize by constant factors."""
        if len(node.input) != 3 or not node.inputs[2].is_const():  # noqa: PLR2004
            return False
        scales = node.inputs[2].get_tensor_value(as_list=False)
        inverse = np.argsort(trans.get_attr_value("perm"))
        if len(scales) != len(inverse) or not self._switch_transpose_and_node(node, trans):
            return False
        self._set_input(node, 2, scales[inverse])
        return True

    def _flatten_handler(self, trans: Any, node: Any) -> bool:
        """A flattened image that ends in dense layers: their weights change places instead."""
        sizes, flat = self._g.get_shape(trans.input[0]), self._g.get_shape(node.output[0])
        perm = trans.get_attr_value("perm")
        if not sizes or not flat or -1 in sizes[1:] or perm[0] != 0:
            return False
        if len(flat) != 2 or flat[1] != np.prod(sizes[1:]):  # noqa: PLR2004
            return False
        simple = [k for k, how in self._handler_map.items() if how == self._simple_through_handler]
        found = rows.constants(self._g, node.output[0], flat[1], (*simple, *_BROADCAST, *_BOTH))
        if found is None:
            return False
        # Where each value of the image as it comes stands among the values as they were flattened.
        places = np.arange(flat[1]).reshape([sizes[axis] for axis in perm[1:]])
        order = np.transpose(places, [perm.index(axis) - 1 for axis in range(1, len(perm))])
        for reader, index, axis in found:
            value = reader.inputs[index].get_tensor_value(as_list=False)
            self._set_input(reader, index, np.take(value, order.reshape(-1), axis=axis))
        self._g.replace_input(node, trans.output[0], trans.input[0], 0)
        self._set_input(node, 1, np.array([0, flat[1]], np.int64))
        self._g.remove_node(trans.name)
        return True

    def _product_handler(self, trans: Any, node: Any) -> bool:
        """A dense layer on the channels of an image: a convolution of size 1."""
        rank, weights = len(trans.get_attr_value("perm")), node.inputs[1]
        last = rank > 2 and trans.get_attr_value("perm") == [0, *range(2, rank), 1]  # noqa: PLR2004
        if not last or not rows.dense(node) or not self._switch_transpose_and_node(node, trans):
            return False
        value = weights.get_tensor_value(as_list=False).T
        self._set_input(node, 1, value.reshape(*value.shape, *[1] * (rank - 2)))
        node.type = "Conv"
        return True

    def _set_input(self, node: Any, index: int, value: np.ndarray[Any, Any]) -> None:
        """Another constant, of which no other node knows."""
        const = self._g.make_const(utils.make_name(node.name), np.ascontiguousarray(value))
        self._g.replace_input(node, node.input[index], const.output[0], index)


def _reduces(node: Any) -> bool:
    constant = len(node.input) > 1 and node.inputs[1].is_const()
    return constant and node.type.startswith("Reduce") and not node.get_attr_value("keepdims", 1)


_THEIRS = optimizer._get_optimizers()  # noqa: SLF001 (optimize_graph takes all or a choice of them)
ALL = OrderedDict(
    [
        ("repeats", repeats.Repeats),
        ("products", products.Products),
        *_THEIRS.items(),
        ("optimize_transpose", Transposes),
    ]
)
"""tf2onnx' own in their order, with ours in the place of its."""
