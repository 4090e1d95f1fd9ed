# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Runs candidate graphs on the calibration samples, against the float graph they were made from.

The float graph runs once; its outputs, its weights, which most graphs tried share, and the rows
that single layers are tried on, lie in a scratch folder, so that memory does not grow with the
samples. Validation samples are never read.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.backends import emulation, task
from stages.backends.onnxruntime import run as onnxruntime
from stages.lib import graphs, layout
from stages.quantization import budget, sensitivity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import onnx_ir as ir

    from stages.lib import samples

Arrays = dict[str, "np.ndarray[Any, Any]"]


class Trials:
    """Counts what it runs; `passes` is in passes over all calibration samples."""

    def __init__(
        self,
        scratch: Path,
        split: samples.Split,
        *,
        batch: int,
        threads: int,
        metric: Mapping[str, Any] | None,
        folder: Path,
    ) -> None:
        """Prepare; nothing is run.

        Args:
            scratch: an empty folder.
            split: the calibration samples, with labels where there is a task metric.
            batch: samples in one run.
            threads: threads of ONNX Runtime.
            metric: `models.<m>.metric`, or None if the budget does not ask for it.
            folder: where the user's metric lies.

        Raises:
            MetricError: the user's metric cannot be loaded.
        """
        self._scratch, self._split, self._batch, self._threads = scratch, split, batch, threads
        self._metric = metric or {"kind": "none"}
        self._function = task.metric(self._metric, folder)
        self._fixed = split.batch(0) != 0
        self._labels: np.ndarray[Any, Any] | None = None
        self._references: list[np.ndarray[Any, Any]] = []
        self._weights: graphs.Weights = {}
        self._runs, self.count = 0, split.count()

    @property
    def passes(self) -> float:
        """Samples run through a graph so far, over the number of samples."""
        return round(self._runs / self.count, 2)

    def reference(self, model: ir.Model, part: float) -> None:
        """Run the float graph, and set aside the rows for `alone`: a `part` of all."""
        labels = []
        self._weights = graphs.put_weights(model, self._scratch)
        with self._running(model) as runner:
            for index, batch in enumerate(self._split.batches(self._batch)):
                feeds = {name: batch[name] for name in self._split.inputs}
                outputs = self._infer(runner, feeds)
                _put(self._full(index), _prefixed(_OUTPUT, outputs))
                if self._function is not None:
                    labels.append(batch[self._metric["labels"]])
                    self._references.append(outputs[self._metric["output"]])
        self._labels = np.concatenate(labels) if labels else None
        chosen = sensitivity.select(self._both(), part, whole=self._fixed)
        for index, arrays in enumerate(chosen):
            _put(self._rows(index), arrays)

    def judge(self, model: ir.Model) -> dict[str, float | None]:
        """Figures of a typed graph on all samples, as `budget.figures` gives them.

        Args:
            model: rewritten in place to emulate its low types.
        """
        found, outputs = budget.Errors(), []
        with self._running(model) as runner:
            for index, feeds in enumerate(self._split.feeds(self._batch)):
                got = self._infer(runner, feeds)
                found.add(_stripped(_OUTPUT, _get(self._full(index))), got)
                if self._function is not None:
                    outputs.append(got[self._metric["output"]])
        return budget.figures(found, self._drop(outputs))

    def alone(self, model: ir.Model) -> float:
        """Noise power relative to the signal on the rows set aside; `model` as for `judge`."""
        found, index = budget.Errors(), 0
        with self._running(model) as runner:
            while self._rows(index).exists():
                arrays = _get(self._rows(index))
                feeds, outputs = _stripped(_FEED, arrays), _stripped(_OUTPUT, arrays)
                found.add(outputs, self._infer(runner, feeds))
                index += 1
        return found.noise()

    def _both(self) -> Iterator[Arrays]:
        for index, feeds in enumerate(self._split.feeds(self._batch)):
            yield _prefixed(_FEED, feeds) | _get(self._full(index))

    def _drop(self, outputs: list[np.ndarray[Any, Any]]) -> float | None:
        if self._function is None or self._labels is None:
            return None
        name = self._metric["entry"] or self._metric["kind"]
        reference, found = (np.concatenate(arrays) for arrays in (self._references, outputs))
        drop: float = task.measure(self._function, name, reference, found, self._labels)["drop"]
        return drop

    @contextlib.contextmanager
    def _running(self, model: ir.Model) -> Iterator[Any]:
        emulation.emulate(model)
        path = self._scratch / layout.GRAPH_FILE
        graphs.save_sharing(model, path, self._weights)
        with onnxruntime.runner(path, threads=self._threads, name="trial") as runner:
            yield runner

    def _infer(self, runner: Any, feeds: Arrays) -> Arrays:
        self._runs += len(next(iter(feeds.values())))
        return dict(runner.infer(feeds))

    def _full(self, index: int) -> Path:
        return self._scratch / f"reference-{index}.npz"

    def _rows(self, index: int) -> Path:
        return self._scratch / f"rows-{index}.npz"


# An input and an output may share a name, and either may be called as a parameter of savez.
_FEED, _OUTPUT = "feed ", "output "


def _prefixed(prefix: str, arrays: Arrays) -> Arrays:
    return {prefix + name: array for name, array in arrays.items()}


def _stripped(prefix: str, arrays: Arrays) -> Arrays:
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def _put(path: Path, arrays: Arrays) -> None:
    np.savez(path, allow_pickle=False, **arrays)


def _get(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
