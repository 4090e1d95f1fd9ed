# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed: all of `export`, then `sanitize` of what it lets through."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ruamel.yaml import YAML

from stages import export
from stages.exporters.api import Order
from stages.exporters.onnx import exporter
from stages.lib import confined, errors, graphs
from stages.passes import sequence
from stages.passes.api import Context
from stages.passes.proof import Proof
from tests.fuzzing import mutations

ROOT = Path(__file__).parents[2]
LIMITS = {"memory_mib": 1024, "seconds": 20}
_CRASH = "crashed the process"


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one attempt ended.

    Attributes:
        end: "accepted", or the name of the error.
        failed: whether it must not end so.
        model, text: which model was mutated, and what was said.
        file: the mutant, kept where it failed.
    """

    end: str
    failed: bool
    model: str
    text: str
    seconds: float
    file: Path | None = None


class Samples:
    """Probe samples that fit the mutated model's own inputs."""

    def __init__(self, feeds: dict[str, Any]) -> None:
        self.all = feeds

    def count(self) -> int:
        return 1

    def is_fixed(self) -> bool:
        return True

    def feeds(self, batch: int) -> Any:  # noqa: ARG002 (the interface)
        yield self.all


def mutant(bases: dict[str, bytes], seed: int, index: int) -> tuple[str, bytes]:
    """The mutant of that number: name of its model, and its bytes."""
    rng = np.random.default_rng([seed, index])
    names = list(bases)
    name, other = (names[int(rng.integers(0, len(names)))] for _ in range(2))
    mutate = mutations.of_bytes if rng.random() < 0.25 else mutations.of_structure
    try:
        return name, mutate(bases[name], bases[other], rng)
    except (TypeError, ValueError, RecursionError):  # protobuf refuses to write it
        return name, mutations.of_bytes(bases[name], bases[other], rng)


def attempt(bases: dict[str, bytes], seed: int, index: int, *, keep: Path | None = None) -> Result:
    """Run one mutant; nothing but a failure with a name of its own may come of it."""
    name, data = mutant(bases, seed, index)
    result = run(data, bases[name], name)
    if result.failed and keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        file = keep / f"{seed}-{index}.onnx"
        file.write_bytes(data)
        return Result(**{**vars(result), "file": file})
    return result


def run(data: bytes, base: bytes, name: str) -> Result:
    """Run one file, against the interface of the model that it was made from."""
    begin = time.monotonic()
    end, text, failed = "accepted", "", False
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        source.mkdir()
        (source / "net.onnx").write_bytes(data)
        try:
            confined.run(
                lambda: _work(source, base), LIMITS, what="net.onnx", key="limits", label=name
            )
        except errors.EngineryError as error:
            end, text = type(error).__name__, error.what
            failed = not error.mend
            if _CRASH in text:
                end = "contained crash"
        except BaseException as error:
            end, text, failed = (
                "unexpected",
                f"{error}\n{''.join(getattr(error, '__notes__', []))}",
                True,
            )
        strangers = {path.name for path in Path(scratch).iterdir()} - {"source", "out", "clean"}
        if strangers or [path.name for path in source.iterdir()] != ["net.onnx"]:
            end, text, failed = "files outside", str(strangers), True
    return Result(end=end, failed=failed, model=name, text=text, seconds=time.monotonic() - begin)


def _work(source: Path, base: bytes) -> None:
    # What libraries print of a broken graph is not of interest here.
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    model = onnx.ModelProto.FromString(base)
    order = Order(
        source=source,
        entry="net.onnx",
        inputs=_inputs(model),
        outputs=[value.name for value in model.graph.output],
        opset=None,
    )
    feeds = {name: _values(spec) for name, spec in order.inputs.items()}
    out, probe = source.parent / "out", Samples(feeds)
    exporter.export(order, feeds, out)
    export._check(None, order, probe, out, "models.m", {})  # type: ignore[arg-type]
    settings = YAML(typ="safe").load(ROOT / "params.yaml")["models"]["digits"]["sanitize"]
    proof = Proof(
        exported=out,
        clean=source.parent / "clean",
        batches=lambda: probe.feeds(1),
        threads=1,
        atol=settings["atol"],
        rtol=settings["rtol"],
        limit_bytes=settings["memory_mib"] << 20,
    )
    graph = graphs.load(out)
    proof.begin(graph)
    context = Context(fold_limit_bytes=settings["fold_limit_kib"] << 10, opset=settings["opset"])
    made, _ = sequence.run(
        graph, settings["passes"], context=context, user=source.parent / "none", prove=proof
    )
    proof.write(made)


def _inputs(model: onnx.ModelProto) -> dict[str, Any]:
    constant = {tensor.name for tensor in model.graph.initializer}
    found = {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        if value.name not in constant and kind.elem_type:
            dims = [d.dim_value if d.HasField("dim_value") else "n" for d in kind.shape.dim]
            dtype = str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
            found[value.name] = {"dtype": dtype, "shape": dims}
    return found


def _values(spec: dict[str, Any]) -> Any:
    shape = [2 if isinstance(size, str) else size for size in spec["shape"]]
    if spec["dtype"] == "object":
        return np.full(shape, "text", dtype=object)
    return np.ones(shape, np.dtype(spec["dtype"]))


def peak_mib() -> int:
    """Largest memory that any child had so far."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
