# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Guards around a build: on real files, and on GPUs that stand where the probe finds one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from stages.lib import errors, guards, machine
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from pathlib import Path

BUILDER: dict[str, Any] = {"gpu": {"name": "NVIDIA L4", "compute_capability": "8.9"}}


def target(builder: dict[str, Any] | None = None) -> None:
    guards.target("e", "tensorrt", builder or BUILDER, cuda_runtime="13.4", driver_min="580.65.06")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with the pinned GPU, driver and runtime."""
    gpu = machine.Gpu(
        name="NVIDIA L4", compute_capability="8.9", driver="580.65.06", memory_mib=23034
    )
    monkeypatch.setattr(machine, "gpu", lambda: gpu)
    monkeypatch.setattr(machine, "cuda_runtime", lambda _: "13.4")


@pytest.mark.usefixtures("found")
def test_the_pinned_gpu_will_do() -> None:
    target()


@pytest.mark.usefixtures("found")
def test_another_gpu_driver_or_runtime_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    other = machine.Gpu(name="NVIDIA L4", compute_capability="8.9", driver="570.1", memory_mib=1)
    monkeypatch.setattr(machine, "gpu", lambda: other)
    with pytest.raises(errors.PinError, match=r"driver here is 570\.1"):
        target()
    with pytest.raises(errors.PinError, match=r"engines\.e\.builder\.gpu .* pins NVIDIA H200"):
        target({"gpu": {"name": "NVIDIA H200", "compute_capability": "9.0"}})
    monkeypatch.setattr(machine, "cuda_runtime", lambda _: "12.9")
    with pytest.raises(errors.PinError, match=r"CUDA runtime here is 12\.9"):
        target()


@pytest.mark.usefixtures("found")
def test_an_absent_gpu_has_a_message_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> machine.Gpu:
        msg = "there is no NVIDIA driver: libcuda.so.1 does not load"
        raise errors.NoDeviceError(msg, mend="")

    monkeypatch.setattr(machine, "gpu", none)
    with pytest.raises(errors.NoDeviceError, match="here is none: there is no NVIDIA") as caught:
        target()
    assert "engines.e.builder.gpu pins NVIDIA L4 (compute capability 8.9)" in caught.value.what
    assert "`python -m stages.build e` on a machine with that GPU" in caught.value.mend


def test_a_backend_that_builds_on_the_cpu_asks_for_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(machine, "gpu", never)
    monkeypatch.setattr(machine, "cuda_runtime", never)
    builder = {"compute_capabilities": ["sm89"]}
    guards.target("e", "tensorrt_rtx", builder, cuda_runtime=None, driver_min="580.65.06")


def test_a_graph_of_a_newer_opset_stops(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = zoo.tiny()
    model.opset_import[0].version = 26
    path.write_bytes(model.SerializeToString())
    guards.graph(path, 26, "tensorrt_rtx")
    with pytest.raises(errors.PinError, match=r"model\.onnx has ONNX opset 26; .* pins 25"):
        guards.graph(path, 25, "tensorrt_rtx")


@pytest.mark.parametrize(
    ("backend", "packages", "magic"),
    [
        ("tensorrt_rtx", {"tensorrt-rtx": "1.7.1.116"}, b"vtrt"),
        ("tensorrt", {"tensorrt": "1.7.1.116"}, b"ftrt"),
    ],
)
def test_a_plan_of_another_library_stops(
    tmp_path: Path, backend: str, packages: dict[str, str], magic: bytes
) -> None:
    path = tmp_path / "model.plan.tmp"
    path.write_bytes(magic + bytes(20) + bytes([1, 7, 1, 116]))
    guards.plan(path, backend, packages, "model.plan")
    path.write_bytes(magic + bytes(20) + bytes([1, 6, 1, 116]))
    with pytest.raises(errors.PinError, match=rf"model\.plan is made by {backend} 1\.6\.1\.116"):
        guards.plan(path, backend, packages, "model.plan")
