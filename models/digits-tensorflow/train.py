# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Train the digits network in Keras; write it as a SavedModel.

It needs the interpreter of the exporter's environment, which `make envs` makes.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

os.environ.update(TF_CPP_MIN_LOG_LEVEL="2", TF_ENABLE_ONEDNN_OPTS="0", KERAS_BACKEND="tensorflow")

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import layers

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "digits"
SEED = 20260
THREADS = 2
EPOCHS = 40
BATCH = 64
RATE = 4e-3
LEAST_ACCURACY = 0.98
CLASSES = 10

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def split(path: Path) -> tuple[Floats, Labels]:
    """Images [N, 8, 8, 1] with values 0..16, and their labels [N]."""
    with np.load(path) as file:
        return np.transpose(file["image"], (0, 2, 3, 1)), file["label"]


def block(x: Any, filters: int, strides: int = 1) -> Any:
    """3x3 convolution, batch norm and ReLU."""
    x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def new_net() -> Any:
    """The untrained network, channels last: image [N, 8, 8, 1] to logits [N, 10]."""
    image = keras.Input((8, 8, 1), name="image")
    x = block(layers.Rescaling(1 / 16)(image), 16)
    x = layers.Add()([x, block(x, 16)])
    x = block(x, 32, strides=2)
    x = layers.Concatenate()([x, layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)])
    x = block(x, 32)
    return keras.Model(image, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))


def shifted(image: Floats, generator: np.random.Generator) -> Floats:
    """Each image moved by up to one pixel each way."""
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = generator.integers(0, 3, (2, len(image)))
    places = zip(padded, rows, columns, strict=True)
    return np.stack([one[row : row + 8, column : column + 8] for one, row, column in places])


def train(image: Floats, label: Labels) -> Any:
    """A network trained on these images."""
    generator = np.random.default_rng(SEED)
    net = new_net()
    steps = EPOCHS * -(-len(label) // BATCH)
    net.compile(
        keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(RATE, steps), 0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    for _ in range(EPOCHS):
        order = generator.permutation(len(label))
        moved = shifted(image[order], generator)
        for first in range(0, len(label), BATCH):
            rows = slice(first, first + BATCH)
            net.train_on_batch(moved[rows], label[order[rows]])
    return net


def save(net: Any, folder: Path) -> None:
    """Write a SavedModel of the network for inference, with one named output."""
    module = tf.Module(name="digits")
    # The variables alone: the optimizer hangs on the network, and would be saved as well.
    module.variables_of_the_net = [one.value for one in net.variables]
    spec = tf.TensorSpec([None, 8, 8, 1], tf.float32, name="image")
    serve = tf.function(lambda image: {"logits": net(image, training=False)})
    signatures = {"serving_default": serve.get_concrete_function(spec)}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    (folder / "fingerprint.pb").unlink()  # a random number: the rest follows from the seed
    (folder / "assets").rmdir()  # empty: Git would not keep it


def count_right(folder: Path, image: Floats, label: Labels) -> int:
    """How many of the images the saved network classifies rightly."""
    saved = tf.saved_model.load(str(folder))
    logits = saved.signatures["serving_default"](image=tf.constant(image))["logits"]
    return int((logits.numpy().argmax(axis=1) == label).sum())


def main() -> int:
    """Train, check the accuracy of what is saved, put it in its place; return the exit status."""
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    start, beside = time.perf_counter(), HERE / ".source.partial"
    shutil.rmtree(beside, ignore_errors=True)
    folder = beside / "saved_model"
    save(train(*split(DATA / "training.npz")), folder)
    image, label = split(DATA / "samples" / "validation" / "000.npz")
    right, total = count_right(folder, image, label), len(label)
    print(f"validation top-1: {right / total:.2%} ({right}/{total})")
    print(f"trained in {time.perf_counter() - start:.1f} s")
    if right < LEAST_ACCURACY * total:
        print(f"below {LEAST_ACCURACY:.0%}: nothing written", file=sys.stderr)
        shutil.rmtree(beside)
        return 1
    shutil.rmtree(HERE / "source", ignore_errors=True)
    beside.replace(HERE / "source")
    return 0


if __name__ == "__main__":
    sys.exit(main())
