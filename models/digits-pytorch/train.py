# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Train the small digits network in PyTorch; write its weights as safetensors.

python models/digits-pytorch/train.py
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "digits"
SEED = 20261
EPOCHS, BATCH, PEAK_RATE, DECAY, SHIFT = 60, 64, 5e-3, 5e-2, 1.0
LEAST_ACCURACY = 0.98

sys.path.insert(0, str(HERE / "source"))
sys.dont_write_bytecode = True  # source/ is hashed as it stands

from model import DigitsNet  # noqa: E402


def read(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images, float32 [N, 1, 8, 8], and labels, int64 [N]."""
    with np.load(path) as file:
        return torch.from_numpy(file["image"]), torch.from_numpy(file["label"])


def shifted(image: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """Shift each image [N, 1, 8, 8] by up to SHIFT pixels each way, bilinearly."""
    theta = np.tile(np.eye(2, 3, dtype=np.float32), (len(image), 1, 1))
    # affine_grid measures in half widths: 4 pixels are 1.
    theta[:, :, 2] = generator.uniform(-SHIFT, SHIFT, (len(image), 2)) / 4
    grid = functional.affine_grid(torch.from_numpy(theta), list(image.shape), align_corners=False)
    return functional.grid_sample(image, grid, align_corners=False)


def train(image: torch.Tensor, label: torch.Tensor) -> nn.Module:
    """Return a network trained on the images, in eval mode."""
    torch.manual_seed(SEED)
    generator = np.random.default_rng(SEED)
    net = DigitsNet().train()
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=DECAY)
    steps = EPOCHS * -(-len(label) // BATCH)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
    for _ in range(EPOCHS):
        order = torch.from_numpy(generator.permutation(len(label)))
        for rows in order.split(BATCH):
            loss = functional.cross_entropy(net(shifted(image[rows], generator)), label[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            rate.step()
    return net.eval()


def main() -> int:
    """Train, check the accuracy, write; return the exit status."""
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(2)
    begin = time.perf_counter()
    weights = safetensors.torch.save(train(*read(DATA / "training.npz")).state_dict())
    # Judge the bytes to be written, not the network they came from.
    net = DigitsNet().eval()
    net.load_state_dict(safetensors.torch.load(weights), strict=True)
    image, label = read(DATA / "samples/validation/000.npz")
    with torch.inference_mode():
        right = int((net(image).argmax(1) == label).sum())
    print(f"validation top-1: {right / len(label):.2%} ({right}/{len(label)})")
    print(f"trained in {time.perf_counter() - begin:.1f} s")
    if right < LEAST_ACCURACY * len(label):
        print(f"below {LEAST_ACCURACY:.0%}: nothing written", file=sys.stderr)
        return 1
    (HERE / "source/weights.safetensors").write_bytes(weights)
    return 0


if __name__ == "__main__":
    sys.exit(main())
