# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The clean graph against the exported one, run by ONNX Runtime on the probe samples.

One graph is loaded at a time. Packing of weights is off: a node that reads a weight through an
Identity computes other bits when it packs that weight, though the graph means the same.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.backends.onnxruntime import run as onnxruntime
from stages.lib import errors, graphs, layout, weights
from stages.passes import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import onnx_ir as ir

Arrays = dict[str, "np.ndarray[Any, Any]"]

# ONNX Runtime seeds these by their place in the graph, unless the graph gives a seed.
_RANDOM = {
    "Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
}  # fmt: skip

_MEND = "raise models.<m>.sanitize.{atol,rtol} only if the difference does not matter"


@dataclass(kw_only=True)
class Proof:
    """Judges graphs made from the exported one; writes each into `clean` to do so.

    Attributes:
        exported, clean: graph folders; the second is written, and replaced.
        batches: input arrays by name, the same ones at each call.
        threads: of ONNX Runtime.
        atol, rtol: tolerance where equal bits are not asked for.
        limit_bytes: graphs with larger weights are not run.
        unproven: why nothing is run; None while it is.
        worst: largest difference that the accepted graph has; None for equal bits.
        samples: number of samples that were compared.
    """

    exported: Path
    clean: Path
    batches: Callable[[], Iterable[Arrays]]
    threads: int
    atol: float
    rtol: float
    limit_bytes: int
    unproven: str | None = None
    worst: float | None = None
    samples: int = 0
    _reference: list[Arrays] = field(default_factory=list)
    _accepted: list[Arrays] = field(default_factory=list)
    _random: list[str] = field(default_factory=list)
    _written: ir.Model | None = None

    def begin(self, model: ir.Model) -> None:
        """Run the exported graph, which `model` is.

        Raises:
            GraphError: ONNX Runtime refuses it, though all its ops are ONNX's own.
        """
        size = weights.size(model)
        if size > self.limit_bytes:
            self.unproven = (
                f"its weights ({size >> 20} MiB) exceed models.<m>.sanitize.memory_mib"
                f" ({self.limit_bytes >> 20})"
            )
            return
        self._random = sorted({node.op_type for node in model.graph.all_nodes() if _random(node)})
        path = self.exported / layout.GRAPH_FILE
        self.unproven = onnxruntime.lacking(path, model, threads=self.threads) or None
        if self.unproven is None:
            self._reference = self._accepted = self._run(self.exported)
        self.samples = sum(len(next(iter(feeds.values()))) for feeds in self.batches())

    def __call__(self, model: ir.Model, *, exact: bool) -> None:
        """Accept `model`, or say what it changes.

        Args:
            model: the graph to be judged; written into `clean`.
            exact: whether it must give the bits of the graph that was accepted last; else all
                outputs must be within tolerance of the exported graph's.

        Raises:
            ProofError: an output moved.
            GraphError: ONNX Runtime refuses the graph.
        """
        self.write(model)
        if self.unproven is not None:
            return
        found = self._run(self.clean)
        try:
            worst = _compare(self._reference, found, self.atol, self.rtol)
            if exact:
                _compare(self._accepted, found, None, None)
        except errors.ProofError:
            if not self._random:
                raise
            self.unproven = f"its outputs are random: {', '.join(self._random)}"
            return
        self._accepted, self.worst = found, worst

    def write(self, model: ir.Model) -> None:
        """Make `clean` hold `model`."""
        if self._written is not model:
            canonical.arrange(model)
            shutil.rmtree(self.clean, ignore_errors=True)
            graphs.save(model, self.clean)
            self._written = model

    def told(self) -> dict[str, Any]:
        """What the facts record of it."""
        if self.unproven is not None:
            return {"state": "not proven", "reason": self.unproven}
        return {"state": "passed", "samples": self.samples}

    def _run(self, folder: Path) -> list[Arrays]:
        with onnxruntime.runner(
            folder / layout.GRAPH_FILE, threads=self.threads, name=folder.name, packing=False
        ) as runner:
            return [dict(runner.infer(feeds)) for feeds in self.batches()]


def _random(node: ir.Node) -> bool:
    return node.op_type in _RANDOM and "seed" not in node.attributes


def _compare(
    olds: list[Arrays], news: list[Arrays], atol: float | None, rtol: float | None
) -> float | None:
    """Largest difference, None when all bits are equal; without tolerance they must be.

    Raises:
        ProofError: `|new - old| > atol + rtol * |old|` somewhere, or a shape or type differs.
    """
    worst = None
    for old, new in zip(olds, news, strict=True):
        for name, expected in old.items():
            found = new[name]
            like = (expected.shape, expected.dtype) == (found.shape, found.dtype)
            if like and expected.tobytes() == found.tobytes():
                continue
            if atol is None or rtol is None:
                msg = f"it changed bits of output {name!r} on the probe samples"
                raise errors.ProofError(msg, mend=_MEND)
            if not like or not np.allclose(found, expected, atol=atol, rtol=rtol, equal_nan=True):
                msg = (
                    f"it changed output {name!r} on the probe samples by more than"
                    f" {atol} + {rtol} * |value|"
                )
                raise errors.ProofError(msg, mend=_MEND)
            moved = np.abs(expected.astype(float) - found.astype(float))
            worst = max(worst or 0.0, float(np.nan_to_num(moved, nan=0.0).max(initial=0.0)))
    return worst
