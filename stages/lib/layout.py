# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Where everything lies: one rule, compared with dvc.yaml by tests/test_dag.py.

All paths are relative to the project's root, in which every stage runs.
"""

from __future__ import annotations

from pathlib import Path

PARAMS = Path("params.yaml")
FLOW = Path("dvc.yaml")
LOCK = Path("dvc.lock")
PARAMS_SCHEMA = Path("schemas/params.schema.json")
ARTIFACTS = Path("artifacts")
PARAMS_OK = ARTIFACTS / "params.ok"
LOGS = Path(".logs")
LOCKS = Path("requirements")

# Stages that leave facts, in the order in which they run.
MODEL_STAGES = ("export", "sanitize", "observe", "calibrate")
ENGINE_STAGES = ("precision", "build", "validate", "gate")
SPLITS = ("probe", "calibration", "validation")
GRAPH_FILE = "model.onnx"
GRAPH_DATA = "model.onnx.data"


def model_source(model: str) -> Path:
    """Folder with all that `export` reads: code and weights, or an ONNX file and its data."""
    return Path("models") / model / "source"


def samples(model: str, split: str) -> Path:
    """Folder of .npz files: one array per input, and the labels; the first axis counts samples."""
    return Path("models") / model / "samples" / split


def rewrites(model: str) -> Path:
    """Folder of the user's own graph rewrites; there, though often empty."""
    return Path("models") / model / "rewrites"


def metric(model: str) -> Path:
    """Folder of the user's own task metric; there, though often empty."""
    return Path("models") / model / "metric"


def timing(model: str) -> Path:
    """Folder of the tactics recorded for its engines, `<engine>.cache`; there, often empty."""
    return Path("models") / model / "timing"


def caches(model: str) -> Path:
    """Folder of calibration caches from elsewhere, for the method `imported`; often empty."""
    return Path("models") / model / "caches"


def plugins(model: str) -> Path:
    """Folder of plugin libraries that `builder.plugins` of its engines name; may be missing."""
    return Path("models") / model / "plugins"


def latency(model: str) -> Path:
    """Folder of latency tables that `device` wrote and the user committed; there, often empty."""
    return Path("models") / model / "latency"


def exported(model: str) -> Path:
    """Graph folder written by `export`."""
    return ARTIFACTS / "onnx" / model / "exported"


def clean(model: str) -> Path:
    """Graph folder written by `sanitize`."""
    return ARTIFACTS / "onnx" / model / "clean"


def observations(model: str) -> Path:
    """Histograms and per-channel maxima written by `observe`."""
    return ARTIFACTS / "observations" / model / "observations.npz"


def cache(model: str, method: str) -> Path:
    """Calibration cache in TensorRT's text format, written by `calibrate`."""
    return ARTIFACTS / "calibration" / model / f"{method}.cache"


def ranges(model: str) -> Path:
    """What the caches cannot hold: digests, statistics, every range; written by `calibrate`."""
    return ARTIFACTS / "calibration" / model / "ranges.json"


def typed(engine: str) -> Path:
    """Strongly typed graph folder written by `precision`."""
    return ARTIFACTS / "onnx" / engine / "typed"


def plan(engine: str) -> Path:
    """Serialized engine written by `build`."""
    return ARTIFACTS / "engines" / engine / "model.plan"


def search(engine: str) -> Path:
    """Folder with the decision of `precision: auto` and its path; constant for other precisions."""
    return ARTIFACTS / "search" / engine


def search_plots(engine: str) -> Path:
    """Folder with the picture of that path for `dvc plots`; empty for other precisions."""
    return ARTIFACTS / "plots" / "search" / engine


def report(engine: str) -> Path:
    """Measurements written by `validate`."""
    return ARTIFACTS / "reports" / engine / "report.json"


def metrics(engine: str) -> Path:
    """The few figures of the report that `dvc metrics` shows, written by `validate`."""
    return ARTIFACTS / "metrics" / f"{engine}.json"


def card(engine: str) -> Path:
    """Picture of these figures for `dvc plots`, written by `validate`."""
    return ARTIFACTS / "plots" / f"{engine}.svg"


def verdict(engine: str) -> Path:
    """Decision written by `gate`."""
    return ARTIFACTS / "verdicts" / engine / "verdict.json"


def package(engine: str) -> Path:
    """Triton model repository entry written by `package`."""
    return ARTIFACTS / "packages" / engine


def signature(engine: str) -> Path:
    """Detached signature of a package, beside it; written by the command `promote`."""
    return ARTIFACTS / "packages" / f"{engine}.sig"


def channel(channel: str, engine: str) -> Path:
    """What was promoted: a plain file of Git, written by the command `promote`."""
    return ARTIFACTS / "channels" / channel / f"{engine}.json"


def promotion(channel: str, engine: str) -> Path:
    """Verdict of the last promotion that was tried; never an output of a stage."""
    return Path("evidence") / f"{engine}.{channel}.promotion.json"


def facts(stage: str, name: str) -> Path:
    """What a stage says about its run, for `package` alone to read."""
    folders = {
        "export": ARTIFACTS / "onnx" / name,
        "sanitize": ARTIFACTS / "onnx" / name,
        "observe": ARTIFACTS / "observations" / name,
        "calibrate": ARTIFACTS / "calibration" / name,
        "precision": ARTIFACTS / "onnx" / name,
        "build": ARTIFACTS / "engines" / name,
        "validate": ARTIFACTS / "reports" / name,
        "gate": ARTIFACTS / "verdicts" / name,
    }
    return folders[stage] / f"{stage}.facts.json"


def schema(kind: str) -> Path:
    """JSON Schema of one kind of document: `facts`, `report`, `verdict`, `manifest` and so on."""
    return Path("schemas") / f"{kind}.schema.json"


def device_evidence(engine: str) -> Path:
    """Evidence written by the command `device`; never an output of a stage."""
    return Path("evidence") / f"{engine}.device.json"


def engine_latency(engine: str) -> Path:
    """Latency table of one engine, written by the command `device`."""
    return Path("evidence") / f"{engine}.latency.json"


def model_latency(model: str) -> Path:
    """Those of a model's engines as one; in a folder, as an engine may be named as its model."""
    return Path("evidence/latency") / f"{model}.json"


def recording(engine: str) -> Path:
    """Untracked: tactics recorded by the last `build` that was told to; the user commits them."""
    return LOGS / f"{engine}.timing.cache"


def log(stage: str, name: str) -> Path:
    """Untracked log of a stage: builder messages and the like."""
    return LOGS / f"{stage}-{name}.log"
