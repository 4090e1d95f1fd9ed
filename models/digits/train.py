# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Train the digits network; write its weights and its splits.

python models/digits/train.py                   train and write
python models/digits/train.py --cross-validate  score the settings; write nothing
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from sklearn.model_selection import StratifiedKFold  # type: ignore[import-untyped]
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from types import ModuleType

HERE = Path(__file__).resolve().parent
SEED = 20260
THREADS = 2
FOLDS = 5
LEAST_ACCURACY = 0.98
CLASSES = 10
# Held-out images per split; the training split is what remains (1,013).
HELD_OUT = {"probe": 16, "calibration": 256, "validation": 512}

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Settings:
    """What --cross-validate chose, on the training split alone."""

    epochs: int = 60
    batch: int = 64
    peak_rate: float = 5e-3
    decay: float = 5e-2
    shift: float = 1.0  # pixels, either way


@dataclass(frozen=True)
class Split:
    """Labelled images: image float32 [N, 1, 8, 8] in 0..16, label int64 [N] in 0..9."""

    image: npt.NDArray[np.float32]
    label: Indices

    def take(self, rows: Indices) -> Split:
        """Return the given rows."""
        return Split(self.image[rows], self.label[rows])


def stratified_order(label: Indices, generator: np.random.Generator) -> Indices:
    """Return a seeded order [N] of which every contiguous run is class-balanced."""
    place = np.empty(len(label), dtype=np.float64)
    for digit in range(CLASSES):
        rows = generator.permutation(np.flatnonzero(label == digit))
        # Each class spreads evenly over 0..1, from an offset of its own.
        place[rows] = (np.arange(len(rows)) + generator.random()) / len(rows)
    return np.argsort(place, kind="stable")


def make_splits() -> dict[str, Split]:
    """Return the disjoint splits by name; the training split comes last."""
    digits = load_digits()
    image = digits.images.astype(np.float32)[:, None]
    everything = Split(image, digits.target.astype(np.int64))
    order = stratified_order(everything.label, np.random.default_rng(SEED))
    parts = np.split(order, np.cumsum(list(HELD_OUT.values())))
    names = [*HELD_OUT, "training"]
    return {name: everything.take(rows) for name, rows in zip(names, parts, strict=True)}


def import_model() -> ModuleType:
    """Import source/model.py without leaving bytecode beside it."""
    sys.dont_write_bytecode = True  # source/ is hashed as it stands
    spec = importlib.util.spec_from_file_location("digits_model", HERE / "source" / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def new_net() -> nn.Module:
    """Return the untrained network, seeded."""
    torch.manual_seed(SEED)
    net: nn.Module = import_model().DigitsNet()
    return net


def shifted(image: torch.Tensor, reach: float, generator: np.random.Generator) -> torch.Tensor:
    """Shift each image [N, 1, 8, 8] by up to `reach` pixels each way, bilinearly."""
    theta = np.tile(np.eye(2, 3, dtype=np.float32), (len(image), 1, 1))
    # affine_grid measures in half widths: 4 pixels are 1.
    theta[:, :, 2] = generator.uniform(-reach, reach, (len(image), 2)) / 4
    grid = functional.affine_grid(torch.from_numpy(theta), list(image.shape), align_corners=False)
    return functional.grid_sample(image, grid, align_corners=False)


def train(split: Split, settings: Settings) -> nn.Module:
    """Return a network trained on the split, in eval mode."""
    generator = np.random.default_rng(SEED + 1)
    net = new_net().train()
    image, label = torch.from_numpy(split.image), torch.from_numpy(split.label)
    steps = settings.epochs * -(-len(label) // settings.batch)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=settings.decay)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.peak_rate, total_steps=steps)
    for _ in range(settings.epochs):
        order = torch.from_numpy(generator.permutation(len(label)))
        for first in range(0, len(label), settings.batch):
            rows = order[first : first + settings.batch]
            logits = net(shifted(image[rows], settings.shift, generator))
            loss = functional.cross_entropy(logits, label[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            rate.step()
    return net.eval()


@torch.inference_mode()
def count_right(net: nn.Module, split: Split) -> int:
    """Return how many of the split's images the network classifies rightly."""
    guess = net(torch.from_numpy(split.image)).argmax(1)
    return int((guess == torch.from_numpy(split.label)).sum())


def cross_validate(split: Split, settings: Settings) -> int:
    """Return how many of the split's images are right when their fold is held out."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    right = 0
    for fit, check in folds.split(split.image[:, 0, 0], split.label):
        right += count_right(train(split.take(fit), settings), split.take(check))
    return right


def write(path: Path, data: bytes) -> None:
    """Put the bytes at the path whole: written beside it, then moved over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    beside.write_bytes(data)
    beside.replace(path)


def packed(split: Split) -> bytes:
    """Return the split as the bytes of an .npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, image=split.image, label=split.label)
    return buffer.getvalue()


def write_all(weights: bytes, splits: dict[str, Split]) -> None:
    """Write the weights and every split to its place under models/digits."""
    for name in HELD_OUT:
        write(HERE / "samples" / name / "000.npz", packed(splits[name]))
    write(HERE / "training.npz", packed(splits["training"]))
    write(HERE / "source" / "weights.safetensors", weights)


def reproducible() -> None:
    """Fix what decides the order of float additions."""
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(THREADS)


def main() -> int:
    """Train, check the accuracy, write; return the exit status."""
    parser = argparse.ArgumentParser(description="Train the digits network.")
    parser.add_argument("--cross-validate", action="store_true", help="score the settings only")
    scoring: bool = parser.parse_args().cross_validate
    reproducible()
    splits, settings, start = make_splits(), Settings(), time.perf_counter()
    training, validation = splits["training"], splits["validation"]
    if scoring:
        right, total = cross_validate(training, settings), len(training.label)
        print(f"{FOLDS}-fold top-1 on training: {right / total:.2%} ({right}/{total})")
        return 0
    weights = safetensors.torch.save(train(training, settings).state_dict())
    # Judge the bytes to be written, not the network they came from.
    net = new_net().eval()
    net.load_state_dict(safetensors.torch.load(weights), strict=True)
    right, total = count_right(net, validation), len(validation.label)
    print(f"validation top-1: {right / total:.2%} ({right}/{total})")
    print(f"trained in {time.perf_counter() - start:.1f} s")
    if right < LEAST_ACCURACY * total:
        print(f"below {LEAST_ACCURACY:.0%}: nothing written", file=sys.stderr)
        return 1
    write_all(weights, splits)
    return 0


if __name__ == "__main__":
    sys.exit(main())
