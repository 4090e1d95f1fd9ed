# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The matrix of mismatches: each names what was found, what is pinned, and how to mend it.

Packages, Python and their table are in test_pins.py, an absent GPU and a newer opset of a real
graph in test_guards.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from stages.lib import errors, mismatch
from stages.lib.machine import Gpu

if TYPE_CHECKING:
    from collections.abc import Callable

RTX = {"tensorrt-rtx": "1.7.1.116"}
TRT = {"tensorrt": "11.4.0.106"}
PLAN = "artifacts/engines/e/model.plan"
L4: dict[str, str] = {"name": "NVIDIA L4", "compute_capability": "8.9"}


def gpu(name: str = "NVIDIA L4", capability: str = "8.9", driver: str = "580.65.06") -> Gpu:
    return Gpu(name=name, compute_capability=capability, driver=driver, memory_mib=23034)


def trt(level: str = "none") -> dict[str, Any]:
    return {"gpu": L4, "hardware_compatibility": level}


def rtx(*targets: str) -> dict[str, Any]:
    return {"compute_capabilities": list(targets)}


Row = tuple[str, "Callable[[], errors.PinError | None]", str, str, str]
MATRIX: list[Row] = [
    (
        "TensorRT-RTX plan of another version",
        lambda: mismatch.plan(("vtrt", "1.6.0.1"), "tensorrt_rtx", RTX, PLAN),
        "made by tensorrt_rtx 1.6.0.1 (`vtrt`)",
        "toolchain.tensorrt_rtx.packages in params.yaml pins tensorrt-rtx 1.7.1.116 (`vtrt`)",
        "pip install --force-reinstall tensorrt-rtx==1.7.1.116`",
    ),
    (
        "TensorRT plan of another version",
        lambda: mismatch.plan(("ftrt", "10.16.1.11"), "tensorrt", TRT, PLAN),
        "made by tensorrt 10.16.1.11 (`ftrt`)",
        "toolchain.tensorrt.packages in params.yaml pins tensorrt 11.4.0.106 (`ftrt`)",
        "pip install --force-reinstall tensorrt==11.4.0.106`",
    ),
    (
        "TensorRT plan where TensorRT-RTX is pinned",
        lambda: mismatch.plan(("ftrt", "1.7.1.116"), "tensorrt_rtx", RTX, PLAN),
        "made by tensorrt 1.7.1.116 (`ftrt`)",
        "pins tensorrt-rtx 1.7.1.116 (`vtrt`)",
        "dvc repro --force --single-item build@",
    ),
    (
        "TensorRT-RTX plan where TensorRT is pinned",
        lambda: mismatch.plan(("vtrt", "11.4.0.106"), "tensorrt", TRT, PLAN),
        "made by tensorrt_rtx 11.4.0.106 (`vtrt`)",
        "pins tensorrt 11.4.0.106 (`ftrt`)",
        "dvc repro --force --single-item build@",
    ),
    (
        "no plan at all",
        lambda: mismatch.plan(("", ""), "tensorrt", TRT, PLAN),
        f"{PLAN} is no TensorRT plan at all",
        "pins tensorrt 11.4.0.106 (`ftrt`)",
        "dvc repro --force --single-item build@",
    ),
    (
        "CUDA runtime of another version",
        lambda: mismatch.cuda_runtime("13.5", "13.4", "tensorrt"),
        "the CUDA runtime here is 13.5",
        "toolchain.tensorrt.cuda_runtime in params.yaml pins 13.4",
        "`python -m pip install 'nvidia-cuda-runtime==13.4.*'`",
    ),
    (
        "no CUDA runtime",
        lambda: mismatch.cuda_runtime(None, "12.9", "tensorrt"),
        "the CUDA runtime here is not installed",
        "pins 12.9",
        "`python -m pip install 'nvidia-cuda-runtime-cu12==12.9.*'`",
    ),
    (
        "an old driver",
        lambda: mismatch.driver("575.57.08", "580.65.06", "tensorrt_rtx"),
        "the NVIDIA driver here is 575.57.08",
        "toolchain.tensorrt_rtx.driver_min in params.yaml pins 580.65.06 or newer",
        "install driver 580.65.06 or newer",
    ),
    (
        "an old driver, though its text sorts behind",
        lambda: mismatch.driver("580.9.1", "580.65.06", "tensorrt"),
        "the NVIDIA driver here is 580.9.1",
        "pins 580.65.06 or newer",
        "install driver 580.65.06 or newer",
    ),
    (
        "a GPU of another name",
        lambda: mismatch.target(gpu("NVIDIA L40S"), L4, "e"),
        "the GPU here is NVIDIA L40S (compute capability 8.9)",
        "engines.e.builder.gpu in params.yaml pins NVIDIA L4 (compute capability 8.9)",
        'set engines.e.builder.gpu to {name: NVIDIA L40S, compute_capability: "8.9"}',
    ),
    (
        "a GPU of another compute capability",
        lambda: mismatch.target(gpu(capability="9.0"), L4, "e"),
        "the GPU here is NVIDIA L4 (compute capability 9.0)",
        "pins NVIDIA L4 (compute capability 8.9)",
        "build on a machine with that GPU",
    ),
    (
        "a TensorRT-RTX plan for other compute capabilities",
        lambda: mismatch.runs_on(gpu("NVIDIA H200", "9.0"), rtx("sm86", "sm89"), PLAN),
        "the GPU here is NVIDIA H200 (compute capability 9.0)",
        f"{PLAN} is built for sm86, sm89",
        "change `engines.<engine>.builder.compute_capabilities`",
    ),
    (
        "a TensorRT plan for another compute capability",
        lambda: mismatch.runs_on(gpu("NVIDIA H200", "9.0"), trt("same_compute_capability"), PLAN),
        "the GPU here is NVIDIA H200 (compute capability 9.0)",
        "NVIDIA L4 (compute capability 8.9), hardware_compatibility same_compute_capability",
        "change `engines.<engine>.builder.gpu`",
    ),
    (
        "a TensorRT plan for another GPU of the same compute capability",
        lambda: mismatch.runs_on(gpu("NVIDIA L40S"), trt(), PLAN),
        "the GPU here is NVIDIA L40S",
        "is built for NVIDIA L4 (compute capability 8.9), hardware_compatibility none",
        "`dvc repro build@<engine>`",
    ),
    (
        "a TensorRT plan for Ampere and later",
        lambda: mismatch.runs_on(gpu("Tesla T4", "7.5"), trt("ampere_plus"), PLAN),
        "the GPU here is Tesla T4 (compute capability 7.5)",
        "hardware_compatibility ampere_plus",
        "run it on a GPU that it is built for",
    ),
    (
        "a newer opset",
        lambda: mismatch.opset(26, 25, "model.onnx", "tensorrt_rtx"),
        "model.onnx has ONNX opset 26",
        "toolchain.tensorrt_rtx.onnx_opset in params.yaml pins 25 as the newest",
        "set `models.<model>.opset` to 25 or less",
    ),
    (
        "another operating system",
        lambda: mismatch.platform("windows-x86_64", "linux-x86_64"),
        "this machine is windows-x86_64",
        "toolchain.platform in params.yaml pins linux-x86_64",
        "use a linux-x86_64 machine",
    ),
    (
        "another architecture",
        lambda: mismatch.platform("linux-aarch64", "linux-x86_64"),
        "this machine is linux-aarch64",
        "toolchain.platform in params.yaml pins linux-x86_64",
        "`make pins` to pin linux-aarch64",
    ),
]


