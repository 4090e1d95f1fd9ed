# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What must hold before a builder runs, and of what it made.

A guard may stop a stage, and changes no output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.lib import errors, machine, mismatch, onnx_header, plan_header

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def graph(path: Path, newest: int, backend: str) -> None:
    """The graph's opset is one that the backend's parser is made for.

    Raises:
        PinError: it is newer.
        GraphError: the file is no ONNX graph.
    """
    mismatch.demand(mismatch.opset(onnx_header.opset(path), newest, path.as_posix(), backend))


def target(
    engine: str,
    backend: str,
    builder: Mapping[str, Any],
    *,
    cuda_runtime: str | None,
    driver_min: str,
) -> None:
    """A backend that builds on the GPU finds the pinned one, with its driver and CUDA runtime.

    Raises:
        NoDeviceError: it needs a GPU, and there is none.
        PinError: it is another GPU, CUDA runtime, or an older driver.
    """
    wanted = builder.get("gpu")
    if wanted is None:
        return
    found = cuda_runtime and machine.cuda_runtime(cuda_runtime)
    mismatch.demand(mismatch.cuda_runtime(found, cuda_runtime, backend))
    try:
        gpu = machine.gpu()
    except errors.NoDeviceError as error:
        name, capability = wanted["name"], wanted["compute_capability"]
        pinned = f"engines.{engine}.builder.gpu pins {name} (compute capability {capability})"
        msg = f"{backend} builds on the GPU itself, and here is none: {error.what}. {pinned}"
        mend = f"`python -m stages.build {engine}` on a machine with that GPU, or backend"
        raise errors.NoDeviceError(
            msg, mend=f"{mend} tensorrt_rtx, which builds on any CPU"
        ) from None
    mismatch.demand(
        mismatch.target(gpu, wanted, engine), mismatch.driver(gpu.driver, driver_min, backend)
    )


def plan(path: Path, backend: str, packages: Mapping[str, str], name: str) -> None:
    """The plan's header names the pinned version: metadata of a package can be wrong.

    Args:
        path: the plan.
        backend: which one made it.
        packages: `toolchain.<backend>.packages`.
        name: what the plan is called in messages.

    Raises:
        PinError: it is of another library or version.
    """
    mismatch.demand(mismatch.plan(plan_header.read(path), backend, packages, name))
