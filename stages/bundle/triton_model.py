# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Serves a TensorRT-RTX plan from Triton's Python backend; packed as it is, as 1/model.py.

It needs Triton, NumPy, `tensorrt_rtx` and a GPU. One context, one stream and one pair of buffers
for each tensor live as long as the model; buffers grow to the largest batch seen. The requests of a
batch run as one.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import triton_python_backend_utils as pb_utils

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
Shape = tuple[int, ...]

# CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR, CU_STREAM_NON_BLOCKING: cuda.h
_CAPABILITY = (75, 76)
_NON_BLOCKING = 1


def refuse(message: str) -> NoReturn:
    """Fail with a message that Triton shows to whoever loads the model or sent the request."""
    raise pb_utils.TritonModelException(message)


def need(condition: Any, message: str) -> None:
    """Fail likewise unless `condition` holds."""
    if not condition:
        refuse(message)


class Cuda:
    """The few calls to the CUDA driver that serving needs, on one device and one stream.

    The driver's library comes with every GPU and its interface is stable: this needs no package at
    all. tensorrt_rtx uses the same primary context.
    """

    def __init__(self, device: int) -> None:
        try:
            self._driver = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            refuse(f"a TensorRT-RTX plan needs an NVIDIA GPU, and here is no driver: {error}")
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
            refuse(f"a TensorRT-RTX plan needs an NVIDIA GPU: {name} says {why} ({status})")

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
    """A plan with its one context."""

    def __init__(self, trt: Any, plan: bytes, cuda: Cuda, targets: list[str]) -> None:
        self._cuda = cuda
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        engine = self._engine = self._runtime.deserialize_cuda_engine(plan)
        self._context: Any = engine.create_execution_context() if engine else None
        built = ", ".join(targets) or "what the builder chose"
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
        self._profiles = [
            {
                name: [tuple(dims) for dims in engine.get_tensor_profile_shape(name, index)][::2]
                for name in self.inputs
            }
            for index in range(engine.num_optimization_profiles)
        ]
        self._profile = 0

    def run(self, parts: list[Arrays]) -> Arrays:
        """Run parts, joined along the first axis if there are several, as one batch."""
        stream = self._cuda.stream.value
        self._set_shapes({name: joined([part[name] for part in parts]) for name in self.inputs})
        for name in self.inputs:
            arrays = [part[name] for part in parts]
            view = self._buffers[name].view(joined(arrays), self._dtypes[name])
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

    def _set_shapes(self, shapes: dict[str, Shape]) -> None:
        profile = choose(self._profiles, shapes)
        if profile != self._profile:
            done = self._context.set_optimization_profile_async(profile, self._cuda.stream.value)
            need(done, f"TensorRT-RTX cannot switch to profile {profile}")
            self._profile = profile
        for name, shape in shapes.items():
            need(self._context.set_input_shape(name, shape), f"{name!r} cannot have shape {shape}")


def joined(arrays: list[Array]) -> Shape:
    """Shape of arrays joined along their first axis; of a single one, its own."""
    first = arrays[0].shape
    return (sum(len(array) for array in arrays), *first[1:]) if arrays[1:] else first


def choose(profiles: list[dict[str, list[Shape]]], shapes: dict[str, Shape]) -> int:
    """Index of the first profile, by input name [min, max], that takes these shapes."""
    for index, profile in enumerate(profiles):
        if all(
            len(low) == len(shapes[name])
            and all(a <= size <= b for a, size, b in zip(low, shapes[name], high, strict=True))
            for name, (low, high) in profile.items()
        ):
            return index
    refuse(f"no profile of the plan takes {shapes}; they take (min, max): {profiles}")


def grouped(feeds: list[Arrays], *, batched: bool) -> list[list[int]]:
    """Which requests run as one: those that differ in nothing but the length of the first axis."""
    groups: dict[Any, list[int]] = {}
    for index, feed in enumerate(feeds):
        alike = tuple(array.shape[1:] for array in feed.values()) if batched else index
        groups.setdefault(alike, []).append(index)
    return list(groups.values())


class TritonPythonModel:
    """What Triton calls. It ends this process with the model, and the driver takes all back."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the plan; each reason why it cannot be served has its own message."""
        here = Path(__file__).parent
        manifest = json.loads((here.parent / "manifest.json").read_text(encoding="utf-8"))
        plan = (here / "model.plan").read_bytes()
        found, packed = hashlib.sha256(plan).hexdigest(), manifest["plan"]["sha256"]
        need(found == packed, f"model.plan is not what was packed: sha256 {found}, not {packed}")
        self._batched = json.loads(args["model_config"])["max_batch_size"] > 0
        trt = tensorrt_rtx(manifest["plan"]["version"])
        self._cuda = Cuda(int(args["model_instance_device_id"]))
        targets = manifest["compat"]["compute_capabilities"]
        self._engine = Engine(trt, plan, self._cuda, targets)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; an error reaches the requests of its batch and no others."""
        self._cuda.enter()
        inputs = self._engine.inputs
        feeds = [
            {name: pb_utils.get_input_tensor_by_name(asked, name).as_numpy() for name in inputs}
            for asked in requests
        ]
        answers: dict[int, Any] = {}
        for group in grouped(feeds, batched=self._batched):
            try:
                outputs = self._engine.run([feeds[index] for index in group])
            except pb_utils.TritonModelException as error:
                failed = pb_utils.TritonError(str(error))
                answers |= {index: pb_utils.InferenceResponse([], failed) for index in group}
                continue
            start = 0
            for index in group:
                wanted = requests[index].requested_output_names()
                stop = start + len(feeds[index][inputs[0]]) if self._batched else None
                answers[index] = pb_utils.InferenceResponse(
                    [
                        pb_utils.Tensor(name, outputs[name][start:stop] if stop else outputs[name])
                        for name in self._engine.outputs
                        if name in wanted
                    ]
                )
                start = stop or 0
        return [answers[index] for index in range(len(requests))]


def tensorrt_rtx(version: str) -> Any:
    """The library, in the version that built the plan."""
    try:
        import tensorrt_rtx as trt  # noqa: TID251  its absence has a message
    except ImportError as error:
        mend = f"python -m pip install tensorrt-rtx=={version}"
        refuse(f"this server's Python has no tensorrt_rtx ({error}): {mend}")
    found = trt.__version__
    need(found == version, f"TensorRT-RTX {version} built the plan, and here is {found}")
    return trt
