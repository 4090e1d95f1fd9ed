# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT 10.13 to 11, for data-centre GPUs. It times kernels, so it needs the GPU it builds for.

What is used here is in both major versions (tests/backends/test_tensorrt_attributes.py reads it
from their wheels), so the one difference is the flag for strong typing on trtexec's command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.backends import builder
from stages.lib import errors

try:
    import tensorrt as trt
except (ImportError, OSError) as error:
    msg = (
        f"the bindings of TensorRT cannot be imported: {error}\n\nIts wheel on the Python Package"
        " Index is a stub: the libraries come from NVIDIA's own index."
    )
    raise errors.PinError(
        msg,
        mend="`python -m pip install --extra-index-url https://pypi.nvidia.com"
        " tensorrt==<toolchain.tensorrt of params.yaml>`, on a machine with the GPU",
    ) from None

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stages.backends.build_api import Engine, Order

# builder.hardware_compatibility: member of HardwareCompatibilityLevel, and trtexec's word for it.
_COMPATIBILITY = {
    "none": ("NONE", "none"),
    "ampere_plus": ("AMPERE_PLUS", "ampere+"),
    "same_compute_capability": ("SAME_COMPUTE_CAPABILITY", "sameComputeCapability"),
}


def build(order: Order, log: Callable[[str], None]) -> Engine:
    """Build an engine; see `stages.backends.build_api.BuildBackend`."""
    return builder.build(
        trt,
        order,
        log,
        configure=lambda config: _configure(config, order.builder),
        tool="trtexec",
        flags=_flags(order),
    )


def _configure(config: Any, settings: Mapping[str, Any]) -> None:
    flags = {
        "sparsity": trt.BuilderFlag.SPARSE_WEIGHTS,
        "version_compatible": trt.BuilderFlag.VERSION_COMPATIBLE,
        "strip_plan": trt.BuilderFlag.STRIP_PLAN,
        "refit": trt.BuilderFlag.REFIT,
    }
    for key, flag in flags.items():
        if settings[key]:
            config.set_flag(flag)
    level, _ = _COMPATIBILITY[settings["hardware_compatibility"]]
    config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, level)
    if settings["max_aux_streams"] is not None:
        config.max_aux_streams = settings["max_aux_streams"]


def _flags(order: Order) -> list[str]:
    settings = order.builder
    _, level = _COMPATIBILITY[settings["hardware_compatibility"]]
    streams = settings["max_aux_streams"]
    shown = {
        "--stronglyTyped": trt.__version__.startswith("10."),  # 11 knows no other typing
        "--noTF32": order.precision != "tf32",
        "--sparsity=enable": settings["sparsity"],
        "--versionCompatible": settings["version_compatible"],
        "--stripWeights": settings["strip_plan"],
        "--refit": settings["refit"],
        f"--hardwareCompatibilityLevel={level}": level != "none",
        f"--maxAuxStreams={streams}": streams is not None,
    }
    return [flag for flag, wanted in shown.items() if wanted]
