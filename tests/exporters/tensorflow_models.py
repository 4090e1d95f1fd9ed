# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the source models of test_tensorflow.py; run by the exporter's own interpreter."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0", KERAS_BACKEND="tensorflow")

import h5py
import keras
import tensorflow as tf
from keras import layers

Tensor = Any


def plain(x: Tensor) -> Tensor:
    for filters in (4, 8):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    return layers.Dense(5)(layers.GlobalAveragePooling2D()(x))


def residual(x: Tensor) -> Tensor:
    x = layers.Conv2D(8, 3, padding="same")(x)
    x = layers.ReLU()(layers.Add()([x, layers.Conv2D(8, 3, padding="same")(x)]))
    x = layers.Concatenate()([x, layers.Conv2D(4, 1, activation="swish")(x)])
    return layers.Dense(5)(layers.GlobalMaxPooling2D()(layers.MaxPooling2D()(x)))


def upsample(x: Tensor) -> Tensor:
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = layers.UpSampling2D(2)(layers.Conv2D(8, 3, padding="same")(x))
    x = layers.Conv2DTranspose(4, 2, strides=2)(x)
    return layers.Conv2D(3, 1, activation="softmax")(x)


def depthwise(x: Tensor) -> Tensor:
    x = layers.Conv2D(8, 3, strides=2, padding="same")(x)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x)))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
    gate = layers.Conv2D(8, 1, activation="sigmoid")(gate)
    x = layers.Add()([x, layers.Multiply()([y, gate])])
    return layers.Dense(5)(layers.GlobalAveragePooling2D()(layers.Activation("hard_swish")(x)))


def flatten(x: Tensor) -> Tensor:
    x = layers.Conv2D(4, 3, activation="relu")(x)
    x = layers.Flatten()(layers.ZeroPadding2D(1)(layers.AveragePooling2D(2)(x)))
    return layers.Dense(5)(x)


def attention(x: Tensor) -> Tensor:
    x = layers.Conv2D(8, 3, padding="same")(x)
    gate = layers.Dense(2, activation="relu")(layers.GlobalAveragePooling2D()(x))
    gate = layers.Reshape((1, 1, 8))(layers.Dense(8, activation="sigmoid")(gate))
    x = layers.LayerNormalization()(layers.Multiply()([x, gate]))
    return layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1, activation="gelu")(x))


def gated(x: Tensor) -> Tensor:
    """As in MobileNetV3: numbers are added to what a convolution gives."""
    x = layers.Conv2D(8, 3, padding="same")(x)
    gate = layers.Conv2D(8, 1, use_bias=False)(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply()([x, layers.ReLU(6.0)(gate + 3.0) * (1 / 6)])
    return layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1)(x))


def grouped(x: Tensor) -> Tensor:
    """As in ConvNeXt: a convolution in groups, and dense layers on the channels."""
    x = layers.Conv2D(8, 3, padding="same")(x)
    y = layers.LayerNormalization()(layers.Conv2D(8, 3, padding="same", groups=8)(x))
    x = layers.Add()([x, layers.Dense(8)(layers.Dense(16, activation="gelu")(y))])
    return layers.GlobalAveragePooling2D()(x)


def normalized(x: Tensor) -> Tensor:
    """Between the flattened image and the dense layers stand others with weights."""
    x = layers.Flatten()(layers.Conv2D(4, 3)(x))
    x = layers.Normalization(mean=range(400), variance=range(1, 401))(x)
    x = layers.Activation("swish")(layers.PReLU(alpha_initializer="random_normal")(x))
    return layers.Add()([layers.Dense(5)(x), layers.Dense(5, activation="tanh")(x)])


def skipping(x: Tensor) -> Tensor:
    """A flattened image that goes past its dense layer too."""
    x = layers.Flatten()(layers.Conv2D(4, 3)(x))
    return layers.Dense(5)(layers.Add()([x, layers.Dense(400)(x)]))


def enlarged(x: Tensor) -> Tensor:
    x = layers.UpSampling2D((2, 3))(layers.Conv2D(4, 3, padding="same")(x))
    return layers.ReLU()(layers.Conv2D(4, 3, padding="same")(x))


def tiled(x: Tensor) -> Tensor:
    """Columns one after another, and not each twice, though it is made of the same operators."""
    x = tf.nn.conv2d(x, tf.reshape(tf.range(108.0), [3, 3, 3, 4]) / 108, 1, "SAME")
    sizes = tf.shape(x)
    x = tf.tile(tf.expand_dims(x, 2), [1, 1, 2, 1, 1])
    x = tf.reshape(x, tf.stack([sizes[0], sizes[1], 2 * sizes[2], 4]))
    return tf.nn.conv2d(x, tf.ones([3, 3, 4, 4]), 1, "SAME")


