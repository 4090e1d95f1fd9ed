# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The chain's library calls in one plain script, as a deployment engineer would write it today.

One process; no DVC, no facts, no digests, no schema, no messages; but the same graphs, samples,
batches, arithmetic and builder settings, for what the committed params.yaml asks for. Pure
functions are the chain's own where no library has them. `python -m bench.plain <folder>`, run in
the project's root, writes <folder>/<engine>.plan for every engine.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort  # noqa: TID251  stages have one door for each library, a script has none
import tensorrt_rtx as trt  # noqa: TID251
import torch  # noqa: TID251
from onnx_ir.passes import common as passes
from onnxscript.optimizer import fold_constants
from ruamel.yaml import YAML

from stages.backends import emulation, task
from stages.calibration import methods, tap
from stages.calibration.histogram import Histogram
from stages.checks import coverage
from stages.quantization import searching
from stages.quantization.recipe import Recipe, apply

if TYPE_CHECKING:
    from collections.abc import Iterator

Arrays = dict[str, "np.ndarray[Any, Any]"]
Spec = dict[str, Any]


def main(folder: Path) -> None:
    params = YAML(typ="safe").load(Path("params.yaml"))
    for name, spec in params["models"].items():
        home = Path("models") / name
        exported = export(spec, home)
        clean = clean_up(exported, spec, home)
        scales, maxima = calibrate(clean, spec, home)
        for engine, settings in params["engines"].items():
            if settings["model"] == name:
                typed = retype(clean, engine, settings, spec, (scales, maxima))
                plan = build(typed, settings["builder"], params["profiles"][settings["profile"]])
                (folder / f"{engine}.plan").write_bytes(plan)
                figures = validate(exported, typed, settings["validation_batch"], spec, home)
                print(engine, plan.nbytes, figures)


def export(spec: Spec, home: Path) -> bytes:
    file, _, function = spec["source"]["entry"].partition(":")
    module = runpy.run_path(str(home / "source" / file))[function]().eval()
    probe = samples(home, "probe")
    inputs = [torch.tensor(probe[name]) for name in spec["inputs"]]
    symbols = (
        {axis: size for axis, size in enumerate(one["shape"]) if isinstance(size, str)}
        for one in spec["inputs"].values()
    )
    program = torch.onnx.export(
        module,
        # A batch of one would be taken for a constant by the tracer.
        tuple(torch.cat([tensor, tensor]) for tensor in inputs),
        dynamo=True,
        opset_version=spec["opset"],
        input_names=list(spec["inputs"]),
        output_names=spec["outputs"],
        dynamic_shapes=tuple(symbols),
        verbose=False,
    )
    assert program is not None
    graph = bytes(program.model_proto.SerializeToString())
    with torch.inference_mode():
        result = module(*inputs)
    expected = [result] if isinstance(result, torch.Tensor) else list(result)
    _, found = next(stream(graph, probe, len(inputs[0]), spec))
    for name, tensor in zip(spec["outputs"], expected, strict=True):
        np.testing.assert_allclose(found[name], tensor.numpy(), **spec["parity"])
    return graph


def clean_up(exported: bytes, spec: Spec, home: Path) -> bytes:
    model, settings = opened(exported), spec["sanitize"]
    limit = settings["fold_limit_kib"] * 256
    passes.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    fold_constants(model, input_size_limit=limit, output_size_limit=limit)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    passes.IdentityEliminationPass()(model)
    passes.RemoveUnusedNodesPass()(model)
    passes.RemoveUnusedOpsetsPass()(model)
    passes.ClearMetadataAndDocStringPass()(model)
    clean, probe = closed(model), samples(home, "probe")
    (_, old), (_, new) = (next(stream(graph, probe, 1 << 20, spec)) for graph in (exported, clean))
    for name, expected in old.items():
        np.testing.assert_allclose(new[name], expected, settings["rtol"], settings["atol"])
    return clean


