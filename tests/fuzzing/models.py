# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Sound models to begin with: every kind of structure that ONNX has, all of them small."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import version_converter

from tests import graphs_zoo as zoo

_OPSET = 17
_LARGEST = 20_000  # bytes
_HEAD = '<ir_version: 9, opset_import: ["": 17, "own": 1]>\n'
_TEXTS = {
    "branches": """
        net (float[n, 3] x) => (float[n, 3] y)
        <float[3] w = {1, 2, 3}, bool c = {1}> {
            scaled = Mul(x, w)
            y = If (c) <
                then_branch = yes () => (float[n, 3] a) { a = Relu(scaled) },
                else_branch = no () => (float[n, 3] b) {
                    b = If (c) <
                        then_branch = one () => (float[n, 3] d) { d = Neg(scaled) },
                        else_branch = two () => (float[n, 3] e) { e = Add(scaled, w) }
                    >
                }
            >
        }""",
    "loop": """
        net (float[n, 3] x) => (float[n, 3] y, float[k, n, 3] all)
        <int64 trips = {3}, bool go = {1}> {
            y, all = Loop (trips, go, x) <
                body = step (int64 i, bool c, float[n, 3] v)
                       => (bool d, float[n, 3] w, float[n, 3] s) {
                    d = Identity(c)
                    w = Relu(v)
                    s = Neg(w)
                }
            >
        }""",
    "scan": """
        net (float[4, 3] x) => (float[3] y, float[4, 3] all)
        <float[3] zero = {0, 0, 0}> {
            y, all = Scan <num_scan_inputs = 1,
                body = step (float[3] sum, float[3] v) => (float[3] next, float[3] out) {
                    next = Add(sum, v)
                    out = Identity(next)
                }
            > (zero, x)
        }""",
    "sequence": """
        net (float[n, 4] x) => (float[n, 4] y) <int64 one = {1}, int64 zero = {0}> {
            parts = SplitToSequence <axis = 1> (x, one)
            first = SequenceAt (parts, zero)
            more = SequenceInsert (parts, first)
            last = SequenceErase (more)
            y = ConcatFromSequence <axis = 1> (last)
        }""",
    "function": """
        net (float[n, 3] x) => (float[n, 3] y) {
            a = own.twice <alpha = 2.0> (x)
            y = own.twice <alpha = 0.5> (a)
        }
        <domain: "own", opset_import: ["": 17, "own": 1]>
        twice <alpha> (v) => (w) {
            k = Constant <value_float: float = @alpha> ()
            m = Mul (v, k)
            w = own.once (m)
        }
        <domain: "own", opset_import: ["": 17]>
        once (v) => (w) { w = Relu(v) }""",
    "shapes": """
        net (float[n, 3, 8, 8] x) => (float[n, 1, m] y)
        <int64[2] target = {0, -1}, float[4] scales = {1, 1, 2, 2}, int64[1] axis = {1}> {
            big = Resize <mode = "nearest"> (x, , scales)
            shape = Shape (big)
            flat = Reshape (big, target)
            wide = Unsqueeze (flat, axis)
            size = Size (shape)
            y = Identity (wide)
        }""",
    "quantized": """
        net (float[n, 3] x) => (float[n, 2] y)
        <float scale = {0.1}, int8 zero = {0}, int8[3, 2] w = {1, 2, 3, 4, 5, 6}> {
            q = QuantizeLinear (x, scale, zero)
            d = DequantizeLinear (q, scale, zero)
            v = DequantizeLinear (w, scale, zero)
            y = MatMul (d, v)
        }""",
}


def all_of_them() -> dict[str, bytes]:
    """Files by name."""
    found = {"tiny": zoo.tiny().SerializeToString(), "sparse": _sparse().SerializeToString()}
    for name, text in _TEXTS.items():
        found[name] = onnx.parser.parse_model(_HEAD + text).SerializeToString()
    return found | _of_the_wheel()


def of_all_ops() -> dict[str, bytes]:
    """ONNX's own examples of each op, made anew: some seconds of work."""
    from onnx.backend.test.case import node

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, of overflows that are meant
        cases = node.collect_testcases(None)  # None: of all ops
    made = ((case.name, case.model) for case in cases)
    found = {name: model.SerializeToString() for name, model in made if model and _fits(model)}
    return {name: data for name, data in sorted(found.items()) if len(data) <= _LARGEST}


def _fits(model: onnx.ModelProto) -> bool:
    """Whether params.yaml can describe its inputs: tensors whose first axis is the batch."""
    inputs = model.graph.input
    return bool(inputs) and all(value.type.tensor_type.shape.dim for value in inputs)


def _sparse() -> onnx.ModelProto:
    made = zoo.model(
        [zoo.node("Add", ["x", "w"], ["y"])],
        [zoo.face("x", "n", 3)],
        [zoo.face("y", "n", 3)],
        [zoo.const("w", [1, 0, 2])],
    )
    del made.graph.initializer[:]
    sparse = made.graph.sparse_initializer.add(dims=[3])
    sparse.values.CopyFrom(zoo.const("w", [1, 2]))
    sparse.indices.CopyFrom(zoo.const("", [0, 2], np.int64))
    return made


def _of_the_wheel() -> dict[str, bytes]:
    root = Path(onnx.__file__).parent / "backend" / "test" / "data"
    found = {}
    for path in sorted(root.rglob("model.onnx")):  # those of light/ have large weights
        if path.stat().st_size <= _LARGEST:
            try:  # ONNX Runtime has no kernels for the oldest opsets
                model = version_converter.convert_version(onnx.load(path), _OPSET)
            except RuntimeError:
                continue
            found[path.relative_to(root).as_posix()] = model.SerializeToString()
    return found
