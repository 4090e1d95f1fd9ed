# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Runs TensorRT plans on a GPU, behind Polygraphy's runner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polygraphy.backend.trt import TrtRunner

from stages.backends import gpu

if TYPE_CHECKING:
    from pathlib import Path

    from polygraphy.backend.base import BaseRunner


def runner(plan: Path) -> BaseRunner:
    """A Polygraphy runner for a plan; see `stages.backends.run_api.RunBackend`."""
    found = gpu.device_info()
    import tensorrt as trt  # not installed where there is no GPU

    engine = gpu.engine(trt, plan, found, host_code=True)
    return TrtRunner(lambda: engine, name="tensorrt")