@pytest.mark.parametrize(
    ("verdict", "found", "pinned", "mend"),
    [row[1:] for row in MATRIX],
    ids=[row[0] for row in MATRIX],
)
def test_matrix(
    verdict: Callable[[], errors.PinError | None], found: str, pinned: str, mend: str
) -> None:
    error = verdict()
    assert error is not None
    assert found in error.what
    assert pinned in error.what
    assert mend in error.mend
    with pytest.raises(errors.PinError, match=re.escape(found)):
        mismatch.demand(None, error)


@pytest.mark.parametrize(
    "verdict",
    [
        mismatch.platform("linux-x86_64", "linux-x86_64"),
        mismatch.opset(25, 25, "model.onnx", "tensorrt"),
        mismatch.plan(("vtrt", "1.7.1.116"), "tensorrt_rtx", RTX, PLAN),
        mismatch.plan(("ftrt", "11.4.0.106"), "tensorrt", TRT, PLAN),
        mismatch.cuda_runtime("13.4", "13.4", "tensorrt"),
        mismatch.cuda_runtime(None, None, "tensorrt_rtx"),
        mismatch.driver("580.65.06", "580.65.06", "tensorrt"),
        mismatch.driver("580.126.09", "580.65.06", "tensorrt"),
        mismatch.driver("610.1", "580.65.06", "tensorrt"),
        mismatch.target(gpu(), L4, "e"),
        mismatch.runs_on(gpu(), rtx("sm86", "sm89"), PLAN),
        mismatch.runs_on(gpu(capability="12.0"), rtx("sm120"), PLAN),
        mismatch.runs_on(gpu(), rtx(), PLAN),
        mismatch.runs_on(gpu(), trt(), PLAN),
        mismatch.runs_on(gpu("NVIDIA L40S"), trt("same_compute_capability"), PLAN),
        mismatch.runs_on(gpu("NVIDIA H200", "9.0"), trt("ampere_plus"), PLAN),
    ],
)
def test_what_fits_is_no_mismatch(verdict: errors.PinError | None) -> None:
    assert verdict is None
    mismatch.demand(verdict)
