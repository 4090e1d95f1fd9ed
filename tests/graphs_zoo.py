# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Small graphs made by hand, and the few things that tests do with graphs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from stages.backends.onnxruntime import run as onnxruntime
from stages.lib import layout
from stages.quantization import casts
from stages.quantization.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

Arrays = dict[str, np.ndarray[Any, Any]]
FLOAT, FLOAT16, INT64, BOOL = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.INT64,
    TensorProto.BOOL,
)
node = helper.make_node


def face(name: str, *shape: int | str, dtype: int = FLOAT) -> onnx.ValueInfoProto:
    """An input or output."""
    return helper.make_tensor_value_info(name, dtype, list(shape))


def const(name: str, value: Any, dtype: Any = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype), name)


def weight(name: str, *shape: int, scale: float = 1.0) -> onnx.TensorProto:
    """Normally distributed, the same for the same name."""
    rng = np.random.default_rng(sum(name.encode()))
    return const(name, scale * rng.standard_normal(shape))


def values(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def model(
    nodes: Iterable[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
    *,
    opset: int = 22,
) -> onnx.ModelProto:
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), list(constants))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(made)
    return made


def typed(proto: onnx.ModelProto) -> ir.Model:
    """The graph with known types and shapes, as it comes from `sanitize`."""
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))


def put(made: onnx.ModelProto, folder: Path) -> Path:
    """Write a graph folder."""
    folder.mkdir(parents=True)
    onnx.save(made, folder / layout.GRAPH_FILE)
    return folder


def infer(graph: ir.Model | onnx.ModelProto, feeds: Arrays) -> Arrays:
    proto = ir.to_proto(graph) if isinstance(graph, ir.Model) else graph
    with onnxruntime.runner(proto.SerializeToString(), threads=1, name="test") as runner:
        return dict(runner.infer(feeds))


def check(graph: ir.Model) -> None:
    """ONNX's own full check: types, shapes, single assignment."""
    onnx.checker.check_model(ir.to_proto(graph), full_check=True)


def ops(graph: ir.Model) -> dict[str, int]:
    """Nodes by op type, subgraphs included."""
    found: dict[str, int] = {}
    for item in graph.graph.all_nodes():
        found[item.op_type] = found.get(item.op_type, 0) + 1
    return found


def named(graph: ir.Model, name: str) -> ir.Node:
    return next(item for item in graph.graph.all_nodes() if item.name == name)


def tiny() -> onnx.ModelProto:
    """A residual network with something for every pass to do: [N, 3, 8, 8] -> [N, 5]."""
    return model(
        [
            node("Mul", ["stem_raw", "two"], ["stem"], name="scale_weight"),
            node("Conv", ["x", "stem"], ["a"], name="conv_1", pads=[1, 1, 1, 1]),
            node("Relu", ["a"], ["b"], name="relu_1"),
            node("Identity", ["b"], ["b_same"], name="same"),
            node("Neg", ["a"], ["unused"], name="dead"),
            node("Conv", ["b_same", "w2", "bias"], ["c"], name="conv_2", pads=[1, 1, 1, 1]),
            node("Add", ["c", "b_same"], ["d"], name="residual"),
            node("Relu", ["d"], ["e"], name="relu_2"),
            node("GlobalAveragePool", ["e"], ["f"], name="pool"),
            node("Flatten", ["f"], ["g"], name="flatten"),
            node("Gemm", ["g", "fc", "fc_bias"], ["logits"], name="head", transB=1),
        ],
        [face("x", "batch", 3, 8, 8)],
        [face("logits", "batch", 5)],
        [
            weight("stem_raw", 4, 3, 3, 3, scale=0.1),
            const("two", 2.0),
            weight("w2", 4, 4, 3, 3, scale=0.2),
            weight("bias", 4, scale=0.1),
            weight("fc", 5, 4),
            weight("fc_bias", 5),
        ],
    )


