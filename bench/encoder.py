# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A sentence encoder: all-MiniLM-L6-v2, with weights that lie beside this file.

BERT (arXiv 1810.04805) with 6 layers, then mean pooling and L2 norm as in sentence-transformers.
bench/transformer.py copies it into a project as the source of a model.
"""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch  # noqa: TID251  a benchmark has no doors
from torch import nn  # noqa: TID251
from torch.nn import functional  # noqa: TID251

LAYERS, WIDTH, HEADS, HIDDEN, EPSILON = 6, 384, 12, 1536, 1e-12
VOCABULARY, POSITIONS = 30522, 512


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.norm_1, self.norm_2 = (nn.LayerNorm(WIDTH, eps=EPSILON) for _ in range(2))
        self.fc1, self.fc2 = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        split = (batch, length, HEADS, WIDTH // HEADS)
        query, key, value = (
            part(x).reshape(split).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(2, 3) / (WIDTH // HEADS) ** 0.5 + mask
        mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).reshape(batch, length, WIDTH)
        x = self.norm_1(x + self.out(mixed))
        normed: torch.Tensor = self.norm_2(x + self.fc2(functional.gelu(self.fc1(x))))
        return normed


class Encoder(nn.Module):
    """Token ids and mask, int64 [batch, seq], to unit embeddings, float32 [batch, 384]."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Embedding(POSITIONS, WIDTH)
        self.kinds = nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.layers = nn.ModuleList(_Layer() for _ in range(LAYERS))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Encode."""
        places = torch.arange(input_ids.shape[1])
        x = self.norm(self.words(input_ids) + self.kinds.weight[0] + self.places(places))
        present = attention_mask.to(x.dtype)
        mask = (1.0 - present)[:, None, None, :] * -10000.0
        for layer in self.layers:
            x = layer(x, mask)
        weights = present[:, :, None]
        mean = (x * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return functional.normalize(mean, dim=1)


def load() -> Encoder:
    """The encoder with its published weights."""
    tensors = safetensors.torch.load_file(Path(__file__).with_name("model.safetensors"))
    tensors.pop("embeddings.position_ids", None)
    names = {_own_name(name): tensor for name, tensor in tensors.items() if "pooler" not in name}
    encoder = Encoder()
    encoder.load_state_dict(names)
    return encoder.eval()


def _own_name(name: str) -> str:
    for theirs, ours in (
        ("embeddings.word_embeddings", "words"),
        ("embeddings.position_embeddings", "places"),
        ("embeddings.token_type_embeddings", "kinds"),
        ("embeddings.LayerNorm", "norm"),
        ("encoder.layer", "layers"),
        ("attention.self.", ""),
        ("attention.output.dense", "out"),
        ("attention.output.LayerNorm", "norm_1"),
        ("intermediate.dense", "fc1"),
        ("output.dense", "fc2"),
        ("output.LayerNorm", "norm_2"),
    ):
        name = name.replace(theirs, ours)
    return name
