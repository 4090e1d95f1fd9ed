# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Observations, caches, JSON documents and texts, recorded against made again."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.lib import caches
from stages.verification.verdicts import DIFFERENT, EQUIVALENT, Verdict, names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Arrays = dict[str, np.ndarray[Any, Any]]

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CODE = re.compile(r"code\.(?:\w+\.)?(stages/.+)")  # of facts, and by stage of a manifest
_SIZE = re.compile(r"files\..+\.bytes")  # of a manifest
# Arrays of observations that count values; `counts` holds them all.
_COUNTS = ("counts", "negative", "zeros")
REPEATED = "it names digests of what is judged by itself"


def arrays(recorded: Path, rebuilt: Path, rtol: float) -> Verdict:
    """Two .npz files: other floats within `rtol` of the largest in their array are equivalent.

    So are the counts of observations (stages/calibration/observations.py) of which no more than
    `rtol` of all values fell into another bin.
    """
    with np.load(recorded) as one, np.load(rebuilt) as other:
        a, b = ({name: file[name] for name in file.files} for file in (one, other))
    if {n: (x.shape, x.dtype) for n, x in a.items()} != {
        n: (x.shape, x.dtype) for n, x in b.items()
    }:
        return Verdict(DIFFERENT, ("other arrays, or of other shapes",))
    lines, kind = [], EQUIVALENT
    for name in (name for name in a if not np.array_equal(a[name], b[name])):
        moved = _moved(a, b, name)
        lines.append(f"{name}: moved by {moved:.1e}{_tensors(a, b, name)}")
        if moved > rtol:
            kind = DIFFERENT
    return Verdict(kind, tuple(lines) or ("the same arrays, stored otherwise",))


def _moved(a: Arrays, b: Arrays, name: str) -> float:
    """How far values moved: floats relative to the largest, counts as a share of all."""
    one, other = a[name], b[name]
    if one.dtype.kind == "f":
        rest = np.isfinite(one) & np.isfinite(other)
        if not np.array_equal(one[~rest], other[~rest], equal_nan=True):
            return math.inf
        return relative(one[rest], other[rest])
    if name in _COUNTS:
        share = float(np.abs(one - other).sum() / max(a["counts"].sum(), 1))
        return share / 2 if name == "counts" else share  # a value leaves one bin, and enters one
    return math.inf


def relative(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Largest |a - b|, relative to the largest |a|; infinity where one of them is not a number."""
    if not a.size:
        return 0.0
    a, b = a.astype(np.float64), b.astype(np.float64)
    if np.array_equal(a, b, equal_nan=True):
        return 0.0
    largest, distance = float(np.abs(a).max()), float(np.abs(a - b).max())
    return distance / largest if largest and math.isfinite(distance) else math.inf


def _tensors(a: Arrays, b: Arrays, name: str) -> str:
    """Which tensors an array of observations moved in."""
    known = a.get("names")
    if known is None or a[name].ndim == 0:
        return ""
    rows = np.flatnonzero((a[name] != b[name]).reshape(len(a[name]), -1).any(axis=1))
    if name == "channel_maxima":
        rows = np.unique(np.searchsorted(a["channel_offsets"], rows, side="right") - 1)
    elif len(a[name]) != len(known):
        ranged = a.get("ranged")
        if ranged is None or len(a[name]) != len(ranged):
            return ""
        rows = ranged[rows]
    return ", " + names("tensors", [str(tensor) for tensor in known[rows]])


def cache(recorded: Path, rebuilt: Path, rtol: float) -> Verdict:
    """Two calibration caches: the same tensors with scales within `rtol` are equivalent."""
    a, b = (caches.parse(path.read_bytes(), str(path)) for path in (recorded, rebuilt))
    heads = [(cache.version, cache.algorithm, list(cache.scales)) for cache in (a, b)]
    if heads[0] != heads[1]:
        return Verdict(DIFFERENT, ("another header, or other tensors",))
    pairs = {name: (np.array([a.scales[name]]), np.array([b.scales[name]])) for name in a.scales}
    moved = {name: relative(*pair) for name, pair in pairs.items() if pair[0] != pair[1]}
    lines = (names("scales", [f"{name} by {by:.1e}" for name, by in moved.items()]),)
    return Verdict(DIFFERENT if any(by > rtol for by in moved.values()) else EQUIVALENT, lines)


def document(recorded: Path, rebuilt: Path, rtol: float) -> Verdict:
    """Two JSON documents: numbers within `rtol`, and digests and sizes of others, may differ."""
    kind, lines, repeated = EQUIVALENT, [], False
    code: set[str] = set()
    ends = [json.loads(path.read_bytes()) for path in (recorded, rebuilt)]
    for place, a, b in _leaves("", *ends):
        if ran := _CODE.match(place):
            code.add(ran[1])
        elif _SIZE.fullmatch(place) or (_is_digest(a) and _is_digest(b)):
            repeated = True
        elif _close(a, b, rtol):
            lines.append(f"{place}: {a} and {b}")
        else:
            kind = DIFFERENT
            lines.append(f"{place}: {_short(a)} and {_short(b)}")
    if code:
        lines.append(names("other code files", sorted(code)))
    if repeated:
        lines.append(REPEATED)
    return Verdict(kind, tuple(lines) or ("the same values, written otherwise",))


def _leaves(place: str, a: Any, b: Any) -> Iterator[tuple[str, Any, Any]]:
    """Places where two documents differ, such as `details.plan.bytes`, with both values."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            yield from _leaves(f"{place}.{key}".lstrip("."), a.get(key), b.get(key))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, pair in enumerate(zip(a, b, strict=True)):
            yield from _leaves(f"{place}[{index}]", *pair)
    elif a != b or type(a) is not type(b):
        yield place, a, b


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _close(a: Any, b: Any, rtol: float) -> bool:
    if not isinstance(a, float) or not isinstance(b, float):
        return False
    return abs(a - b) <= rtol * max(abs(a), abs(b))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004 (one line of a terminal)


def text(recorded: Path, rebuilt: Path, rtol: float) -> Verdict:
    """Two texts, such as a picture in SVG: the same but for numbers within `rtol`."""
    a, b = recorded.read_text("utf-8"), rebuilt.read_text("utf-8")
    if _NUMBER.sub("\0", a) != _NUMBER.sub("\0", b):
        return Verdict(DIFFERENT, ("another text",))
    pairs = [
        (x, y)
        for x, y in zip(_NUMBER.findall(a), _NUMBER.findall(b), strict=True)
        if float(x) != float(y)
    ]
    close = all(_close(float(x), float(y), rtol) for x, y in pairs)
    line = names("numbers", [f"{x} and {y}" for x, y in pairs])
    return Verdict(EQUIVALENT if close else DIFFERENT, (line,))
