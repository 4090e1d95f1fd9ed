# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny but complete project to run stages in."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from ruamel.yaml import YAML

from stages import build, calibrate, export, observe, precision, sanitize
from stages.backends import gpu
from stages.lib import errors
from tests import graphs_zoo as zoo

# The same examples in each run, however slow the machine is.
settings.register_profile("enginery", deadline=None, derandomize=True, database=None)
settings.load_profile("enginery")

# In the background of a shell it is ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
# Each takes a minute or more, in which some have few tests.
LONG = (
    "test_frameworks",
    "test_pipeline",
    "test_contract_of_exporters",
    "test_same_bytes",
    "test_verify",
    "test_variant",
    "test_conformance",
    "test_environments",
)
MODEL = "tiny"
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
# Two files of different length, so that batches end at a file's end.
SPLITS = {"probe": (4,), "calibration": (13, 11), "validation": (16,)}


class Project:
    """A project's root, and its params.yaml."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def params(self) -> Any:
        return YAML(typ="safe").load(self.root / "params.yaml")

    def set(self, key: str, value: Any) -> None:
        """Change one dotted key of params.yaml."""
        document = self.params()
        *path, last = key.split(".")
        place = document
        for part in path:
            place = place[part]
        place[last] = value
        self.write(document)

    def write(self, document: Any) -> None:
        yaml = YAML(typ="safe")
        with (self.root / "params.yaml").open("w", encoding="utf-8") as stream:
            yaml.dump(document, stream)

    def run(self, stage: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a stage as DVC does, in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", f"stages.{stage}", *words],
            cwd=self.root,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )


def make(root: Path) -> Project:
    """Write params.yaml, schemas, the source model and its samples."""
    project = Project(root)
    shutil.copytree(ROOT / "schemas", root / "schemas", ignore=shutil.ignore_patterns("examples"))
    shutil.copy(ROOT / "params.yaml", root)
    for name in ("requirements", "stages"):
        (root / name).symlink_to(ROOT / name)
    project.write(_params(project.params()))
    home = root / "models" / MODEL
    for name in ("source", "rewrites", "metric", "timing", "latency", "caches"):
        (home / name).mkdir(parents=True)
    source = zoo.tiny()
    (home / "source" / "net.onnx").write_bytes(source.SerializeToString())
    for seed, (split, lengths) in enumerate(SPLITS.items()):
        folder = home / "samples" / split
        folder.mkdir(parents=True)
        for number, length in enumerate(lengths):
            x = zoo.values(length, 3, 8, 8, seed=10 * seed + number)
            label = zoo.infer(source, {"x": x})["logits"].argmax(axis=1)
            np.savez_compressed(folder / f"{number:03}.npz", allow_pickle=False, x=x, label=label)
    return project


def _params(real: Any) -> Any:
    """The real file, with the tiny model in the place of digits."""
    shape = [16, 3, 8, 8]
    bounds = {"min": [1, *shape[1:]], "opt": shape, "max": [64, *shape[1:]]}
    spec = real["models"]["digits"] | {
        "source": real["models"]["digits"]["source"] | {"framework": "onnx", "entry": "net.onnx"},
        "inputs": {"x": {"dtype": "float32", "shape": ["batch", 3, 8, 8]}},
        "outputs": ["logits"],
        "opset": None,
        "threads": 1,
        "observe": {"batch": 8, "bins": 256, "memory_mib": 64},
    }
    engines = {
        f"{MODEL}-{kind}": real["engines"][f"digits-{kind}-b64"]
        | {"model": MODEL, "profile": MODEL, "validation_batch": 8}
        for kind in PRECISIONS
    }
    for engine in engines.values():  # tests make smaller profiles too
        batching = engine["serving"]["dynamic_batching"] | {"preferred_batch_size": [4]}
        engine["serving"] = engine["serving"] | {"dynamic_batching": batching}
    return real | {
        "models": {MODEL: spec},
        "profiles": {MODEL: [{"x": bounds}]},
        "engines": engines,
    }


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project in which nothing has run; it is the current folder."""
    monkeypatch.chdir(tmp_path)
    return make(tmp_path)


@pytest.fixture(scope="session")
def _chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which every stage up to `build` has run."""
    root = tmp_path_factory.mktemp("chain")
    make(root)
    before = Path.cwd()
    os.chdir(root)
    try:
        for stage in (export, sanitize, observe, calibrate):
            stage.main(MODEL)
        for kind in PRECISIONS:
            precision.main(f"{MODEL}-{kind}")
            build.main(f"{MODEL}-{kind}")
    finally:
        os.chdir(before)
    return root


@pytest.fixture
def built(_chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of a project in which every stage up to `build` has run; it is the current folder."""
    root = tmp_path / "built"
    shutil.copytree(_chain, root, symlinks=True)
    monkeypatch.chdir(root)
    return Project(root)


@functools.cache
def why_no_gpu() -> str:
    """Why tests marked `gpu` cannot run here; empty if they can."""
    try:
        gpu.device_info()
    except errors.EngineryError as error:
        return error.what.splitlines()[0]
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that two processes end at about the same time."""
    order = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONG)))


def pytest_collection_finish() -> None:
    """Keep PyTorch, where a test file imports it, from starting threads.

    OpenMP hangs in a fork of a process that has them, and `export` forks. A stage imports PyTorch
    only there.
    """
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What needs a GPU is reported as not run where there is none, never as passed."""
    if item.get_closest_marker("gpu") and (reason := why_no_gpu()):
        pytest.skip(reason if reason.startswith("not run") else f"not run: {reason}")
