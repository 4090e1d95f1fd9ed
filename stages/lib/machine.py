# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What this machine is: operating system and architecture, GPU and driver, CUDA runtime.

Probes only; `mismatch.py` judges what they find.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from stages.lib import errors

# As Linux names them; Windows and macOS have words of their own.
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
# Of the CUDA runtime, newest first; and where NVIDIA's wheels put it.
_MAJORS = (13, 12, 11)
_WHEELS = ("nvidia/cu{major}/lib", "nvidia/cuda_runtime/lib")


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


def platform_name() -> str:
    """Operating system and processor architecture, such as `linux-x86_64`."""
    architecture = platform.machine().lower()
    return f"{platform.system().lower()}-{_ARCHITECTURES.get(architecture, architecture)}"


def cuda_runtime(wanted: str) -> str | None:
    """Version of libcudart, such as `13.4`, or None; of several, the one of `wanted`'s major.

    It is looked for as the loader does, then in NVIDIA's wheels. Needs neither a GPU nor a driver
    (CUDA Runtime API: `cudaRuntimeGetVersion`, 1000 * major + 10 * minor).
    """
    first = int(wanted.partition(".")[0])
    for major in (first, *(other for other in _MAJORS if other != first)):
        name = f"libcudart.so.{major}"
        folders = (
            Path(entry) / wheel.format(major=major) for entry in sys.path for wheel in _WHEELS
        )
        for library in (name, *(str(folder / name) for folder in folders)):
            try:
                runtime = ctypes.CDLL(library)
            except OSError:
                continue
            version = ctypes.c_int()
            if runtime.cudaRuntimeGetVersion(ctypes.byref(version)) == 0:
                return f"{version.value // 1000}.{version.value % 1000 // 10}"
    return None


def gpu() -> Gpu:
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
    mend = "use a machine with an NVIDIA GPU and its driver (`nvidia-smi` lists both)"
    raise errors.NoDeviceError(found, mend=mend)
