# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A small residual network for 8x8 handwritten digits."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

WEIGHTS = Path(__file__).with_name("weights.safetensors")


def _conv_norm(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution and its batch norm: [N, inputs, H, W] -> [N, outputs, H', W']."""
    # The norm's shift takes the place of a convolution bias.
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class DigitsNet(nn.Module):
    """Six convolutions around one residual add: [N, 1, 8, 8] pixels -> [N, 10] logits."""

    def __init__(self) -> None:
        """Build the layers with torch's default random initialisation."""
        super().__init__()
        self.stem = nn.Sequential(
            _conv_norm(1, 16), nn.ReLU(), _conv_norm(16, 32), nn.ReLU()
        )  # [N, 32, 8, 8]
        self.down = nn.Sequential(_conv_norm(32, 48, stride=2), nn.ReLU())  # [N, 48, 4, 4]
        self.branch = nn.Sequential(_conv_norm(48, 48), nn.ReLU(), _conv_norm(48, 48))
        self.join = nn.ReLU()
        self.last = nn.Sequential(_conv_norm(48, 64), nn.ReLU())  # [N, 64, 4, 4]
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map raw pixels, float32 [N, 1, 8, 8] in 0..16, to class logits [N, 10]."""
        # Scaled here, so that nothing outside the graph preprocesses.
        features = self.down(self.stem(image * 0.0625))
        features = self.last(self.join(features + self.branch(features)))
        logits: torch.Tensor = self.head(self.pool(features).flatten(1))
        return logits


def load() -> nn.Module:
    """Return the trained network, in eval mode, on the CPU."""
    net = DigitsNet()
    net.load_state_dict(load_file(WEIGHTS), strict=True)
    return net.eval()
