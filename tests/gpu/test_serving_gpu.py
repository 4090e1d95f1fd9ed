# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A TensorRT-RTX plan in a real Triton server on a real GPU: `bench/device.sh --test`."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from stages.serving import clients, server
from tests import plans_zoo

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.gpu
CLIENTS, EACH = 8, 20


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_plan_is_served(tmp_path: Path, *, cuda_graphs: bool) -> None:
    package = plans_zoo.package(tmp_path / "double", cuda_graphs=cuda_graphs)
    with server.serving([package]) as running:
        for protocol in clients.PROTOCOLS:
            with clients.Client(running, protocol) as client:
                assert client.why_not_ready("double") is None
                for rows in (1, 2, 8):
                    x = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)
                    answer = client.infer("double", {"x": x}, ["y"])
                    np.testing.assert_array_equal(answer["y"], x * 2)
                with pytest.raises(clients.RefusedError, match="batch-size must be <= 8"):
                    client.infer("double", {"x": np.zeros((9, 4), np.float32)}, ["y"])
        crowd(running)


def crowd(running: server.Server) -> None:
    """Many clients at once: each gets its own answers, and the plan runs less often than asked."""
    together = threading.Barrier(CLIENTS)

    def work(number: int) -> None:
        with clients.Client(running, "grpc") as client:
            together.wait()
            for index in range(EACH):
                x = np.full((1, 4), number * EACH + index, np.float32)
                np.testing.assert_array_equal(client.infer("double", {"x": x}, ["y"])["y"], x * 2)

    with clients.Client(running, "grpc") as client:
        before = client.statistics("double").executions
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(work, range(CLIENTS)))
        assert client.statistics("double").executions - before < CLIENTS * EACH
