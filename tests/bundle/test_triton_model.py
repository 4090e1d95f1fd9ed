# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""model.py as Triton loads it: what it says where it cannot serve, and a real plan where it can.

`triton_python_backend_utils` exists inside a server alone; the few names of it that model.py uses
are written out here.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import runpy
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorrt_rtx

from tests import plans_zoo

ROOT = Path(__file__).parents[2]
VERSION = tensorrt_rtx.__version__


class TritonModelException(Exception):  # noqa: N818  Triton's name
    pass


class TritonError(Exception):
    pass


class Tensor:
    seen = 1  # 0: as a Python backend that cannot read this NumPy

    def __init__(self, name: str, array: Any) -> None:
        self.name, self._array = name, array

    def as_numpy(self) -> Any:
        return self._array

    def to_dlpack(self) -> Any:
        return self._array * self.seen

    @classmethod
    def from_dlpack(cls, name: str, array: Any) -> Tensor:
        return cls(name, array)


class InferenceResponse:
    def __init__(self, output_tensors: list[Tensor], error: TritonError | None = None) -> None:
        self.outputs, self.error = {tensor.name: tensor for tensor in output_tensors}, error


class Request:
    def __init__(self, outputs: list[str], **arrays: Any) -> None:
        self.arrays, self._outputs = arrays, outputs

    def requested_output_names(self) -> list[str]:
        return self._outputs


def get_input_tensor_by_name(request: Request, name: str) -> Tensor:
    return Tensor(name, request.arrays[name])


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("triton_python_backend_utils")
    for item in (
        TritonModelException,
        TritonError,
        Tensor,
        InferenceResponse,
        get_input_tensor_by_name,
    ):
        setattr(module, item.__name__, item)
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.fixture(autouse=True)
def _import_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each server process imports the runtime.py beside its model.py; here one process has many."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "runtime", raising=False)


