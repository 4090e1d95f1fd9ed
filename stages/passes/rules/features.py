# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Features: operators of ai.onnx.ml and n-grams that a few comparisons make up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from stages.passes.rules import make

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_ir.tape import Tape

    from stages.passes.rules.make import Array, Maker, Result, Rule

_FLOAT: Final = ir.DataType.FLOAT
_NUMBERS: Final = {_FLOAT, ir.DataType.DOUBLE, ir.DataType.INT32, ir.DataType.INT64}
_MOST_COMPARED: Final = 1 << 20


def binarizer(node: ir.Node, tape: Tape) -> Result:
    """Binarizer: 1 above the threshold, 0 elsewhere."""
    value = node.inputs[0]
    if value is None or value.dtype not in {_FLOAT, ir.DataType.DOUBLE}:
        return None
    maker = make.Maker(node, tape)
    threshold = maker.array(node.attributes.get_float("threshold", 0.0), value.dtype)
    return [maker.cast(maker("Greater", value, threshold), value.dtype)]


def feature_extractor(node: ir.Node, tape: Tape) -> Result:
    """ArrayFeatureExtractor: columns by number; those of a vector make a matrix of one row."""
    value, places = node.inputs
    rank = make.rank(value)
    if value is None or value.dtype not in _NUMBERS or not rank:
        return None
    maker = make.Maker(node, tape)
    columns = maker("Gather", value, maker("Reshape", places, maker.ints(-1)), axis=-1)
    return [columns if rank > 1 else maker("Unsqueeze", columns, maker.ints(0))]


def ngrams(node: ir.Node, tape: Tape) -> Result:
    """TfIdfVectorizer of numbers: each window is compared with each n-gram of the pool."""
    value, attributes = node.inputs[0], node.attributes
    shape = make.shape(value)
    pool, indexes = attributes.get_ints("pool_int64s"), attributes.get_ints("ngram_indexes")
    if value is None or not shape or not shape[-1] or not pool or not indexes:
        return None
    if value.dtype not in {ir.DataType.INT32, ir.DataType.INT64} or len(shape) > 2:  # noqa: PLR2004
        return None
    grams = _grams(pool, attributes.get_ints("ngram_counts") or [])
    known = [tuple(gram) for gram in grams]
    if len(known) != len(indexes) or len(set(known)) != len(known):
        return None
    if shape[-1] * len(known) > _MOST_COMPARED or shape[0] == 0:
        return None
    maker = make.Maker(node, tape)
    counts = _counts(node, maker, value, grams, shape[-1])
    if counts is None:
        return None
    return [_weighted(node, maker, counts, max(indexes) + 1)]


def _grams(pool: Sequence[int], counts: Sequence[int]) -> list[list[int]]:
    """N-grams in the order of the pool; `counts` says where those of each length begin."""
    result = []
    bounds = [*counts, len(pool)]
    for size in range(1, len(counts) + 1):
        part = pool[bounds[size - 1] : bounds[size]]
        result += [list(part[i : i + size]) for i in range(0, len(part) - size + 1, size)]
    return result


def _counts(
    node: ir.Node, maker: Maker, value: ir.Value, grams: list[list[int]], length: int
) -> ir.Value | None:
    """How often each n-gram occurs, by column of the result: [..., columns], float32."""
    attributes = node.attributes
    least, most = attributes.get_int("min_gram_length"), attributes.get_int("max_gram_length")
    columns = attributes.get_ints("ngram_indexes")
    numbers = maker.cast(value, ir.DataType.INT64)
    total: ir.Value | None = None
    for size in range(least, most + 1):
        mine = [i for i, gram in enumerate(grams) if len(gram) == size]
        if not mine:
            continue
        places = np.zeros((len(mine), max(columns) + 1))
        places[np.arange(len(mine)), [columns[i] for i in mine]] = 1
        content = np.array([grams[i] for i in mine])
        skips = range(1, 2 if size == 1 else attributes.get_int("max_skip_count") + 2)
        for skip in skips:
            count = length - (size - 1) * skip
            if count < 1:
                break
            hits = _hits(maker, numbers, content, count, skip)
            part = maker("MatMul", hits, maker.array(places, _FLOAT))
            total = part if total is None else maker("Add", total, part)
    if total is None:
        return None
    rank = make.rank(value) or 0
    return maker("ReduceSum", total, maker.ints(rank - 1), keepdims=0) if rank else None


def _hits(maker: Maker, numbers: ir.Value, content: Array, count: int, skip: int) -> ir.Value:
    """Windows equal to n-grams: [..., 1, n-grams], summed over windows, float32."""
    size = content.shape[1]
    places = np.arange(count)[:, None] + np.arange(size)[None, :] * skip
    windows = maker("Gather", numbers, maker.array(places, ir.DataType.INT64), axis=-1)
    apart = maker("Unsqueeze", windows, maker.ints(-2))
    same = maker("Equal", apart, maker.array(content, ir.DataType.INT64))
    whole = maker("ReduceMin", maker.cast(same, _FLOAT), maker.ints(-1), keepdims=0)
    return maker("ReduceSum", whole, maker.ints(-2), keepdims=1)


def _weighted(node: ir.Node, maker: Maker, counts: ir.Value, columns: int) -> ir.Value:
    mode = node.attributes.get_string("mode")
    weights = node.attributes.get_floats("weights") or [1.0] * columns
    if mode == "TF":
        return counts
    shares = maker.array(weights, _FLOAT)
    if mode == "TFIDF":
        return maker("Mul", shares, counts)
    there = maker("Greater", counts, maker.array(0, _FLOAT))
    return maker("Where", there, shares, maker.array(0, _FLOAT))


RULES: Final[dict[str, Rule]] = {
    "ai.onnx.ml:Binarizer": binarizer,
    "ai.onnx.ml:ArrayFeatureExtractor": feature_extractor,
    "TfIdfVectorizer": ngrams,
}