def split(x: Tensor) -> Tensor:
    x = tf.nn.depth_to_space(x, 2)
    first, second = tf.split(x, [1, 2], 3)
    x = tf.nn.conv2d(tf.concat([second / 2, first], 3), tf.ones([3, 3, 3, 4]), 1, "SAME")
    return x[:, 1:-1, 1:-1]


def saved(
    folder: Path, function: Any = None, spec: Any = None, holder: Any = None, **functions: Any
) -> None:
    """A SavedModel of a function, or of several by name."""
    if function is not None:
        functions["serving_default"] = tf.function(function, input_signature=[spec])
    tf.saved_model.save(holder or tf.Module(), str(folder), signatures=functions)


def nets(root: Path) -> None:
    image = (12, 12, 3)
    for function in (
        plain,
        residual,
        upsample,
        depthwise,
        flatten,
        attention,
        gated,
        grouped,
        normalized,
        skipping,
    ):
        x = keras.Input(image, name="image")
        keras.Model(x, function(x)).export(str(root / function.__name__), verbose=False)
    saved(
        root / "split",
        lambda image: {"out": split(image)},
        tf.TensorSpec([None, 6, 6, 12], tf.float32, name="image"),
    )
    sides = tf.TensorSpec([None, None, None, 3], tf.float32, name="image")
    saved(root / "tiled", lambda image: {"y": tiled(image)}, sides)
    x = keras.Input((12, 4), name="image")
    y = layers.MaxPooling1D()(layers.Conv1D(8, 3, padding="same", activation="relu")(x))
    y = layers.Dense(3)(layers.GlobalAveragePooling1D()(layers.Conv1D(8, 3)(y)))
    keras.Model(x, y).export(str(root / "one"), verbose=False)
    for name, length in (("longer", 12), ("longest", None)):
        x = keras.Input((length, 4), name="image")
        y = layers.UpSampling1D()(layers.Conv1D(8, 3, padding="same", activation="relu")(x))
        y = layers.Conv1D(3, 3)(layers.Conv1DTranspose(6, 3, strides=2, padding="same")(y))
        keras.Model(x, y).export(str(root / name), verbose=False)
    x = keras.Input((8, 8, 8, 2), name="image")
    y = layers.MaxPooling3D()(layers.Conv3D(4, 3, padding="same", activation="relu")(x))
    keras.Model(x, layers.Conv3D(4, 3)(y)).export(str(root / "three"), verbose=False)
    x = keras.Input((None, None, 3), name="image")
    keras.Model(x, enlarged(x)).export(str(root / "enlarged"), verbose=False)
    model = keras.Model(x, plain(x))
    model.export(str(root / "sides"), verbose=False)
    model.save(root / "plain.keras")


def pairs(root: Path) -> None:
    """Two inputs and two outputs, in an order that is not the alphabet's."""
    right, left = keras.Input((4,), name="right"), keras.Input((4,), name="left")
    total = layers.Add(name="total")([left, layers.Dense(4)(right)])
    model = keras.Model([right, left], [total, layers.ReLU(name="clipped")(total)])
    model.save(root / "pair.keras")
    keras.Model({"right": right, "left": left}, {"b": total, "a": right}).save(root / "named.keras")
    model.save(root / "pair.h5")
    scaled = layers.Normalization(mean=[1.0, 2.0, 3.0, 4.0], variance=[4.0] * 4)
    keras.Model([right, left], layers.Add()([left, scaled(right)])).save(root / "scaled.keras")


def others(root: Path) -> None:
    """No image, or one in another layout."""
    chain = keras.Sequential([keras.Input((4,), name="x"), layers.Dense(3), layers.ReLU()])
    chain.save(root / "chain.keras")
    chain.save(root / "chain.h5")
    x = keras.Input((5, 4), name="x")
    y = layers.Bidirectional(layers.GRU(3, return_sequences=True))(x)
    y = layers.Dense(2)(layers.MultiHeadAttention(2, 3)(y, y))
    keras.Model(x, y).export(str(root / "sequence"), verbose=False)
    image = tf.TensorSpec([None, 3, 8, 8], tf.float32, name="image")
    kernel = tf.random.normal([3, 3, 3, 4])
    nchw = {"strides": 1, "padding": "SAME", "data_format": "NCHW"}
    saved(root / "first", lambda image: {"y": tf.nn.conv2d(image, kernel, **nchw)}, image)
    keras.Model(x, layers.Dense(2, dtype="bfloat16")(x)).export(str(root / "halved"), verbose=False)


