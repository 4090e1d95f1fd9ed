# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What a served model must answer: samples, and the answers that were validated.

A package that serves its graph computes what `validate` computed, so its answers are those, within
`verify.rtol` of the largest. One that serves its plan is held to its gate on noise, against the
exported graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.backends import emulation
from stages.backends.onnxruntime import run as onnxruntime
from stages.lib import files, graphs, layout, samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stages.lib.params import Params

    Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Expected:
    """Validation samples, what they must give, and how far off answers may be.

    Attributes:
        inputs: by name; the first axis counts samples.
        outputs: likewise; what was validated.
        judge: figures of answers, given them and those expected, and whether these will do.
    """

    inputs: Arrays
    outputs: Arrays
    judge: Callable[[Arrays, Arrays], tuple[str, bool]]

    def rows(self, start: int, count: int) -> tuple[Arrays, Arrays]:
        """`count` samples from `start` on, and their answers; from the front again at the end."""
        total = len(next(iter(self.inputs.values())))
        index = np.arange(start, start + count) % total
        return (
            {name: array[index] for name, array in self.inputs.items()},
            {name: array[index] for name, array in self.outputs.items()},
        )


def make(document: Params, engine: str, runtime: str, *, batched: bool) -> Expected:
    """Run the graph that judges `engine` on validation samples, batched as in validation.

    Args:
        document: params.yaml.
        engine: its key.
        runtime: `serving.runtime`.
        batched: whether rows can be sent one by one; else one batch is taken as it is.
    """
    model = document.param(f"engines.{engine}.model")
    size = document.param(f"engines.{engine}.validation_batch")
    split = samples.Split(
        folder=layout.samples(model, "validation"), inputs=document.param(f"models.{model}.inputs")
    )
    feeds = list(_alike(split.feeds(size))) if batched else [next(iter(split.feeds(size)))]
    threads = document.param(f"models.{model}.threads")
    with files.scratch() as folder:
        graph = layout.exported(model) / layout.GRAPH_FILE
        if runtime == "onnxruntime":
            typed = graphs.load(layout.typed(engine))
            emulation.emulate(typed)
            graphs.save(typed, folder / "emulated")
            graph = folder / "emulated" / layout.GRAPH_FILE
        with onnxruntime.runner(graph, threads=threads, name="validated") as runner:
            answers = [{n: np.array(a) for n, a in runner.infer(feed).items()} for feed in feeds]
    judge = _near(document.param("verify.rtol"))
    if runtime == "plan":
        judge = _above(document.param(f"engines.{engine}.gates.min_sqnr_db"))
    return Expected(_joined(feeds), _joined(answers), judge)


def _alike(feeds: Iterator[Arrays]) -> Iterator[Arrays]:
    """Batches of the first one's shapes but for the batch: others cannot be joined to them."""
    first = None
    for feed in feeds:
        shapes = {name: array.shape[1:] for name, array in feed.items()}
        first = first or shapes
        if shapes == first:
            yield feed


def _joined(parts: list[Arrays]) -> Arrays:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _near(rtol: float) -> Callable[[Arrays, Arrays], tuple[str, bool]]:
    def judge(found: Arrays, expected: Arrays) -> tuple[str, bool]:
        moved = max(distance(found[name], expected[name]) for name in expected)
        return f"off by {moved:.1e} of the largest, of {rtol:.1e} allowed", moved <= rtol

    return judge


def distance(found: Any, expected: Any) -> float:
    """Largest difference, relative to the largest expected value; infinity for other shapes."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return float("inf")
    if np.array_equal(found, expected, equal_nan=expected.dtype.kind == "f"):
        return 0.0
    a, b = found.astype(np.float64), expected.astype(np.float64)
    largest = float(np.abs(b).max())
    return float(np.abs(a - b).max()) / largest if largest else float("inf")


def _above(limit: float | None) -> Callable[[Arrays, Arrays], tuple[str, bool]]:
    def judge(found: Arrays, expected: Arrays) -> tuple[str, bool]:
        worst = min(_sqnr(found[name], expected[name]) for name in expected)
        text = "no gate" if limit is None else f"its gate: {limit:.1f} dB"
        return f"{worst:.1f} dB over noise, {text}", limit is None or worst >= limit

    return judge


def _sqnr(found: Any, expected: Any) -> float:
    if found.shape != expected.shape:
        return float("-inf")
    a, b = found.astype(np.float64), expected.astype(np.float64)
    noise, signal = float(((a - b) ** 2).sum()), float((b**2).sum())
    if not np.isfinite(noise):
        return float("-inf")
    return float("inf") if not noise else 10 * float(np.log10(signal / noise)) if signal else 0.0
