# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the opened graph batch by batch and keeps what is to be kept of each activation.

Memory holds the activations of one run, whose samples are as many as fit in a limit: the first run
of a batch's shapes takes one sample, and from then on the size of its activations is known.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from stages.calibration import extremes, observations
from stages.calibration.histogram import Histogram
from stages.lib import errors, observed

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

    from stages.calibration.extremes import Extremes

Array = np.ndarray[Any, Any]
Feed = dict[str, Array]


class Observer:
    """Histograms and extremes, from one run after the other.

    Use it as a context manager: it holds threads.

    Args:
        axes: channel axis by name of each activation to observe.
        ranged: names of those that get a histogram.
        bins: of a histogram.
        memory: most bytes of activations in one run of more than one sample.
        threads: tensors that are counted at a time; it changes no count.
        fixed: whether the graph's batch is fixed, so that a batch cannot be cut.
    """

    def __init__(
        self,
        axes: Mapping[str, int],
        ranged: Container[str],
        *,
        bins: int,
        memory: int,
        threads: int,
        fixed: bool,
    ) -> None:
        self._axes, self._bins, self._memory, self._fixed = axes, bins, memory, fixed
        self._histograms = {name: Histogram(bins) for name in axes if name in ranged}
        self._channels: dict[str, Extremes] = {}
        self._digest = observed.DataDigest()
        self._shapes: dict[str, set[tuple[int, ...]]] = {}
        self._infinite: dict[str, str] = {}
        self._samples, self._room = 0, 1
        self._last: tuple[Any, ...] = ()
        self._threads, self._pool = threads, ThreadPoolExecutor(threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def observe(self, batch: Feed, infer: Callable[[Feed], Mapping[str, Array]]) -> None:
        """Run a batch, in as many pieces as memory asks for, and count what comes out.

        Raises:
            CalibrationError: an activation is NaN.
        """
        self._digest.add(batch)
        for name, array in batch.items():
            self._shapes.setdefault(name, set()).add(array.shape[1:])
        for piece in self._pieces(batch):
            self._run(piece, infer)

    def _run(self, piece: Feed, infer: Callable[[Feed], Mapping[str, Array]]) -> None:
        """One run; its activations are gone when it returns, before the next one makes its own."""
        size = len(next(iter(piece.values())))
        results = {**infer(piece), **piece}
        self._count(results, size)
        activations = sum(array.nbytes for array in results.values())
        self._room = max(1, self._memory * size // max(activations, 1))
        self._samples += size

    def _pieces(self, batch: Feed) -> Iterator[Feed]:
        length = len(next(iter(batch.values())))
        if self._fixed:
            yield batch
            return
        shapes = tuple(sorted((name, array.shape[1:]) for name, array in batch.items()))
        if shapes != self._last:  # their activations may be of any size
            self._room, self._last = 1, shapes
        start = 0
        while start < length:
            end = min(start + self._room, length)
            yield {name: array[start:end] for name, array in batch.items()}
            start = end

    def _count(self, results: Mapping[str, Array], size: int) -> None:
        # Largest first, so that the threads end together.
        names = iter(sorted(self._axes, key=lambda name: -results[name].size))
        found: dict[str, Extremes] = {}

        def work(_: int) -> None:
            for name in names:  # each takes the next; tensors share nothing
                found[name] = self._one(name, results[name])

        list(self._pool.map(work, range(self._threads)))
        for name in self._axes:  # in the graph's order: the first NaN is the one to look at
            new = found[name]
            if math.isnan(new.highest):
                raise self._nan(name, results[name], size)
            if name not in self._infinite and np.isinf(new.maxima).any():
                self._infinite[name] = self._where(~np.isfinite(results[name]), size)
            old = self._channels.get(name)
            self._channels[name] = new if old is None else old.merge(new)

    def _one(self, name: str, values: Array) -> Extremes:
        histogram = self._histograms.get(name)
        return extremes.scan(values, self._axes[name], histogram.add if histogram else None)

    def _nan(self, name: str, values: Array, size: int) -> errors.CalibrationError:
        """Infinity has its uses (a mask before a softmax) and is recorded; NaN has none."""
        where = self._where(np.isnan(values), size)
        return errors.CalibrationError(
            f"activation {name!r} is NaN on calibration {where}: no range can hold it",
            mend="look at the data there, and at the model's arithmetic on it; then run again",
        )

    def _where(self, bad: Array, size: int) -> str:
        if bad.shape[:1] == (size,):  # else the batch is not its first axis
            which = int(np.argmax(bad.reshape(size, -1).any(axis=1)))
            return f"sample {self._samples + which}"
        if size == 1:
            return f"sample {self._samples}"
        return f"samples {self._samples} to {self._samples + size - 1}"

    def arrays(self, graph: str, needed: Container[str]) -> observations.Arrays:
        """What observations.npz holds, for the graph with this digest and these needed tensors."""
        return observations.pack(
            self._histograms,
            self._channels,
            self._axes,
            needed=needed,
            bins=self._bins,
            samples=self._samples,
            graph=graph,
            data=self._digest.hexdigest(),
        )

    def notes(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """`notes` for the reader, and `infinite`: where each infinite activation was first seen."""
        notes = []
        if self._samples == 1:
            notes.append("one sample: its ranges say little about any other")
        for name, spec in inputs.items():
            for axis, symbol in enumerate(spec["shape"][1:]):
                sizes = {shape[axis] for shape in self._shapes.get(name, ())}
                if isinstance(symbol, str) and len(sizes) == 1:
                    notes.append(
                        f"{symbol!r} of input {name!r} may vary, and is {sizes.pop()} in every"
                        " calibration sample: the ranges know no other size"
                    )
        if self._infinite:
            name, where = next(iter(self._infinite.items()))
            notes.append(
                f"{len(self._infinite)} activations are infinite somewhere and get no range;"
                f" the first is {name!r}, on {where}"
            )
        return {"notes": notes, "infinite": dict(self._infinite)}
