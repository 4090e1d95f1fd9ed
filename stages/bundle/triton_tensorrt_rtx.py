# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a TensorRT-RTX plan for model.py; packed as it is, as <version>/runtime.py.

It needs NumPy, `tensorrt_rtx` and a GPU. One context, one stream and one pair of buffers for each
tensor live as long as the model; buffers grow to the largest batch seen.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
Shape = tuple[int, ...]

# CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR, CU_STREAM_NON_BLOCKING: cuda.h
_CAPABILITY = (75, 76)
_NON_BLOCKING = 1
_FINDING = ("cuInit", "cuDeviceGet")  # what fails elsewhere has found a GPU
_NO_GPU = "a TensorRT-RTX plan needs an NVIDIA GPU"


class CannotServeError(Exception):
    """Why the plan cannot be loaded, or a request not be answered."""


def need(condition: Any, message: str) -> None:
    """Fail unless `condition` holds."""
    if not condition:
        raise CannotServeError(message)


class Cuda:
    """The few calls to the CUDA driver that serving needs, on one device and one stream.

    The driver's library comes with every GPU and its interface is stable: this needs no package at
    all. tensorrt_rtx uses the same primary context.
    """

    def __init__(self, device: int) -> None:
        try:
            self._driver = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            msg = f"{_NO_GPU}, and here is no driver: {error}"
            raise CannotServeError(msg) from None
        self._device, self._context = ctypes.c_int(device), ctypes.c_void_p()
        self.stream = ctypes.c_void_p()
        self.call("cuInit", ctypes.c_uint(0))
        self.call("cuDeviceGet", ctypes.byref(self._device), ctypes.c_int(device))
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        self.enter()
        self.call("cuStreamCreate", ctypes.byref(self.stream), ctypes.c_uint(_NON_BLOCKING))

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the driver; each returns a CUresult, of which 0 is success."""
        if status := getattr(self._driver, name)(*arguments):
            text = ctypes.c_char_p()
            self._driver.cuGetErrorString(ctypes.c_int(status), ctypes.byref(text))
            why = (text.value or b"unknown error").decode()
            absent = f"{_NO_GPU}: " if name in _FINDING else ""
            msg = f"{absent}{name} says {why} ({status})"
            raise CannotServeError(msg)

    def enter(self) -> None:
        """Make the device current in the calling thread."""
        self.call("cuCtxSetCurrent", self._context)

    def capability(self) -> str:
        """Compute capability, such as `sm89`."""
        numbers = [ctypes.c_int(), ctypes.c_int()]
        for number, attribute in zip(numbers, _CAPABILITY, strict=True):
            self.call("cuDeviceGetAttribute", ctypes.byref(number), attribute, self._device)
        return "sm" + "".join(str(number.value) for number in numbers)


class Buffer:
    """Memory of one tensor: page-locked on the host, and as much on the device."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._host, self.device = ctypes.c_void_p(), ctypes.c_uint64()
        self._size, self._used = 0, ctypes.c_size_t()

    def view(self, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """The host's side as an array; both sides grow if they are too small."""
        self._used = ctypes.c_size_t(dtype.itemsize * int(np.prod(shape, dtype=np.int64)))
        if not self._size or self._used.value > self._size:
            if self._size:
                self._cuda.call("cuMemFreeHost", self._host)
                self._cuda.call("cuMemFree_v2", self.device)
            self._size = max(self._used.value, 1)
            size = ctypes.c_size_t(self._size)
            self._cuda.call("cuMemAllocHost_v2", ctypes.byref(self._host), size)
            self._cuda.call("cuMemAlloc_v2", ctypes.byref(self.device), size)
        memory = (ctypes.c_uint8 * self._size).from_address(self._host.value or 0)
        return np.ndarray(shape, dtype, buffer=memoryview(memory))

    def send(self) -> None:
        """Copy host to device, in the order of the stream."""
        where = (self.device, self._host, self._used, self._cuda.stream)
        self._cuda.call("cuMemcpyHtoDAsync_v2", *where)

    def fetch(self) -> None:
        """Copy device to host, in the order of the stream."""
        where = (self._host, self.device, self._used, self._cuda.stream)
        self._cuda.call("cuMemcpyDtoHAsync_v2", *where)


class Engine:
    """A plan with its one context.

    Attributes:
        inputs: names, in order.
        outputs: likewise.
    """

    def __init__(
        self, folder: Path, told: dict[str, Any], config: dict[str, Any], device: int
    ) -> None:
        trt = tensorrt_rtx(told["plan"]["version"])
        self._cuda = cuda = Cuda(device)
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        plan = (folder / told["plan"]["file"]).read_bytes()
        engine = self._engine = self._runtime.deserialize_cuda_engine(plan)
        self._context: Any = context(trt, engine, graphs=replays(config)) if engine else None
        built = ", ".join(told["compat"]["compute_capabilities"]) or "what the builder chose"
        message = f"TensorRT-RTX cannot load this plan: built for {built}, on {cuda.capability()}"
        need(self._context, f"{message}; the server's log has its reason")
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        for name in names:
            place = engine.get_tensor_location(name)
            need(place == trt.TensorLocation.DEVICE, f"{name!r} is a shape tensor: not served")
        self.inputs = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        self.outputs = [name for name in names if name not in self.inputs]
        self._dtypes = {n: np.dtype(trt.nptype(engine.get_tensor_dtype(n))) for n in names}
        self._buffers = {name: Buffer(cuda) for name in names}
        self._profile = 0

    def run(self, parts: list[Arrays], shapes: dict[str, Shape], profile: int) -> Arrays:
        """Run parts, joined along the first axis, under a profile that takes these shapes."""
        self._cuda.enter()
        stream = self._cuda.stream.value
        if profile != self._profile:
            done = self._context.set_optimization_profile_async(profile, stream)
            need(done, f"TensorRT-RTX cannot switch to profile {profile}")
            self._profile = profile
        for name in self.inputs:
            shape, arrays = shapes[name], [part[name] for part in parts]
            need(self._context.set_input_shape(name, shape), f"{name!r} cannot have shape {shape}")
            view = self._buffers[name].view(shape, self._dtypes[name])
            np.concatenate(arrays, out=view) if arrays[1:] else np.copyto(view, arrays[0])
            self._buffers[name].send()
        views = {}
        for name in self.outputs:
            shape = tuple(self._context.get_tensor_shape(name))
            need(-1 not in shape, f"the shape of {name!r} depends on the data: not served")
            views[name] = self._buffers[name].view(shape, self._dtypes[name])
        for name, buffer in self._buffers.items():
            done = self._context.set_tensor_address(name, buffer.device.value)
            need(done, f"TensorRT-RTX refuses the memory of {name!r}")
        need(self._context.execute_async_v3(stream), "TensorRT-RTX failed: see the server's log")
        for name in self.outputs:
            self._buffers[name].fetch()
        self._cuda.call("cuStreamSynchronize", self._cuda.stream)
        return {name: view.copy() for name, view in views.items()}


def replays(config: dict[str, Any]) -> bool:
    """Whether config.pbtxt asks for CUDA graphs; Triton hands it over as JSON."""
    return bool(config.get("optimization", {}).get("cuda", {}).get("graphs", False))


def context(trt: Any, engine: Any, *, graphs: bool) -> Any:
    """An execution context, which records and replays CUDA graphs by itself if it is told to."""
    settings = engine.create_runtime_config()
    if graphs:
        settings.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    return engine.create_execution_context(settings)


def tensorrt_rtx(version: str) -> Any:
    """The library, in the version that built the plan."""
    try:
        import tensorrt_rtx as trt  # noqa: TID251  its absence has a message
    except ImportError as error:
        mend = f"python -m pip install tensorrt-rtx=={version}"
        msg = f"this server's Python has no tensorrt_rtx ({error}): {mend}"
        raise CannotServeError(msg) from None
    found = trt.__version__
    need(found == version, f"TensorRT-RTX {version} built the plan, and here is {found}")
    return trt
