# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""PaddlePaddle through paddle2onnx: an inference model, in the `.json` or `.pdmodel` form.

Everything is done on copies in a temporary folder, so nothing is written beside the source.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from paddle import inference

from stages.exporters.paddlepaddle import attempt, convert, weights
from stages.exporters.paddlepaddle import program as programs
from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stages.exporters.api import Arrays, Framework, Order
    from stages.exporters.paddlepaddle.program import Face, Program

_MOST = (1 << 31) - (1 << 24)  # protobuf's limit, and room for the graph


def export(order: Order, example: Arrays, folder: Path) -> None:  # noqa: ARG001 (nothing is traced)
    """Convert the program; see `stages/exporters/api.py`."""
    program = _read(order)
    _check_size(order, program)
    assert order.opset is not None  # the schema sees to it
    folder.mkdir(parents=True)
    # An older program in the new form has its parameters in the same file as before.
    parameters = _weights(order) if program.parameters else None
    convert.convert(program.pir, parameters, order.opset, folder, f"{order.path}")
    _finish(folder, order, program)


def load(order: Order) -> Framework:
    """The program in Paddle Inference, on the CPU; see `stages/exporters/api.py`."""
    program = _read(order)
    try:
        predictor = _predictor(order, program)
    except Exception as error:
        msg = f"Paddle cannot load {order.path}: {programs.reason(error)}"
        mend = "run it by paddle.inference by hand"
        raise errors.SourceModelError(msg, mend=mend) from error

    def run(feeds: Arrays) -> Arrays:
        try:
            for name in order.inputs:
                predictor.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(feeds[name]))
            predictor.run()
            names = predictor.get_output_names()
            found = [predictor.get_output_handle(name).copy_to_cpu() for name in names]
        except Exception as error:
            reason = programs.reason(error)
            msg = f"{order.path} itself failed on the probe samples: {reason}"
            mend = "run it by paddle.inference on the arrays of models/<m>/samples/probe"
            raise errors.SourceModelError(msg, mend=mend) from error
        return dict(zip(order.outputs, found, strict=True))

    return run


def _read(order: Order) -> Program:
    """The program, of which inputs, outputs and parameters are those that it shall have."""
    program = programs.read(order.path)
    _check_faces(program, order)
    weights.check(_weights(order), program.parameters)
    return program


def _weights(order: Order) -> Path:
    if order.weights is None:
        return order.path.with_suffix(".pdiparams")
    return order.source / order.weights


def _check_size(order: Order, program: Program) -> None:
    """Above 2 GB paddle2onnx (2.1.0) gives an empty graph, whatever its external_file says."""
    size = _weights(order).stat().st_size if program.parameters else 0
    if size > _MOST:
        msg = f"{_weights(order)} has {size / 1e9:.2f} GB; paddle2onnx writes no graph above 2 GB"
        raise errors.SourceModelError(msg, mend="export the model in parts, each one below that")


def _check_faces(program: Program, order: Order) -> None:
    """Names, dtypes and sizes of inputs; the number of outputs, whose names Paddle makes up."""
    found = {face.name: face for face in program.inputs}
    same = found.keys() == order.inputs.keys() and all(
        _fits(face, order.inputs[name]) for name, face in found.items()
    )
    if not same:
        wanted = [f"{name} {one['dtype']} {one['shape']}" for name, one in order.inputs.items()]
        raise _differ("inputs", program.inputs, wanted)
    if len(program.outputs) != len(order.outputs):
        raise _differ("outputs", program.outputs, order.outputs)


def _fits(face: Face, spec: Mapping[str, Any]) -> bool:
    sizes = tuple(size if isinstance(size, int) else -1 for size in spec["shape"])
    return face.dtype == spec["dtype"] and tuple(max(size, -1) for size in face.shape) == sizes


def _differ(what: str, found: list[Face], wanted: list[str]) -> errors.SourceModelError:
    msg = (
        f"the program's {what} are not what params.yaml says\n"
        f"  program:     {', '.join(map(str, found))}\n  params.yaml: {', '.join(wanted)}"
    )
    mend = f"set models.<m>.{what} to what the program has"
    if what == "inputs" and any(size < 0 for face in found for size in face.shape):
        mend += ", with a word, such as batch, for each -1"
    return errors.SourceModelError(msg, mend=mend)


def _predictor(order: Order, program: Program) -> Any:
    with tempfile.TemporaryDirectory() as scratch:
        parameters = _weights(order)
        if not program.parameters:  # the older form wants a file even so, the newer one none
            parameters = Path(scratch) / "none.pdiparams"
            if order.path.suffix == ".pdmodel":
                parameters.touch()
        config = inference.Config(str(order.path), str(parameters))
        config.disable_gpu()
        config.disable_mkldnn()
        config.switch_ir_optim(False)  # the program as it stands
        config.set_cpu_math_library_num_threads(order.threads)
        return inference.create_predictor(config)


def _finish(folder: Path, order: Order, program: Program) -> None:
    """Inputs as they are declared, and weights as weights: they come out as nodes.

    Every size that varies comes out with a name of its own. Of the inputs' they are replaced by
    those of params.yaml, and the others are left to shape inference.
    """
    path = folder / attempt.GRAPH
    model = onnx.load(path, load_external_data=False)
    places = list(order.inputs)
    inputs = sorted(model.graph.input, key=lambda value: places.index(value.name))
    names = {face.name for face in program.parameters}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output[0] in names:
            tensor = model.graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
        else:
            nodes.append(node)
    for field, values in ((model.graph.input, inputs), (model.graph.node, nodes)):
        kept = [type(value).FromString(value.SerializeToString()) for value in values]
        del field[:]
        field.extend(kept)
    for value in (*model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_param"):
                dim.Clear()
    path.write_bytes(model.SerializeToString(deterministic=True))
