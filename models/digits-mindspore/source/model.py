# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A small residual network for 8x8 handwritten digits, in MindSpore."""

from __future__ import annotations

from typing import Any

from mindspore import nn, ops


def _conv_norm(inputs: int, outputs: int, stride: int = 1) -> nn.SequentialCell:
    """Return a 3x3 convolution and its batch norm: [N, inputs, H, W] -> [N, outputs, H', W']."""
    # The norm's shift takes the place of a convolution bias.
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, pad_mode="pad", padding=1, has_bias=False)
    return nn.SequentialCell(conv, nn.BatchNorm2d(outputs))


class DigitsNet(nn.Cell):
    """Four convolutions around one residual add: [N, 1, 8, 8] pixels -> [N, 10] logits."""

    def __init__(self) -> None:
        """Build the layers with MindSpore's default random initialisation."""
        super().__init__()
        self.stem = _conv_norm(1, 16)
        self.down = _conv_norm(16, 32, stride=2)
        self.branch = _conv_norm(32, 32)
        self.last = _conv_norm(32, 64, stride=2)
        self.head = nn.Dense(64, 10)

    def construct(self, image: Any) -> Any:
        """Map raw pixels, float32 [N, 1, 8, 8] in 0..16, to class logits [N, 10]."""
        # Scaled here, so that nothing outside the graph preprocesses.
        features = ops.relu(self.down(ops.relu(self.stem(image * 0.0625))))
        features = ops.relu(features + self.branch(features))
        features = ops.relu(self.last(features))
        return self.head(features.mean((2, 3)))
