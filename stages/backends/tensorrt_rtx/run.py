# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Runs TensorRT-RTX plans on a GPU, behind Polygraphy's runner."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from polygraphy import config

from stages.backends import gpu

if TYPE_CHECKING:
    from pathlib import Path

    from polygraphy.backend.base import BaseRunner

# Polygraphy's modules choose between `tensorrt` and `tensorrt_rtx` while they are imported.
_CHOSEN_BEFORE = "polygraphy.util" in sys.modules and not config.USE_TENSORRT_RTX
config.USE_TENSORRT_RTX = True


def runner(plan: Path) -> BaseRunner:
    """A Polygraphy runner for a plan; see `stages.backends.run_api.RunBackend`."""
    found = gpu.device_info()
    if _CHOSEN_BEFORE:
        msg = "Polygraphy was imported before this module, and bound to another TensorRT"
        raise RuntimeError(msg)
    import tensorrt_rtx as trt  # slow, and of no use without a GPU
    from polygraphy.backend.trt import TrtRunner  # after the choice above

    engine = gpu.engine(trt, plan, found, host_code=False)
    settings = engine.create_runtime_config()
    # Kernels for a new shape would else be compiled beside the first runs, which use slower ones.
    settings.dynamic_shapes_kernel_specialization_strategy = (
        trt.DynamicShapesKernelSpecializationStrategy.EAGER
    )
    return TrtRunner(lambda: engine.create_execution_context(settings), name="tensorrt_rtx")