def entry(folder: Path, plan: bytes, *, version: str = VERSION) -> dict[str, Any]:
    """Lay out a package as far as model.py looks at it; return what model.py defines."""
    (folder / "1").mkdir(exist_ok=True)
    (folder / "1/model.plan").write_bytes(plan)
    for source, name in (("model", "model"), ("tensorrt_rtx", "runtime")):
        shutil.copy(ROOT / f"stages/bundle/triton_{source}.py", folder / f"1/{name}.py")
    sys.path.insert(0, str(folder / "1"))
    sha256 = hashlib.sha256(plan).hexdigest()
    manifest = {
        "plan": {"file": "1/model.plan", "version": version},
        "files": {"1/model.plan": {"sha256": sha256}},
        "serving": {"files": ["1/model.plan"]},
        "profiles": [{"x": {"min": [1, 4], "opt": [2, 4], "max": [8, 4]}}],
        "compat": {"compute_capabilities": ["sm86", "sm89"]},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return runpy.run_path(str(folder / "1/model.py"))


def load(defined: dict[str, Any], *, max_batch_size: int = 64) -> Any:
    model = defined["TritonPythonModel"]()
    config = json.dumps({"max_batch_size": max_batch_size})
    model.initialize({"model_config": config, "model_instance_device_id": "0"})
    return model


def has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


@pytest.mark.usefixtures("triton")
@pytest.mark.skipif(has_driver(), reason="there is a driver here")
def test_machine_without_gpu_is_told_so(tmp_path: Path) -> None:
    defined = entry(tmp_path, b"vtrt")
    with pytest.raises(TritonModelException, match="needs an NVIDIA GPU, and here is no driver"):
        load(defined)


@pytest.mark.parametrize(("name", "absent"), [("cuInit", True), ("cuMemAlloc_v2", False)])
def test_only_a_gpu_that_is_not_there_is_said_to_be_missing(name: str, *, absent: bool) -> None:
    """`stages.serve` takes that for "not run"; a full memory is none."""
    defined = runpy.run_path(str(ROOT / "stages/bundle/triton_tensorrt_rtx.py"))
    cuda = defined["Cuda"].__new__(defined["Cuda"])
    cuda._driver = types.SimpleNamespace(**{name: lambda: 2, "cuGetErrorString": lambda *_: 0})
    with pytest.raises(defined["CannotServeError"], match=f"{name} says") as caught:
        cuda.call(name)
    assert ("needs an NVIDIA GPU" in str(caught.value)) is absent


@pytest.mark.usefixtures("triton")
def test_plan_that_was_altered_is_refused_first(tmp_path: Path) -> None:
    defined = entry(tmp_path, b"vtrt")
    (tmp_path / "1/model.plan").write_bytes(b"vtrt, altered")
    with pytest.raises(TritonModelException, match=r"model.plan is not what was packed: sha256"):
        load(defined)


@pytest.mark.usefixtures("triton")
def test_other_version_of_the_runtime_is_refused(tmp_path: Path) -> None:
    defined = entry(tmp_path, b"vtrt", version="1.0.0.0")
    message = f"TensorRT-RTX 1.0.0.0 built the plan, and here is {VERSION}"
    with pytest.raises(TritonModelException, match=message):
        load(defined)


@pytest.mark.usefixtures("triton")
def test_missing_runtime_comes_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    defined = entry(tmp_path, b"vtrt")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(TritonModelException, match=f"pip install tensorrt-rtx=={VERSION}"):
        load(defined)


@pytest.mark.usefixtures("triton")
def test_numpy_that_the_server_misreads_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    defined = entry(tmp_path, b"vtrt")
    monkeypatch.setattr(Tensor, "seen", 0)
    with pytest.raises(TritonModelException, match=f"cannot read arrays of NumPy {np.__version__}"):
        load(defined)


@pytest.mark.usefixtures("triton")
def test_profile_is_the_first_that_takes_the_shapes(tmp_path: Path) -> None:
    choose = entry(tmp_path, b"vtrt")["choose"]
    profiles = [
        {"x": {"min": [1, 8], "opt": [2, 8], "max": [4, 8]}},
        {"x": {"min": [1, 8], "opt": [8, 8], "max": [64, 16]}},
    ]
    assert choose(profiles, {"x": (4, 8)}) == 0
    assert choose(profiles, {"x": (5, 8)}) == 1
    assert choose(profiles, {"x": (1, 9)}) == 1
    for shape in ((65, 8), (1, 7), (1, 8, 1)):
        with pytest.raises(TritonModelException, match="no profile of the plan takes"):
            choose(profiles, {"x": shape})


@pytest.mark.usefixtures("triton")
def test_requests_of_one_shape_run_as_one(tmp_path: Path) -> None:
    grouped = entry(tmp_path, b"vtrt")["grouped"]
    feeds = [{"x": np.zeros(shape)} for shape in ((1, 8), (3, 8), (1, 9), (2, 8))]
    assert grouped(feeds, batched=True) == [[0, 1, 3], [2]]
    assert grouped(feeds, batched=False) == [[0], [1], [2], [3]]


def test_names_that_model_py_uses_are_in_the_bindings() -> None:
    """What cannot run here exists at least."""
    used = {
        tensorrt_rtx.Runtime: ["deserialize_cuda_engine"],
        tensorrt_rtx.ICudaEngine: [
            "create_execution_context",
            "create_runtime_config",
            "get_tensor_dtype",
            "get_tensor_location",
            "get_tensor_mode",
            "get_tensor_name",
            "num_io_tensors",
        ],
        tensorrt_rtx.IExecutionContext: [
            "execute_async_v3",
            "get_tensor_shape",
            "set_input_shape",
            "set_optimization_profile_async",
            "set_tensor_address",
        ],
        tensorrt_rtx.CudaGraphStrategy: ["WHOLE_GRAPH_CAPTURE"],
        tensorrt_rtx.IRuntimeConfig: ["cuda_graph_strategy"],
        tensorrt_rtx.TensorIOMode: ["INPUT"],
        tensorrt_rtx.TensorLocation: ["DEVICE"],
        tensorrt_rtx: ["Logger", "nptype"],
    }
    text = (ROOT / "stages/bundle/triton_tensorrt_rtx.py").read_text(encoding="utf-8")
    for owner, names in used.items():
        for name in names:
            assert hasattr(owner, name), name
            assert f".{name}" in text, name


@pytest.mark.gpu
@pytest.mark.usefixtures("triton")
def test_plan_answers_a_batch_of_requests(tmp_path: Path) -> None:
    model = load(entry(tmp_path, plans_zoo.double()), max_batch_size=8)
    arrays = [np.full((rows, 4), rows, np.float32) for rows in (1, 3, 2)]
    for _ in range(2):
        answers = model.execute([Request(["y"], x=array) for array in arrays])
        for array, answer in zip(arrays, answers, strict=True):
            assert answer.error is None
            np.testing.assert_array_equal(answer.outputs["y"].as_numpy(), array * 2)
    (refused,) = model.execute([Request(["y"], x=np.zeros((9, 4), np.float32))])
    assert "no profile of the plan takes" in str(refused.error)
    (unasked,) = model.execute([Request([], x=arrays[0])])
    assert unasked.outputs == {}
