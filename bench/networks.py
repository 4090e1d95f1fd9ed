# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Small networks of two kinds that are trained by bench/tasks.py."""

from __future__ import annotations

import torch  # noqa: TID251  a benchmark has no doors
from torch import nn  # noqa: TID251


class Mobile(nn.Module):
    """Inverted residuals with depthwise convolutions, batch norm and ReLU6 (arXiv 1801.04381).

    Images float32 [N, 1, 24, 24] to logits [N, classes].
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = _conv(1, 24, 3, stride=2)
        plan = [(24, 24, 1), (24, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
        self.blocks = nn.ModuleList(_Inverted(*sizes) for sizes in plan)
        self.top, self.head = _conv(64, 128, 1), nn.Linear(128, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Run the network."""
        x = self.stem(image)
        for block in self.blocks:
            x = block(x)
        logits: torch.Tensor = self.head(self.top(x).mean((2, 3)))
        return logits


class _Inverted(nn.Module):
    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        wide = 4 * inner
        self.shortcut = stride == 1 and inner == outer
        self.body = nn.Sequential(
            _conv(inner, wide, 1),
            _conv(wide, wide, 3, stride=stride, groups=wide),
            nn.Conv2d(wide, outer, 1, bias=False),
            nn.BatchNorm2d(outer),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.body(x)
        return x + y if self.shortcut else y


def _conv(inner: int, outer: int, size: int, *, stride: int = 1, groups: int = 1) -> nn.Module:
    conv = nn.Conv2d(inner, outer, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outer), nn.ReLU6())


class Denoiser(nn.Module):
    """A small U-Net with a transposed convolution; it predicts the noise and takes it away.

    Images float32 [N, 3, H, W] in 0..1, noisy, to the same without noise; H and W even.
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1), nn.ReLU())
        self.down = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1),
            nn.ReLU(),
        )
        self.up = nn.Sequential(nn.ConvTranspose2d(2 * width, width, 2, 2), nn.ReLU())
        self.last = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, 3, 3, 1, 1)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Run the network."""
        x = self.first(image)
        both = torch.cat([x, self.up(self.down(x))], 1)
        clean: torch.Tensor = image - self.last(both)
        return clean
