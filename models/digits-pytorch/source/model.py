# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A small residual network for 8x8 handwritten digits; its weights come from params.yaml."""

from __future__ import annotations

import torch
from torch import nn


def _conv_norm(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution and its batch norm: [N, inputs, H, W] -> [N, outputs, H', W']."""
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class DigitsNet(nn.Module):
    """Four convolutions around one residual add: [N, 1, 8, 8] pixels -> [N, 10] logits."""

    def __init__(self) -> None:
        """Build the layers with torch's default random initialisation."""
        super().__init__()
        self.stem = nn.Sequential(_conv_norm(1, 24), nn.ReLU())  # [N, 24, 8, 8]
        self.down = nn.Sequential(_conv_norm(24, 40, stride=2), nn.ReLU())  # [N, 40, 4, 4]
        self.branch = nn.Sequential(_conv_norm(40, 40), nn.ReLU(), _conv_norm(40, 40))
        self.join = nn.ReLU()
        self.head = nn.Linear(40, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map raw pixels, float32 [N, 1, 8, 8] in 0..16, to class logits [N, 10]."""
        features = self.down(self.stem(image * 0.0625))
        features = self.join(features + self.branch(features))
        logits: torch.Tensor = self.head(features.mean((2, 3)))
        return logits
