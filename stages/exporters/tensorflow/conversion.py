# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A function of TensorFlow becomes a graph folder: frozen, converted by tf2onnx, and written."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from tf2onnx import optimizer, tf_loader, tfonnx

from stages.exporters.tensorflow import complaining, dimensions, numbering, operators, transposes
from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from stages.exporters.api import Order
    from stages.exporters.tensorflow.saved_model import Source

_MOST_BYTES = (2 << 30) - (16 << 20)  # of a protobuf message, with room for the graph
_INPUT, _OUTPUT = "graph_input_{}", "graph_output_{}"
_RANDOM = (
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
)  # fmt: skip
_BFLOAT16 = tf.bfloat16.as_datatype_enum
_KEPT_APART = ("_XlaMustCompile", "_noinline")  # by tf.function(jit_compile=True)
# Nodes that change a variable, which a graph does not have.
_WRITES = ("Assign", "ResourceApply", "ResourceScatter", "ScatterNd")


def convert(
    function: Callable[..., list[tf.Tensor]], source: Source, order: Order
) -> onnx.ModelProto:
    """The graph of a function.

    Args:
        function: outputs in the order of `order`, from inputs in that order.
        source: where it comes from.
        order: what to export.

    Raises:
        SourceModelError: the function cannot be traced, or tf2onnx cannot convert it.
    """
    traced = _trace(function, source, order)
    weights = sum(one.shape.num_elements() * one.dtype.size for one in traced.variables)
    if weights > _MOST_BYTES:
        msg = (
            f"{source.what} has {weights >> 20} MiB of weights, which tf2onnx"
            f" {tf2onnx.__version__} passes on in one protobuf message, and that ends at 2 GiB"
        )
        mend = "convert it with another tool, and give the result as framework: onnx"
        raise errors.SourceModelError(msg, mend=mend)
    model = _to_onnx(traced, source, order)
    if drawn := [node for node in model.graph.node if node.op_type in _RANDOM]:
        msg = f"{source.what} draws random numbers when it is called:\n"
        mend = "save it for inference: training=False, no dropout, no sampling"
        raise errors.SourceModelError(
            msg + complaining.listed((n.op_type, n.name) for n in drawn), mend=mend
        )
    _declare(model.graph, order)
    return dimensions.inferred(model)


def _trace(function: Callable[..., list[tf.Tensor]], source: Source, order: Order) -> Any:
    specs = [
        tf.TensorSpec(
            [size if isinstance(size, int) else None for size in spec["shape"]],
            spec["dtype"],
            name=_INPUT.format(index),
        )
        for index, spec in enumerate(order.inputs.values())
    ]
    try:
        traced = tf.function(function, autograph=False).get_concrete_function(*specs)
    except MemoryError:
        raise
    except Exception as error:
        msg = f"{source.what} cannot be traced: {type(error).__name__}: {_first_line(error)}"
        mend = "give models.<m>.inputs shapes that the model takes"
        raise errors.SourceModelError(msg, mend=mend) from error
    _check_nodes(traced, source)
    return traced


def _check_nodes(traced: Any, source: Source) -> None:
    definition = traced.graph.as_graph_def()
    nodes = [
        *definition.node,
        *(node for one in definition.library.function for node in one.node_def),
    ]
    writing = [node for node in nodes if node.op.startswith(_WRITES) and "Variable" in node.op]
    writing += [node for node in nodes if node.op.startswith(_WRITES[1:])]
    if writing:
        msg = f"{source.what} changes variables when it is called, which a graph cannot:\n"
        mend = (
            "save it for inference: no training=True, no counters, no layers that draw random"
            " numbers (RandomFlip); state as inputs and outputs"
        )
        raise errors.SourceModelError(
            msg + complaining.listed((n.op, n.name) for n in writing), mend=mend
        )
    if halved := [n for n in nodes if any(a.type == _BFLOAT16 for a in n.attr.values())]:
        msg = f"{source.what} computes in bfloat16, which tf2onnx {tf2onnx.__version__} garbles:\n"
        mend = (
            "save it in float32 (in Keras dtype_policy); `precision: bf16` of an engine brings"
            " bfloat16 back"
        )
        raise errors.SourceModelError(
            msg + complaining.listed((n.op, n.name) for n in halved), mend=mend
        )


def _to_onnx(traced: Any, source: Source, order: Order) -> onnx.ModelProto:
    # Behind them are variables, and arrays that the function has caught: both become constants.
    inputs = [one.name for one in traced.inputs[: len(order.inputs)]]
    outputs = [one.name for one in traced.outputs]
    names = {name: _INPUT.format(index) for index, name in enumerate(inputs)}
    names |= {name: _OUTPUT.format(index) for index, name in enumerate(outputs)}
    numbering.restart()
    complaints = complaining.Complaints()
    logger = logging.getLogger(tf2onnx.__name__)
    logger.addHandler(complaints)
    try:
        frozen, tables = tf_loader.from_trackable(
            source.model, traced, inputs, outputs, large_model=False
        )
        frozen = _inlined(frozen, inputs, outputs)
        with tf.Graph().as_default() as imported:
            tf.import_graph_def(frozen, name="")
            graph = tfonnx.process_tf_graph(
                imported,
                continue_on_error=True,  # so that it tells of all that it cannot
                opset=order.opset,
                custom_op_handlers=operators.HANDLERS,
                input_names=inputs,
                output_names=outputs,
                tensors_to_rename=names,
                initialized_tables=tables,
            )
        complaints.check(source, order)
        graph = optimizer.optimize_graph(graph, optimizers=transposes.ALL)
        return graph.make_model("", producer_name="tf2onnx", producer_version=tf2onnx.__version__)
    except (errors.EngineryError, MemoryError):
        raise
    except Exception as error:
        complaints.check(source, order)
        msg = f"tf2onnx {tf2onnx.__version__} failed on {source.what}: {_first_line(error)}"
        mend = "the log has its own words; `python -m tf2onnx.convert` takes the model by hand"
        raise errors.SourceModelError(msg, mend=mend) from error
    finally:
        logger.removeHandler(complaints)


def _inlined(frozen: Any, inputs: list[str], outputs: list[str]) -> Any:
    """Calls that are left, of parts that shall be compiled, such as Keras' grouped convolution."""
    functions = frozen.library.function
    parts = (*frozen.node, *functions, *(node for one in functions for node in one.node_def))
    marked = [(part, mark) for part in parts for mark in _KEPT_APART if mark in part.attr]
    for part, mark in marked:
        del part.attr[mark]
    with tf.Graph().as_default():
        return tf_loader.tf_optimize(inputs, outputs, frozen) if marked else frozen


def _declare(graph: onnx.GraphProto, order: Order) -> None:
    """Inputs in order, with the declared sizes, and outputs in order.

    tf2onnx drops an input that nothing reads.
    """
    inputs = [
        onnx.helper.make_tensor_value_info(
            _INPUT.format(index),
            onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec["dtype"])),
            spec["shape"],
        )
        for index, spec in enumerate(order.inputs.values())
    ]
    known = {value.name: value.SerializeToString() for value in graph.output}
    outputs = [known[_OUTPUT.format(index)] for index in range(len(order.outputs))]
    del graph.input[:], graph.output[:]
    graph.input.extend(inputs)
    graph.output.extend(onnx.ValueInfoProto.FromString(one) for one in outputs)


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
