# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Small TensorRT-RTX plans for the GPU of this machine, and packages of them."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import tensorrt_rtx

from stages.bundle import triton
from stages.lib import files

ROOT = Path(__file__).parents[1]
PROFILES = [{"x": {"min": [1, 4], "opt": [2, 4], "max": [8, 4]}}]
X, Y = ({"name": name, "dtype": "float32", "shape": [-1, 4]} for name in ("x", "y"))


def double() -> bytes:
    """A plan of y = x + x over [-1, 4], batch 1 to 8, built for the GPU of this machine."""
    trt: Any = tensorrt_rtx
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    x = network.add_input("x", trt.float32, (-1, 4))
    y = network.add_elementwise(x, x, trt.ElementWiseOperation.SUM).get_output(0)
    y.name = "y"
    network.mark_output(y)
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape("x", (1, 4), (2, 4), (8, 4))
    config.add_optimization_profile(profile)
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.CURRENT, 0)
    return bytes(builder.build_serialized_network(network, config))


def package(folder: Path, *, cuda_graphs: bool) -> Path:
    """A package of `double`, as far as a server looks at it."""
    plan, version = double(), folder / "1"
    version.mkdir(parents=True)
    (version / "model.plan").write_bytes(plan)
    for source, name in (("model", "model"), ("tensorrt_rtx", "runtime")):
        shutil.copy(ROOT / f"stages/bundle/triton_{source}.py", version / f"{name}.py")
    serving = {
        "runtime": "plan",
        "version": 1,
        "version_policy": "all",
        "dynamic_batching": {"preferred_batch_size": [8], "max_queue_delay_microseconds": 20000},
        "instances": 1,
        "warmup": True,
        "cuda_graphs": cuda_graphs,
    }
    text = triton.config(
        folder.name,
        "vtrt",
        inputs=[X],
        outputs=[Y],
        profiles=PROFILES,
        axes={"x": "batch", "y": "batch"},
        serving=serving,
        parameters={},
    )
    (folder / "config.pbtxt").write_text(text, encoding="utf-8")
    told = {
        "plan": {"file": "1/model.plan", "version": tensorrt_rtx.__version__},
        "files": {"1/model.plan": {"sha256": hashlib.sha256(plan).hexdigest()}},
        "serving": {"files": ["1/model.plan"]},
        "profiles": PROFILES,
        "compat": {"compute_capabilities": []},
    }
    files.write_json(folder / "manifest.json", told)
    return folder
