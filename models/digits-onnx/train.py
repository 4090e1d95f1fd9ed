# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Train a small perceptron on the digits with scikit-learn, and write it as ONNX by hand.

Run it from anywhere: `python models/digits-onnx/train.py`. With `--cross-validate` it only prints
the accuracy on the training split by 5-fold cross-validation.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.model_selection import StratifiedKFold  # type: ignore[import-untyped]
from sklearn.neural_network import MLPClassifier  # type: ignore[import-untyped]
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "digits" / "training.npz"
SEED = 2026
FOLDS = 5
LEAST_ACCURACY = 0.98
OPSET, IR_VERSION = 20, 9
SCALE = 1 / 16
SIDE = 8

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Settings:
    """How the perceptron is trained; README.md says how that was chosen."""

    hidden: tuple[int, int] = (256, 96)
    epochs: int = 120
    last_epochs: int = 30
    batch: int = 32
    decay: float = 1e-2
    rate: float = 1e-3
    last_rate: float = 2e-4
    shift: float = 0.5  # pixels, either way


def shifted(image: Array, reach: float, generator: np.random.Generator) -> Array:
    """Shift each image [N, 8, 8] by up to `reach` pixels each way, bilinearly."""
    count, margin = len(image), int(np.ceil(reach)) + 1
    padded = np.pad(image, ((0, 0), (margin, margin), (margin, margin)))
    offset = generator.uniform(-reach, reach, (2, count, 1, 1))
    whole = np.floor(offset).astype(int)
    down, right = offset - whole
    every = np.arange(count)[:, None, None]
    rows = whole[0] + np.arange(SIDE)[None, :, None] + margin
    columns = whole[1] + np.arange(SIDE)[None, None, :] + margin
    return (
        padded[every, rows, columns] * (1 - down) * (1 - right)
        + padded[every, rows + 1, columns] * down * (1 - right)
        + padded[every, rows, columns + 1] * (1 - down) * right
        + padded[every, rows + 1, columns + 1] * down * right
    )


def train(image: Array, label: Array, settings: Settings) -> list[tuple[Array, Array]]:
    """Return weights [inputs, outputs] and biases of the layers; `image` is [N, 1, 8, 8], raw."""
    generator = np.random.default_rng(SEED)
    net = MLPClassifier(
        settings.hidden,
        alpha=settings.decay,
        batch_size=settings.batch,
        learning_rate_init=settings.rate,
        random_state=SEED,
    )
    pixels = image[:, 0] * SCALE
    for epoch in range(settings.epochs + settings.last_epochs):
        if epoch == settings.epochs:
            net._optimizer.learning_rate_init = settings.last_rate  # noqa: SLF001 (no other way)
        seen = shifted(pixels, settings.shift, generator).reshape(len(pixels), -1)
        net.partial_fit(seen.astype(np.float32), label, classes=np.arange(10))
    layers = zip(net.coefs_, net.intercepts_, strict=True)
    return [(weight.astype(np.float32), bias.astype(np.float32)) for weight, bias in layers]


def nodes(layers: int) -> Iterator[onnx.NodeProto]:
    """The graph from raw pixels to logits: each layer a Gemm, with a Relu between two."""
    yield helper.make_node("Mul", ["image", "scale"], ["pixels"], name="scale")
    yield helper.make_node("Flatten", ["pixels"], ["flat"], name="flatten", axis=1)
    value = "flat"
    for index in range(layers):
        out = "logits" if index == layers - 1 else f"dense_{index}"
        inputs = [value, f"dense_{index}.weight", f"dense_{index}.bias"]
        yield helper.make_node("Gemm", inputs, [out], name=f"dense_{index}")
        value = f"relu_{index}"
        if out != "logits":
            yield helper.make_node("Relu", [out], [value], name=value)


def graph(layers: list[tuple[Array, Array]]) -> onnx.ModelProto:
    """Return the model: `image` float32 [batch, 1, 8, 8] in 0..16 -> `logits` [batch, 10]."""
    constants = [numpy_helper.from_array(np.array(SCALE, np.float32), "scale")]
    for index, (weight, bias) in enumerate(layers):
        constants.append(numpy_helper.from_array(weight, f"dense_{index}.weight"))
        constants.append(numpy_helper.from_array(bias, f"dense_{index}.bias"))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, SIDE, SIDE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    made = helper.make_graph(list(nodes(len(layers))), "digits", [image], [logits], constants)
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="digits-onnx"
    )
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model


def count_right(layers: list[tuple[Array, Array]], image: Array, label: Array) -> int:
    """Return how many of the images are classified rightly."""
    value = image.reshape(len(image), -1) * np.float32(SCALE)
    for weight, bias in layers[:-1]:
        value = np.maximum(value @ weight + bias, 0)
    weight, bias = layers[-1]
    return int(((value @ weight + bias).argmax(1) == label).sum())


def cross_validate(image: Array, label: Array, settings: Settings) -> int:
    """Return how many of the images are right when their fold is held out."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(image[:, 0, 0], label)
    return sum(
        count_right(train(image[fit], label[fit], settings), image[check], label[check])
        for fit, check in folds
    )


def main() -> int:
    """Train, check the accuracy, write; return the exit status."""
    parser = argparse.ArgumentParser(description="Train the digits perceptron.")
    parser.add_argument("--cross-validate", action="store_true", help="score the settings only")
    scoring: bool = parser.parse_args().cross_validate
    with threadpool_limits(1):  # quicker for so small a network, and the same sums each time
        return score() if scoring else make()


def score() -> int:
    """Print the accuracy by cross-validation."""
    with np.load(DATA) as training:
        right = cross_validate(training["image"], training["label"], Settings())
        total = len(training["label"])
    print(f"{FOLDS}-fold top-1 on training: {right / total:.2%} ({right}/{total})")
    return 0


def make() -> int:
    """Train, and write what is good enough."""
    start = time.perf_counter()
    with np.load(DATA) as training:
        layers = train(training["image"], training["label"], Settings())
    with np.load(HERE / "samples" / "validation" / "000.npz") as validation:
        right = count_right(layers, validation["image"], validation["label"])
        total = len(validation["label"])
    print(f"validation top-1: {right / total:.2%} ({right}/{total})")
    print(f"trained in {time.perf_counter() - start:.1f} s")
    if right < LEAST_ACCURACY * total:
        print(f"below {LEAST_ACCURACY:.0%}: nothing written", file=sys.stderr)
        return 1
    target = HERE / "source" / "model.onnx"
    beside = target.with_name(f".{target.name}.partial")
    beside.write_bytes(graph(layers).SerializeToString(deterministic=True))
    beside.replace(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
