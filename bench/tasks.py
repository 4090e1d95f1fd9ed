# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Tasks that a benchmark trains on the spot, each in about a minute on two cores.

`python -m bench.tasks <task> <home>` writes <home>/source/model.onnx and <home>/samples/<split>/.
The data come with packages that the chain or the benchmark has anyway:

    glyphs   36 letters and digits in Pillow's own font, turned, sized, blurred and noisy
    photos   noise to be taken from scikit-learn's two photographs; trained and calibrated on one,
             judged on the other
"""

from __future__ import annotations

import string
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch  # noqa: TID251  a benchmark has no doors
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from sklearn.datasets import load_sample_images  # type: ignore[import-untyped]
from torch.nn import functional  # noqa: TID251

from bench import networks

if TYPE_CHECKING:
    from collections.abc import Callable

Arrays = dict[str, "np.ndarray[Any, Any]"]

SEED = 4
SIDE = 24
GLYPHS = string.digits + string.ascii_uppercase
COUNTS = {"probe": 16, "calibration": 256, "validation": 1024, "training": 5000}
PATCHES = {"probe": 4, "calibration": 96, "validation": 96, "training": 1000}
NOISE = 0.1


def main(task: str, home: Path) -> None:
    torch.manual_seed(SEED)
    net, splits, loss, plan = _TASKS[task]()
    train(net, splits.pop("training"), loss, plan)
    for name, arrays in splits.items():
        folder = home / "samples" / name
        folder.mkdir(parents=True)
        np.savez(folder / "000.npz", image=arrays["image"], label=arrays["label"])
    (home / "source").mkdir(parents=True)
    program = torch.onnx.export(
        net.eval(),
        (torch.from_numpy(splits["probe"]["image"]),),
        dynamo=True,
        opset_version=20,
        input_names=["image"],
        output_names=["result"],
        dynamic_shapes=({0: "batch"},),
        verbose=False,
    )
    assert program is not None
    program.save(str(home / "source" / "model.onnx"), external_data=False)


@dataclass(frozen=True)
class Plan:
    """How long to train, and how fast."""

    epochs: int
    batch: int
    rate: float


def train(
    net: torch.nn.Module, data: Arrays, loss: Callable[..., torch.Tensor], plan: Plan
) -> None:
    """Train on image and label, in place."""
    image, label = torch.from_numpy(data["image"]), torch.from_numpy(data["label"])
    order = np.random.default_rng(SEED)
    batches = -(-len(image) // plan.batch)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    total = plan.epochs * batches
    steps = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate, total_steps=total)
    net.train()
    for _ in range(plan.epochs):
        for rows in np.array_split(order.permutation(len(image)), batches):
            optimizer.zero_grad()
            torch.autograd.backward(loss(net(image[rows]), label[rows]))
            optimizer.step()
            steps.step()


def glyphs() -> dict[str, Arrays]:
    """Images float32 [N, 1, 24, 24] in 0..1 and labels int64 [N], by split."""
    draw = np.random.default_rng(SEED)
    return {name: _drawn(draw, count) for name, count in COUNTS.items()}


def _drawn(draw: np.random.Generator, count: int) -> Arrays:
    label = draw.integers(0, len(GLYPHS), count)
    image = np.stack([_glyph(draw, GLYPHS[index]) for index in label])
    return {"image": image[:, None].astype(np.float32), "label": label}


def _glyph(draw: np.random.Generator, text: str) -> np.ndarray[Any, Any]:
    canvas = Image.new("L", (2 * SIDE, 2 * SIDE))
    font = ImageFont.load_default(float(draw.uniform(13, 22)))
    ImageDraw.Draw(canvas).text((SIDE, SIDE), text, 255, font, anchor="mm")
    canvas = canvas.rotate(float(draw.normal(0, 6)), Image.Resampling.BILINEAR)
    canvas = canvas.filter(ImageFilter.GaussianBlur(float(draw.uniform(0, 1.0))))
    x, y = draw.integers(SIDE // 2 - 2, SIDE // 2 + 3, 2)
    cut = np.asarray(canvas.crop((x, y, x + SIDE, y + SIDE)), np.float32) / 255
    ground, ink = draw.uniform(0, 0.3), draw.uniform(0.5, 1.0)
    noise = draw.normal(0, draw.uniform(0, 0.1), cut.shape)
    image: np.ndarray[Any, Any] = np.clip(ground + (ink - ground) * cut + noise, 0, 1)
    return image


def photos() -> dict[str, Arrays]:
    """Noisy images float32 [N, 3, 48, 48] and the clean ones as their labels, by split."""
    draw = np.random.default_rng(SEED)
    first, second = (image.astype(np.float32) / 255 for image in load_sample_images().images)
    source = {"validation": second}
    return {name: _cut(draw, source.get(name, first), count) for name, count in PATCHES.items()}


def _cut(draw: np.random.Generator, photo: np.ndarray[Any, Any], count: int) -> Arrays:
    corners = zip(
        draw.integers(0, photo.shape[0] - 48, count),
        draw.integers(0, photo.shape[1] - 48, count),
        strict=True,
    )
    clean = np.stack([photo[y : y + 48, x : x + 48] for y, x in corners]).transpose(0, 3, 1, 2)
    noisy = clean + draw.normal(0, NOISE, clean.shape)
    return {"image": noisy.astype(np.float32), "label": np.ascontiguousarray(clean)}


Task = tuple[torch.nn.Module, dict[str, Arrays], "Callable[..., torch.Tensor]", Plan]


def _glyphs() -> Task:
    net = networks.Mobile(len(GLYPHS))
    return net, glyphs(), functional.cross_entropy, Plan(epochs=8, batch=64, rate=6e-3)


def _photos() -> Task:
    return networks.Denoiser(), photos(), functional.mse_loss, Plan(epochs=3, batch=16, rate=4e-3)


_TASKS: dict[str, Callable[[], Task]] = {
    "glyphs": _glyphs,
    "photos": _photos,
}

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