def attention() -> onnx.ModelProto:
    """One head with a mask of minus infinity; products of two activations; unnamed nodes."""
    return model(
        [
            node("MatMul", ["x", "wq"], ["q"]),
            node("MatMul", ["x", "wk"], ["k"]),
            node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
            node("MatMul", ["q", "kt"], ["s"]),
            node("Unsqueeze", ["mask", "axis"], ["wide"]),
            node("Where", ["wide", "s", "never"], ["masked"]),
            node("Softmax", ["masked"], ["p"], axis=-1),
            node("MatMul", ["p", "x"], ["y"]),
        ],
        [face("x", "batch", "seq", 8), face("mask", "batch", "seq", dtype=BOOL)],
        [face("y", "batch", "seq", 8)],
        [
            weight("wq", 8, 8, scale=0.3),
            weight("wk", 8, 8, scale=0.3),
            const("never", -np.inf),
            const("axis", [1], np.int64),
        ],
        opset=17,
    )


def block() -> onnx.ModelProto:
    """One layer of a transformer, two heads: [N, L, 16] -> [N, L, 16]."""
    heads, size = 2, 8
    width = heads * size
    nodes = [node("LayerNormalization", ["x", "one", "zero"], ["n1"], name="norm_1", axis=-1)]
    for k in "qkv":
        perm = [0, 2, 3, 1] if k == "k" else [0, 2, 1, 3]
        nodes += [
            node("MatMul", ["n1", f"w{k}"], [f"{k}0"], name=f"project_{k}"),
            node("Add", [f"{k}0", "bias"], [f"{k}1"], name=f"bias_{k}"),
            node("Reshape", [f"{k}1", "split"], [f"{k}2"], name=f"split_{k}"),
            node("Transpose", [f"{k}2"], [f"{k}3"], name=f"turn_{k}", perm=perm),
        ]
    nodes += [
        node("MatMul", ["q3", "k3"], ["s"], name="scores"),
        node("Mul", ["s", "root"], ["s1"], name="scale_scores"),
        node("Softmax", ["s1"], ["p"], name="softmax", axis=-1),
        node("MatMul", ["p", "v3"], ["o"], name="weigh"),
        node("Transpose", ["o"], ["o1"], name="turn_back", perm=[0, 2, 1, 3]),
        node("Reshape", ["o1", "join"], ["o2"], name="join_heads"),
        node("MatMul", ["o2", "wo"], ["o3"], name="project_o"),
        node("Add", ["o3", "x"], ["r"], name="residual_1"),
        node("LayerNormalization", ["r", "one", "zero"], ["n2"], name="norm_2", axis=-1),
        node("MatMul", ["n2", "w1"], ["h"], name="up"),
        node("Gelu", ["h"], ["h1"], name="gelu"),
        node("MatMul", ["h1", "w2"], ["h2"], name="down"),
        node("Add", ["h2", "r"], ["y"], name="residual_2"),
    ]
    constants = [
        const("one", np.ones(width)),
        const("zero", np.zeros(width)),
        const("root", size**-0.5),
        const("split", [0, 0, heads, size], np.int64),
        const("join", [0, 0, width], np.int64),
        weight("bias", width, scale=0.1),
        *(weight(f"w{k}", width, width, scale=0.2) for k in "qkvo"),
        weight("w1", width, 4 * width, scale=0.2),
        weight("w2", 4 * width, width, scale=0.2),
    ]
    ends = [face("x", "batch", "seq", width)], [face("y", "batch", "seq", width)]
    return model(nodes, *ends, constants)


