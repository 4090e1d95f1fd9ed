# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Real sentences, from the language reference that Python carries, and their tokens."""

from __future__ import annotations

import re
from pydoc_data import topics
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer

if TYPE_CHECKING:
    from pathlib import Path

_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_FEWEST_WORDS, _MOST_WORDS, _LETTERS = 6, 45, 0.9


def sentences(count: int) -> list[str]:
    """`count` sentences drawn from all over the reference; the first ones are the same for more."""
    found: list[str] = []
    for topic in topics.topics.values():
        for paragraph in re.split(r"\n\s*\n", topic):
            text = " ".join(paragraph.split())
            found += [sentence for sentence in _END.split(text) if _plain(sentence)]
    known = list(dict.fromkeys(found))
    order = np.random.default_rng(0).permutation(len(known))
    return [known[index] for index in order[:count]]


def tokens(texts: list[str], tokenizer: Path, length: int) -> dict[str, Any]:
    """Ids and mask, int64 [texts, length]; longer texts are cut, shorter ones padded."""
    made = Tokenizer.from_file(str(tokenizer))
    made.enable_truncation(length)
    made.enable_padding(length=length)
    encoded = made.encode_batch(texts)
    return {
        "input_ids": np.array([one.ids for one in encoded], np.int64),
        "attention_mask": np.array([one.attention_mask for one in encoded], np.int64),
    }


def _plain(sentence: str) -> bool:
    """Whether it is prose rather than code or a table."""
    words, letters = sentence.split(), sum(c.isalpha() or c == " " for c in sentence)
    return (
        _FEWEST_WORDS <= len(words) <= _MOST_WORDS
        and sentence[-1] in ".!?"
        and sentence[0].isupper()
        and letters > _LETTERS * len(sentence)
    )
