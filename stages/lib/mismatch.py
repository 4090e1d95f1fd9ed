# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Found against pinned: pure decisions, one for each thing that can differ besides packages.

Each returns None, or the PinError to raise: what was found, what is pinned, and how to mend it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from stages.lib import errors, plan_header

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stages.lib.machine import Gpu

_AMPERE = 8  # major number of the compute capability


def demand(*verdicts: errors.PinError | None) -> None:
    """Raise the first error among the verdicts."""
    for verdict in verdicts:
        if verdict is not None:
            raise verdict


def platform(found: str, pinned: str) -> errors.PinError | None:
    """Operating system and architecture."""
    if found == pinned:
        return None
    return errors.PinError(
        f"this machine is {found}; toolchain.platform in params.yaml pins {pinned}",
        mend=f"use a {pinned} machine, or `make pins` to pin {found}, which rebuilds everything",
    )


def opset(found: int, newest: int, graph: str, backend: str) -> errors.PinError | None:
    """ONNX opset of a graph against the newest one that the backend's parser is made for."""
    if found <= newest:
        return None
    pin = f"toolchain.{backend}.onnx_opset"
    return errors.PinError(
        f"{graph} has ONNX opset {found}; {pin} in params.yaml pins {newest} as the newest. The"
        " parser would take it without a word, and read changed operators by their old meaning",
        mend=f"set `models.<model>.opset` to {newest} or less (an ONNX source: export it anew with"
        f" such an opset), or pin a newer {backend} and raise {pin} to what it is made for",
    )


def plan(
    found: tuple[str, str], backend: str, packages: Mapping[str, str], where: str
) -> errors.PinError | None:
    """Magic and version in the header of a plan (`plan_header.read`) against backend and library.

    The library is the one of `packages` that makes plans (`plan_header.library`).
    """
    package, pinned = plan_header.library(packages, backend)
    magic = plan_header.MAGIC[backend]
    if found == (magic, pinned):
        return None
    made = {magic: name for name, magic in plan_header.MAGIC.items()}.get(found[0])
    said = f"made by {made} {found[1]} (`{found[0]}`)" if made else "no TensorRT plan at all"
    return errors.PinError(
        f"{where} is {said}; toolchain.{backend}.packages in params.yaml pins {package} {pinned}"
        f" (`{magic}`)",
        mend=f"`python -m pip install --force-reinstall {package}=={pinned}`, then"
        " `dvc repro --force --single-item build@<engine>`",
    )


def cuda_runtime(found: str | None, pinned: str | None, backend: str) -> errors.PinError | None:
    """CUDA runtime, major and minor; nothing is demanded where nothing is pinned."""
    if pinned is None or found == pinned:
        return None
    pin = f"toolchain.{backend}.cuda_runtime"
    major = int(pinned.partition(".")[0])
    wheel = "nvidia-cuda-runtime" if major > 12 else f"nvidia-cuda-runtime-cu{major}"  # noqa: PLR2004
    return errors.PinError(
        f"the CUDA runtime here is {found or 'not installed'}; {pin} in params.yaml pins {pinned}",
        mend=f"`python -m pip install '{wheel}=={pinned}.*'` or install CUDA toolkit {pinned}; or"
        f" set {pin} to what is installed",
    )


def driver(found: str, least: str, backend: str) -> errors.PinError | None:
    """NVIDIA driver against the oldest that will do."""
    if _numbers(found) >= _numbers(least):
        return None
    pin = f"toolchain.{backend}.driver_min"
    return errors.PinError(
        f"the NVIDIA driver here is {found}; {pin} in params.yaml pins {least} or newer",
        mend=f"install driver {least} or newer (`nvidia-smi` shows the running one; a new driver"
        " needs a reboot)",
    )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def target(found: Gpu, wanted: Mapping[str, str], engine: str) -> errors.PinError | None:
    """The GPU to build on: name and compute capability."""
    here = {"name": found.name, "compute_capability": found.compute_capability}
    if here == dict(wanted):
        return None
    pin = f"engines.{engine}.builder.gpu"
    now = f'{{name: {found.name}, compute_capability: "{found.compute_capability}"}}'
    return errors.PinError(
        f"the GPU here is {_gpu(here)}; {pin} in params.yaml pins {_gpu(wanted)}",
        mend="build on a machine with that GPU (of several, choose it by CUDA_VISIBLE_DEVICES), or"
        f" set {pin} to {now}",
    )


def runs_on(found: Gpu, builder: Mapping[str, Any], plan_path: str) -> errors.PinError | None:
    """Whether a plan of these builder settings is made for a GPU.

    TensorRT-RTX: one of the compute capabilities named, where any is. TensorRT: by
    `hardware_compatibility` any GPU from Ampere on, the same compute capability, or the same GPU.
    """
    have = found.compute_capability
    if "gpu" not in builder:
        targets = builder["compute_capabilities"]
        fits = not targets or f"sm{have.replace('.', '')}" in targets
        built_for, key = ", ".join(targets), "compute_capabilities"
    else:
        gpu, level = builder["gpu"], builder["hardware_compatibility"]
        same = have == gpu["compute_capability"]
        fits = {
            "ampere_plus": _numbers(have)[0] >= _AMPERE,
            "same_compute_capability": same,
            "none": same and found.name == gpu["name"],
        }[level]
        built_for, key = f"{_gpu(gpu)}, hardware_compatibility {level}", "gpu"
    if fits:
        return None
    here = _gpu({"name": found.name, "compute_capability": have})
    return errors.PinError(
        f"{plan_path} is built for {built_for}; the GPU here is {here}",
        mend="run it on a GPU that it is built for, or change `engines.<engine>.builder"
        f".{key}` in params.yaml and `dvc repro build@<engine>`",
    )


def _gpu(gpu: Mapping[str, str]) -> str:
    return f"{gpu['name']} (compute capability {gpu['compute_capability']})"
