# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What the TensorRT runners share: which GPU is there, plan to engine, and latency."""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from stages.backends.builder import make_logger
from stages.lib import errors

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


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """The GPU that CUDA uses first.

    Attributes:
        name: as NVIDIA names it.
        compute_capability: such as "8.9".
        driver: version of the driver.
        memory_mib: device memory, MiB.
    """

    name: str
    compute_capability: str
    driver: str
    memory_mib: int


def device_info() -> Gpu:
    """The GPU that CUDA uses first.

    Raises:
        NoDeviceError: there is no driver, or no GPU that CUDA can use.
        PinError: nvidia-ml-py is not installed.
    """
    address = _pci_address()
    try:
        import pynvml  # needed on machines with a GPU alone
    except ImportError:
        msg = "nvidia-ml-py, which names the GPU and its driver, is not installed"
        raise errors.PinError(msg, mend="`python -m pip install nvidia-ml-py`") from None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByPciBusId(address)
        capability = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        return Gpu(
            name=str(pynvml.nvmlDeviceGetName(handle)),
            compute_capability=".".join(str(part) for part in capability),
            driver=str(pynvml.nvmlSystemGetDriverVersion()),
            memory_mib=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) >> 20,
        )
    except pynvml.NVMLError as error:
        _no_device(f"CUDA sees a GPU at {address.decode()}, but the driver's NVML says: {error}")


def _pci_address() -> bytes:
    """PCI bus id of CUDA's device 0; NVML counts otherwise, and ignores CUDA_VISIBLE_DEVICES."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        _no_device(f"there is no NVIDIA driver: libcuda.so.1 does not load ({error})")
    if status := cuda.cuInit(0):
        name = ctypes.c_char_p()
        cuda.cuGetErrorName(status, ctypes.byref(name))
        _no_device(
            f"the NVIDIA driver finds no GPU: cuInit answers {(name.value or b'?').decode()}"
        )
    count, device, address = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(32)
    cuda.cuDeviceGetCount(ctypes.byref(count))
    if not count.value:
        _no_device("the NVIDIA driver is there, but shows no GPU (is CUDA_VISIBLE_DEVICES empty?)")
    cuda.cuDeviceGet(ctypes.byref(device), 0)
    cuda.cuDeviceGetPCIBusId(address, len(address), device)
    return address.value


def _no_device(found: str) -> NoReturn:
    msg = (
        f"not run: {found}.\n\nPlans are built on any machine, but only an NVIDIA GPU runs them."
        " What was not run is neither passed nor failed, and nothing was written."
    )
    raise errors.NoDeviceError(
        msg, mend="run the same command on a machine with an NVIDIA GPU, its driver and this plan"
    )


def engine(trt: Any, plan: Path, gpu: Gpu, *, host_code: bool) -> Any:
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
