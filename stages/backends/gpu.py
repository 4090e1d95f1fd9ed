# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What the TensorRT runners share: which GPU is there, plan to engine, and times."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.backends.builder import make_logger
from stages.lib import errors, machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    Arrays = Mapping[str, np.ndarray[Any, Any]]
    Shapes = Mapping[str, Mapping[str, list[int]]]

WARM_UP_S = 0.5  # TensorRT-RTX compiles kernels, and clocks rise, in the first runs
DURATION_S = 2.0
LEAST_RUNS = 50
LAYER_RUNS = 20
HOW = (
    "host wall time of one execute_async_v3 and the synchronization of its stream, inputs and"
    " outputs in device memory, no CUDA graph"
)
HOW_LAYERS = (
    "mean of what the runtime's profiler reports; layers are slower one by one than in a run"
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


def latency(runner: Any, profile: int, feeds: Arrays) -> list[float]:
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


def latencies(runner: Any, profiles: Sequence[Shapes], sample: Arrays) -> Iterator[dict[str, Any]]:
    """Latency at each profile's `opt` shapes, on real samples repeated to fill them."""
    for index, profile in enumerate(profiles):
        feeds = at_opt(profile, sample)
        times = latency(runner, index, feeds)
        median, p90, p99 = np.percentile(times, [50, 90, 99])
        yield {
            "profile": index,
            "shapes": {name: list(array.shape) for name, array in feeds.items()},
            "runs": len(times),
            "min_ms": min(times),
            "median_ms": float(median),
            "p90_ms": float(p90),
            "p99_ms": float(p99),
        }


def at_opt(profile: Shapes, sample: Arrays) -> dict[str, np.ndarray[Any, Any]]:
    """`sample`, repeated or cut to the `opt` shapes of a profile."""
    shapes = {name: array.shape for name, array in sample.items()}
    shapes |= {name: tuple(bounds["opt"]) for name, bounds in profile.items()}
    return {name: np.resize(array, shapes[name]) for name, array in sample.items()}


def layers(runner: Any, feeds: Arrays) -> tuple[str, dict[str, float]]:
    """What the engine says of its layers, and what they take, on profile 0.

    To be called last: the profiler stays with the context.

    Args:
        runner: an active Polygraphy `TrtRunner`.
        feeds: inputs by name; their shapes are the shapes that are measured.

    Returns:
        JSON of the engine inspector, and mean milliseconds by layer name; each is empty where the
        runtime gives none.
    """
    from polygraphy.mod.trt_importer import lazy_import_trt  # after the backend chose bindings

    trt: Any = lazy_import_trt()
    engine, context = runner.engine, runner.context
    runner.set_profile(0)
    runner.infer(feeds)
    inspector = engine.create_engine_inspector()
    text = ""
    if inspector is not None:
        inspector.execution_context = context  # else types are hidden where shapes are dynamic
        text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    times: defaultdict[str, float] = defaultdict(float)

    class Times(trt.IProfiler):
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times[layer_name] += ms

    profiler = Times()  # a name of its own: it must outlive the runs
    context.profiler = profiler
    context.enqueue_emits_profile = True
    for _ in range(LAYER_RUNS):
        context.execute_async_v3(runner.stream.ptr)
        runner.stream.synchronize()
    return text, {name: total / LAYER_RUNS for name, total in times.items()}