def calibrate(clean: bytes, spec: Spec, home: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Scale of each activation, by the entropy method, and its largest magnitude."""
    model, settings = opened(clean), spec["observe"]
    histograms = {name: Histogram(settings["bins"]) for name in tap.ranged(model)}
    calibration = samples(home, "calibration")
    for feeds, results in stream(clean + tap.opening(model), calibration, settings["batch"], spec):
        for name, histogram in histograms.items():
            histogram.add(feeds[name] if name in feeds else results[name])
    scales = {
        name: methods.entropy(found.counts, 2.0 ** (found.exponent or 0) / found.bins) / 127
        for name, found in histograms.items()
    }
    return scales, {name: found.maximum for name, found in histograms.items()}


def retype(
    clean: bytes,
    engine: str,
    settings: Spec,
    spec: Spec,
    found: tuple[dict[str, float], dict[str, float]],
) -> bytes:
    model, remainder = opened(clean), settings["remainder"]
    recipe = Recipe(
        precision=settings["precision"],
        remainder=remainder or settings["precision"],
        chosen={},
        scales={name: float(np.float32(scale)) for name, scale in found[0].items()},
        maxima=found[1],
        channels={},
        smoothing=None,
    )
    if settings["auto"]:
        home = Path("models") / settings["model"]
        wanted = searching.Task(
            engine=engine,
            auto=settings["auto"],
            method=settings["method"],
            overrides=[],
            inputs=spec["inputs"],
            metric=spec["metric"],
            batch=spec["observe"]["batch"],
            threads=spec["threads"],
            samples=home / "samples/calibration",
            metric_folder=home / "metric",
            latency=home / "latency",
        )
        recipe, _ = searching.search(model, recipe, wanted)
    apply(model, recipe)
    return closed(model)


def build(typed: bytes, settings: Spec, profiles: list[Spec]) -> Any:
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    assert parser.parse(typed), parser.get_error(0)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings["workspace_mib"] << 20)
    config.builder_optimization_level = settings["optimization_level"]
    config.clear_flag(trt.BuilderFlag.TF32)
    config.num_compute_capabilities = len(settings["compute_capabilities"])
    for index, name in enumerate(settings["compute_capabilities"]):
        config.set_compute_capability(trt.ComputeCapability.__members__[name.upper()], index)
    for shapes in profiles:
        profile = builder.create_optimization_profile()
        for name, dims in shapes.items():
            profile.set_shape(name, dims["min"], dims["opt"], dims["max"])
        config.add_optimization_profile(profile)
    return builder.build_serialized_network(network, config)


def validate(exported: bytes, typed: bytes, size: int, spec: Spec, home: Path) -> Spec:
    """Errors and the metric of one engine's graph against the exported one."""
    data, metric = samples(home, "validation"), spec["metric"]
    model, output = opened(typed), metric["output"]
    emulation.emulate(model)
    old, new = (
        np.concatenate([found[output] for _, found in stream(graph, data, size, spec)])
        for graph in (exported, closed(model))
    )
    noise = float(np.square(old - new, dtype=np.float64).sum())
    figures = {
        "max_abs": float(np.abs(old - new).max()),
        "sqnr_db": noise and 10 * np.log10(np.square(old, dtype=np.float64).sum() / noise),
        "accuracy": [task.top1(scores, data[metric["labels"]]) for scores in (old, new)],
    }
    model = opened(typed)
    emulation.emulate(model)
    if limits := coverage.open_up(model):
        covered = coverage.Coverage(limits)
        for feeds, results in stream(closed(model), data, size, spec):
            covered.add({**feeds, **results})
        figures["outside"] = covered.result()["worst"]
    return figures


def samples(home: Path, split: str) -> Arrays:
    loaded = [np.load(file) for file in sorted((home / "samples" / split).glob("*.npz"))]
    return {name: np.concatenate([one[name] for one in loaded]) for name in loaded[0].files}


def stream(graph: bytes, data: Arrays, size: int, spec: Spec) -> Iterator[tuple[Arrays, Arrays]]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.inter_op_num_threads = spec["threads"], 1
    options.log_severity_level = 3
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for start in range(0, len(next(iter(data.values()))), size):
        feeds = {name: data[name][start : start + size] for name in spec["inputs"]}
        yield feeds, dict(zip(names, session.run(names, feeds), strict=True))


def opened(graph: bytes) -> ir.Model:
    return ir.from_proto(onnx.load_from_string(graph))


def closed(model: ir.Model) -> bytes:
    return bytes(ir.to_proto(model).SerializeToString())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
