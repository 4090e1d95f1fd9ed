# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""TensorFlow through tf2onnx: a signature of a SavedModel, or a Keras file."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import numpy as np
import onnx

# TensorFlow reads them when it is imported. With oneDNN, results depend on the processor more.
os.environ.update(TF_CPP_MIN_LOG_LEVEL="1", TF_ENABLE_ONEDNN_OPTS="0", KERAS_BACKEND="tensorflow")

import tensorflow as tf

from stages.exporters.tensorflow import conversion, dimensions, faces, sources
from stages.lib import errors

if TYPE_CHECKING:
    from pathlib import Path

    from stages.exporters.api import Arrays, Framework, Order
    from stages.exporters.tensorflow.saved_model import Source

_COLOURS = re.compile("\x1b\\[[0-9;]*m")


def export(order: Order, example: Arrays, folder: Path) -> None:
    """Convert the source's function; see `stages/exporters/api.py`."""
    source, face = _read(order)

    def function(*arrays: tf.Tensor) -> list[tf.Tensor]:
        """The source, with the graph's layouts, inputs and outputs in the declared order."""
        turned = [
            array if axes is None else tf.transpose(array, axes)
            for array, axes in zip(arrays, face.inputs.values(), strict=True)
        ]
        found = source.call(dict(zip(face.inputs, turned, strict=True)))
        return [
            tf.identity(found[name] if axes is None else tf.transpose(found[name], axes))
            for name, axes in zip(face.names, face.outputs.values(), strict=True)
        ]

    model = conversion.convert(function, source, order)
    dimensions.name_batch(model.graph, order, example, _runner(source, face))
    folder.mkdir(parents=True)
    onnx.save_model(model, folder / "model.onnx")


def load(order: Order) -> Framework:
    """The source's function, in the declared layouts; see `stages/exporters/api.py`."""
    return _runner(*_read(order))


def _runner(source: Source, face: faces.Face) -> Framework:
    def run(feeds: Arrays) -> Arrays:
        turned = {
            name: tf.constant(feeds[name] if axes is None else np.transpose(feeds[name], axes))
            for name, axes in face.inputs.items()
        }
        try:
            found = {name: tensor.numpy() for name, tensor in _call(source, turned).items()}
        except MemoryError:
            raise
        except Exception as error:
            words = _COLOURS.sub("", f"{type(error).__name__}: {error}")
            msg = f"the model itself failed on the probe samples: {words}"
            raise errors.SourceModelError(
                msg, mend="run it by hand on the arrays of models/<m>/samples/probe"
            ) from error
        return {
            declared: found[name] if axes is None else np.transpose(found[name], axes)
            for name, (declared, axes) in zip(face.names, face.outputs.items(), strict=True)
        }

    return run


def _call(source: Source, tensors: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """What the source gives; for NCHW on the CPU, TensorFlow has no kernels but XLA."""
    try:
        return source.call(tensors)
    except (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError) as error:
        if "NHWC" not in str(error):
            raise
    compiled: dict[str, tf.Tensor] = tf.function(source.call, jit_compile=True)(tensors)
    return compiled


def _read(order: Order) -> tuple[Source, faces.Face]:
    tf.config.threading.set_intra_op_parallelism_threads(order.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.random.set_seed(0)
    source = sources.read(order)
    return source, faces.match(source, order)
