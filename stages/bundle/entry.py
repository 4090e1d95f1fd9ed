# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The files of one version in a Triton model repository, and which of them answer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.backends import emulation
from stages.bundle import manifest, rules, triton
from stages.lib import graphs, layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_HERE = Path(__file__).parent


def fill(folder: Path, *, magic: str, serving: Mapping[str, Any], plan: Path, typed: Path) -> None:
    """Lay out `<version>/` below a package folder.

    The plan is always in it: it is what a package is about. With `runtime: onnxruntime` the typed
    graph is too, with its rounding written out where it has types that a CPU lacks: so it computes
    what report.json measured.

    Args:
        folder: exists.
        magic: first four bytes of the plan.
        serving: `engines.<engine>.serving`.
        plan: the serialized engine.
        typed: graph folder.
    """
    version = folder / str(serving["version"])
    version.mkdir()
    shutil.copyfile(plan, version / manifest.PLAN)
    runtime = serving["runtime"]
    if rules.backend(magic, runtime) == "python":
        name = "onnxruntime" if runtime == "onnxruntime" else "tensorrt_rtx"
        shutil.copyfile(_HERE / "triton_model.py", version / "model.py")
        shutil.copyfile(_HERE / f"triton_{name}.py", version / "runtime.py")
    if runtime == "onnxruntime":
        _graph(typed, version)


def _graph(typed: Path, version: Path) -> None:
    graph, made, source = graphs.load(typed), version / "graph", typed
    if emulation.emulate(graph):
        graphs.save(graph, made)
        source = made
    for path in sorted(source.iterdir()):
        shutil.copyfile(path, version / path.name)
    shutil.rmtree(made, ignore_errors=True)


def served(serving: Mapping[str, Any], files: Mapping[str, Any]) -> dict[str, Any]:
    """`serving` of a manifest: the entry's version, and what answers, with its files."""
    version, runtime = str(serving["version"]), serving["runtime"]
    names = [layout.GRAPH_FILE, layout.GRAPH_DATA] if runtime == "onnxruntime" else [manifest.PLAN]
    paths = [f"{version}/{name}" for name in names]
    return {
        "runtime": runtime,
        "version": serving["version"],
        "answers": triton.ANSWERS[runtime],
        "files": [path for path in paths if path in files],
    }


def problems(told: Mapping[str, Any]) -> Iterator[str]:
    """What a manifest says of the plan and of what answers, where it contradicts itself."""
    serving, files = told["serving"], told["files"]
    expected = served(serving, files)
    for key in ("answers", "files"):
        if serving[key] != expected[key]:
            yield f"{manifest.FILE}: serving.{key} is {serving[key]}, not {expected[key]}"
    for name in (told["plan"]["file"], *serving["files"]):
        if name not in files:
            yield f"{manifest.FILE}: {name} is not among its files"
        elif not name.startswith(f"{serving['version']}/"):
            yield f"{manifest.FILE}: {name} is not of version {serving['version']}"
