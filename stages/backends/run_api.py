# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of every backend that runs something: one function, satisfied by a module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from polygraphy.backend.base import BaseRunner


class RunBackend(Protocol):
    """`stages/backends/<backend>/run.py`, for backends whose artifact is a plan."""

    def runner(self, plan: Path) -> BaseRunner:
        """A Polygraphy runner for a plan; a context manager with `infer(feed_dict)`.

        Raises:
            NoDeviceError: there is no GPU, or its driver cannot be used.
            DeviceError: the plan does not load on this GPU.
        """
        ...
