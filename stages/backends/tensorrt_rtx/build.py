# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT-RTX: compiles ahead of time on any x86-64 CPU; a GPU finishes the work at load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.backends import builder
from stages.lib import errors

try:
    import tensorrt_rtx as trt
except (ImportError, OSError) as error:
    msg = f"the bindings of TensorRT-RTX cannot be imported: {error}"
    raise errors.PinError(
        msg, mend="`python -m pip install tensorrt-rtx==<toolchain.tensorrt_rtx of params.yaml>`"
    ) from None

if TYPE_CHECKING:
    from collections.abc import Callable

    from stages.backends.build_api import Engine, Order


def build(order: Order, log: Callable[[str], None]) -> Engine:
    """Build an engine; see `stages.backends.build_api.BuildBackend`."""
    targets = order.builder["compute_capabilities"]

    def configure(config: Any) -> None:
        if targets:  # else the library's own choice: Ampere and later
            config.num_compute_capabilities = len(targets)
        for index, name in enumerate(targets):
            target = getattr(trt.ComputeCapability, name.upper())
            if not config.set_compute_capability(target, index):
                what = f"TensorRT-RTX refuses the compute capability {name}"
                raise errors.BuildError(
                    what, mend="look at `builder.compute_capabilities` of the engine in params.yaml"
                )

    # `--noTF32` and `--profile` are trtexec's; NVIDIA's pages on `tensorrt_rtx` show neither. TF32
    # is left out here therefore, and several profiles are written as for trtexec.
    flags = [f"--computeCapabilities={','.join(t.removeprefix('sm') for t in targets)}"]
    return builder.build(
        trt,
        order,
        log,
        configure=configure,
        tool="tensorrt_rtx",
        flags=flags if targets else [],
    )