def signatures(root: Path) -> None:
    spec = tf.TensorSpec([None, 4], tf.float32, name="x")
    double = tf.function(lambda x: {"y": 2 * x}, input_signature=[spec])
    triple = tf.function(lambda x: {"y": 3 * x}, input_signature=[spec])
    saved(root / "several", double=double, triple=triple)
    saved(root / "without")
    pair = [tf.TensorSpec([None, 4], tf.float32, name=name) for name in ("x", "unread")]
    unread = tf.function(lambda x, unread: {"y": 2 * x}, input_signature=pair)  # noqa: ARG005
    saved(root / "unread", serving_default=unread)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], "place")
        weight = tf.compat.v1.get_variable("w", initializer=tf.constant([[1.0], [2], [3], [4]]))
        y = tf.matmul(x, weight)
        session.run(weight.initializer)
        tf.compat.v1.saved_model.simple_save(session, str(root / "old"), {"x": x}, {"y": y})


def odd(root: Path) -> None:
    """Models that no graph can be made of, or that fail."""
    spec = tf.TensorSpec([None, 4], tf.float32, name="x")
    saved(root / "unknown", lambda x: {"y": tf.math.digamma(tf.math.lgamma(x))}, spec)
    holder = tf.Module()
    holder.count = tf.Variable(0.0)
    saved(root / "counting", lambda x: {"y": x + holder.count.assign_add(1.0)}, spec, holder)
    text = tf.TensorSpec([None], tf.string, name="x")
    saved(root / "text", lambda x: {"y": tf.strings.length(x)}, text)

    def failing(x: Tensor) -> dict[str, Tensor]:
        with tf.control_dependencies([tf.debugging.assert_less(x, -1e9)]):
            return {"y": tf.identity(x)}

    saved(root / "failing", failing, spec)
    x = keras.Input((4,), name="x")
    pickled = keras.Model(x, layers.Lambda(lambda t: t * 2.0)(x))
    pickled.save(root / "code.keras")
    pickled.save(root / "code.h5")

    class Mine(layers.Layer):
        def call(self, x: Tensor) -> Tensor:
            return x + 1

    keras.Model(x, Mine()(x)).save(root / "mine.keras")
    bare = tf.Module()
    bare.w = tf.Variable(tf.ones([4, 4]))
    saved(root / "weights", lambda x: {"y": x @ bare.w}, spec, bare)
    tf.train.Checkpoint(w=bare.w).write(str(root / "checkpoint" / "weights"))


def writing(root: Path) -> None:
    """Programs that write files: at each call, and when they are loaded."""
    spec = tf.TensorSpec([None, 4], tf.float32, name="x")
    begun = root / "written-at-load"

    def call(x: Tensor) -> dict[str, Tensor]:
        tf.io.write_file(str(root / "written-by-call"), "x")
        return {"y": 2 * x}

    class Resource(tf.saved_model.experimental.TrackableResource):
        def _create_resource(self) -> Tensor:
            return tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.int64)

        def _initialize(self) -> None:
            tf.io.write_file(str(begun), "x")

    holder = tf.Module()
    holder.resource = Resource()
    saved(root / "writing", call, spec)
    saved(root / "beginning", lambda x: {"y": 2 * x}, spec, holder)
    begun.unlink(missing_ok=True)


def older(root: Path) -> None:
    """As Keras 2 wrote it, with an argument that Keras 3 has no more; and weights alone."""
    shutil.copy(root / "pair.h5", root / "older.h5")
    with h5py.File(root / "older.h5", "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            layer["config"]["time_major"] = False
        file.attrs.update(keras_version="2.15.0", model_config=json.dumps(config))
    keras.models.load_model(root / "chain.keras").save_weights(root / "alone.weights.h5")
    spec = tf.TensorSpec([None, 4], tf.float32, name="x")
    saved(root / "random", lambda x: {"y": tf.nn.dropout(x, 0.5)}, spec)


def main(root: Path) -> None:
    keras.utils.set_random_seed(0)
    for make in (nets, pairs, others, signatures, odd, older, writing):
        make(root)
    shutil.rmtree(root / "without" / "variables")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