def branch(*, identity: bool = False) -> onnx.ModelProto:
    """An If that reads values of the outer graph; with `identity`, one branch only hands one on."""
    then = helper.make_graph(
        [node("Add", ["y", "one"], ["t"], name="then_add")], "then", [], [face("t", "batch", 4)]
    )
    hand_on = node("Identity", ["y"], ["e"], name="hand_on")
    other = hand_on if identity else node("Mul", ["y", "half"], ["e"], name="else_mul")
    otherwise = helper.make_graph([other], "else", [], [face("e", "batch", 4)])
    return model(
        [
            node("MatMul", ["x", "w"], ["m"], name="product"),
            node("Relu", ["m"], ["y"], name="relu"),
            node("ReduceSum", ["x"], ["sum"], name="sum", keepdims=0),
            node("Greater", ["sum", "zero"], ["positive"], name="greater"),
            node("If", ["positive"], ["z"], name="if", then_branch=then, else_branch=otherwise),
        ],
        [face("x", "batch", 4)],
        [face("z", "batch", 4)],
        [weight("w", 4, 4), const("one", 1), const("half", 0.5), const("zero", 0)],
    )


def loop() -> onnx.ModelProto:
    """A Loop of three rounds that multiplies by a weight of the outer graph."""
    body = helper.make_graph(
        [
            node("MatMul", ["acc_in", "w"], ["product"], name="body_product"),
            node("Tanh", ["product"], ["acc_out"], name="body_tanh"),
            node("Identity", ["go_in"], ["go_out"], name="body_go"),
        ],
        "body",
        [face("i", dtype=INT64), face("go_in", dtype=BOOL), face("acc_in", "batch", 4)],
        [face("go_out", dtype=BOOL), face("acc_out", "batch", 4)],
    )
    return model(
        [
            node("Relu", ["x"], ["r"], name="relu"),
            node("Loop", ["rounds", "", "r"], ["l"], name="loop", body=body),
            node("MatMul", ["l", "w"], ["z"], name="product"),
        ],
        [face("x", "batch", 4)],
        [face("z", "batch", 4)],
        [weight("w", 4, 4, scale=0.5), const("rounds", 3, np.int64)],
    )


def lower(model: ir.Model, low: ir.DataType, *kept: str) -> dict[str, Any]:
    """All nodes but the `kept` in a low type, in place; ops, what was left, and casts."""
    types, left = casts.decide(model, lambda _: low, dict.fromkeys(kept, "an override keeps it"))
    ops = sorted(item.op_type for item in types)
    count = casts.lower(model, types, [])
    return {"low": {op: ops.count(op) for op in ops}, "kept": left, "casts": count}


def recipe(precision: str, scales: dict[str, float], **others: Any) -> Recipe:
    """A recipe with nothing in it but what is given."""
    base = Recipe(
        precision=precision,
        remainder="fp32",
        chosen={},
        scales=scales,
        maxima={},
        channels={},
        smoothing=None,
    )
    return dataclasses.replace(base, **others)


def observed(proto: onnx.ModelProto, feeds: Arrays) -> dict[str, float]:
    """Largest |x| of every float activation, inputs included."""
    model = typed(proto)
    made = [value for item in model.graph for value in item.outputs]
    opened = [v for v in made if v.dtype == ir.DataType.FLOAT and v not in model.graph.outputs]
    model.graph.outputs.extend(opened)
    found = {**infer(model, feeds), **feeds}
    return {n: float(np.abs(a).max()) for n, a in found.items() if a.dtype == np.float32}


def halved(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph as a float16 source model: constants, inputs, outputs, branches and all."""
    graph = ir.from_proto(proto)
    for part in graph.graphs():
        for value in part.initializers.values():
            if value.dtype == ir.DataType.FLOAT and value.const_value is not None:
                array = value.const_value.numpy().astype(np.float16)
                value.const_value = ir.Tensor(array, name=value.name)
        faces = [*part.inputs, *part.outputs, *part.initializers.values()]
        inner = [value for item in part for value in item.outputs]
        for value in [*faces, *inner]:
            if value.dtype == ir.DataType.FLOAT:
                value.dtype = ir.DataType.FLOAT16
    return ir.to_proto(graph)
