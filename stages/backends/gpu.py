# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What the TensorRT runners share: which GPU is there, plan to engine, and latency."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from stages.backends.builder import make_logger
from stages.lib import errors, machine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np

WARM_UP_S = 0.5  # TensorRT-RTX compiles kernels, and clocks rise, in the first runs
DURATION_S = 2.0
LEAST_RUNS = 50
HOW = (
    "host wall time of one execute_async_v3 and the synchronization of its stream, inputs and"
    " outputs in device memory, no CUDA graph"
)


def device_info() -> machine.Gpu:
    """The GPU that CUDA uses first, to run a plan on.

    Raises:
        NoDeviceError: there is no driver, or no GPU that CUDA can use.
        PinError: nvidia-ml-py is not installed.
    """
    try:
        return machine.gpu()
    except errors.NoDeviceError as error:
        msg = (
            f"not run: {error}.\n\nPlans are built on any machine, but only an NVIDIA GPU runs"
            " them. What was not run is neither passed nor failed, and nothing was written."
        )
        mend = "run the same command on a machine with an NVIDIA GPU, its driver and this plan"
        raise errors.NoDeviceError(msg, mend=mend) from None


def engine(trt: Any, plan: Path, gpu: machine.Gpu, *, host_code: bool) -> Any:
    """Deserialize a plan with the bindings `trt`.

    Args:
        trt: the bindings, `tensorrt` or `tensorrt_rtx`.
        plan: path of the plan.
        gpu: the GPU, for messages.
        host_code: let the plan bring host code; version compatible plans hold some.

    Raises:
        NoDeviceError: the CUDA runtime library, which Polygraphy calls, is missing.
        DeviceError: the plan does not load on this GPU; with all that the runtime says.
    """
    from polygraphy import cuda, exception  # after the backend chose bindings

    try:
        cuda.wrapper()
    except (OSError, exception.PolygraphyException):
        msg = "not run: the CUDA runtime library libcudart.so is not found on this machine"
        mend = "`python -m pip install nvidia-cuda-runtime-cu12`, or install the CUDA toolkit"
        raise errors.NoDeviceError(msg, mend=mend) from None
    failures: list[str] = []
    runtime = trt.Runtime(make_logger(trt, lambda _: None, failures))
    if host_code:
        runtime.engine_host_code_allowed = True
    loaded = runtime.deserialize_cuda_engine(plan.read_bytes())
    if loaded is None:
        what = f"{plan} does not load on {gpu.name} (compute capability {gpu.compute_capability}"
        lines = [f"  {line}" for line in failures] or ["  (the runtime left no message)"]
        raise errors.DeviceError(
            "\n".join([f"{what}, driver {gpu.driver}). The runtime says:", "", *lines]),
            mend="run it on a GPU that the plan was built for, or build for this one",
        )
    return loaded


def latency(runner: Any, profile: int, feeds: Mapping[str, np.ndarray[Any, Any]]) -> list[float]:
    """Milliseconds of each timed run, measured as `HOW` says.

    Args:
        runner: an active Polygraphy `TrtRunner`.
        profile: index of the optimization profile.
        feeds: inputs by name; their shapes are the shapes that are measured.
    """
    runner.set_profile(profile)
    runner.infer(feeds)  # sets shapes and addresses

    def run() -> float:
        start = time.perf_counter()
        runner.context.execute_async_v3(runner.stream.ptr)
        runner.stream.synchronize()
        return 1e3 * (time.perf_counter() - start)

    begin = time.perf_counter()
    while time.perf_counter() - begin < WARM_UP_S:
        run()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < LEAST_RUNS or time.perf_counter() - begin < DURATION_S:
        times.append(run())
    return times
