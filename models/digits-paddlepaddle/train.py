# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Train the digits network in PaddlePaddle; write it as an inference model.

It needs PaddlePaddle: `make envs` makes an environment with it, whose Python runs this file.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before Paddle and its mathematics library are loaded: they decide the order of float additions.
THREADS = 1  # layers this small gain nothing from more
os.environ |= {"OMP_NUM_THREADS": str(THREADS), "FLAGS_cpu_deterministic": "1"}

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import paddle  # noqa: E402
from paddle import nn  # noqa: E402
from paddle.nn import functional  # noqa: E402

HERE = Path(__file__).resolve().parent
TRAINING = HERE.parent / "digits" / "training.npz"
NAME = "inference"
SEED = 20261
LEAST_ACCURACY = 0.98


@dataclass(frozen=True)
class Settings:
    """As models/digits has them, but for the number of epochs."""

    epochs: int = 25
    batch: int = 64
    peak_rate: float = 5e-3
    decay: float = 5e-2
    shift: float = 1.0  # pixels, either way


@dataclass(frozen=True)
class Split:
    """Labelled images: image float32 [N, 1, 8, 8] in 0..16, label int64 [N] in 0..9."""

    image: npt.NDArray[np.float32]
    label: npt.NDArray[np.int64]


def load(path: Path) -> Split:
    """Read a split."""
    with np.load(path) as file:
        return Split(file["image"], file["label"])


def block(inputs: int, outputs: int) -> Any:
    """Convolve 3x3, normalize, ReLU."""
    convolution = nn.Conv2D(inputs, outputs, 3, padding=1, bias_attr=False)
    return nn.Sequential(convolution, nn.BatchNorm2D(outputs), nn.ReLU())


class DigitsNet(nn.Layer):
    """float32 [N, 1, 8, 8] in 0..16 to float32 [N, 10] logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(block(1, 16), block(16, 32))
        self.residual = block(32, 32)
        self.down = nn.Sequential(nn.MaxPool2D(2), block(32, 64))
        self.head = nn.Linear(64, 10)

    def forward(self, image: Any) -> Any:
        """Classify."""
        feature = self.stem(image / 16.0)
        feature = self.down(feature + self.residual(feature))
        return self.head(feature.mean([2, 3]))


def shifted(image: Any, reach: float, generator: np.random.Generator) -> Any:
    """Shift each image [N, 1, 8, 8] by up to `reach` pixels each way, bilinearly."""
    theta = np.tile(np.eye(2, 3, dtype=np.float32), (len(image), 1, 1))
    # affine_grid measures in half widths: 4 pixels are 1.
    theta[:, :, 2] = generator.uniform(-reach, reach, (len(image), 2)) / 4
    grid = functional.affine_grid(paddle.to_tensor(theta), list(image.shape), align_corners=False)
    return functional.grid_sample(image, grid, align_corners=False)


def train(split: Split, settings: Settings) -> Any:
    """Return a network trained on the split, in eval mode."""
    paddle.seed(SEED)
    generator = np.random.default_rng(SEED)
    net = DigitsNet()
    image, label = paddle.to_tensor(split.image), paddle.to_tensor(split.label)
    steps = settings.epochs * -(-len(split.label) // settings.batch)
    rate = paddle.optimizer.lr.OneCycleLR(settings.peak_rate, total_steps=steps)
    optimizer = paddle.optimizer.AdamW(
        rate, parameters=net.parameters(), weight_decay=settings.decay
    )
    for _ in range(settings.epochs):
        order = generator.permutation(len(split.label))
        for first in range(0, len(order), settings.batch):
            rows = paddle.to_tensor(order[first : first + settings.batch])
            logits = net(shifted(image[rows], settings.shift, generator))
            functional.cross_entropy(logits, label[rows]).backward()
            optimizer.step()
            optimizer.clear_grad()
            rate.step()
    net.eval()
    return net


def count_right(folder: Path, split: Split) -> int:
    """Return how many of the split's images the inference model gets right."""
    net = paddle.jit.load(str(folder / NAME))
    guess = net(paddle.to_tensor(split.image)).numpy().argmax(axis=1)
    return int((guess == split.label).sum())


def main() -> int:
    """Train, check the accuracy, write; return the exit status."""
    start = time.perf_counter()
    paddle.set_device("cpu")
    net = train(load(TRAINING), Settings())
    validation = load(HERE / "samples" / "validation" / "000.npz")
    face = paddle.static.InputSpec([None, 1, 8, 8], "float32", name="image")
    with tempfile.TemporaryDirectory() as temporary:
        paddle.jit.save(net, f"{temporary}/{NAME}", input_spec=[face])
        # Judge the files to be written, not the network they came from.
        right, total = count_right(Path(temporary), validation), len(validation.label)
        print(f"validation top-1: {right / total:.2%} ({right}/{total})")
        print(f"trained in {time.perf_counter() - start:.1f} s")
        if right < LEAST_ACCURACY * total:
            print(f"below {LEAST_ACCURACY:.0%}: nothing written", file=sys.stderr)
            return 1
        (HERE / "source").mkdir(exist_ok=True)
        for suffix in (".json", ".pdiparams"):
            data = Path(temporary, NAME).with_suffix(suffix).read_bytes()
            (HERE / "source" / f"{NAME}{suffix}").write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
