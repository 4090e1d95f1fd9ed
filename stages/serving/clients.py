# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Triton's own clients, HTTP and gRPC, behind the few calls that a check needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

if TYPE_CHECKING:
    from stages.serving.server import Server

Arrays = dict[str, np.ndarray[Any, Any]]

PROTOCOLS = ("http", "grpc")
_TIMEOUT_S = 60.0


class RefusedError(Exception):
    """The server answered a request with an error; the message is the server's."""


@dataclass(frozen=True)
class Statistics:
    """Of one model since it was loaded: requests, and how often the model ran, by batch."""

    requests: int
    executions: int
    batches: dict[int, int]


class Client:
    """One connection, for one thread."""

    def __init__(self, server: Server, protocol: str) -> None:
        self._http = protocol == "http"
        if self._http:
            self._library: Any = over_http
            self._client: Any = over_http.InferenceServerClient(
                server.http, connection_timeout=_TIMEOUT_S, network_timeout=_TIMEOUT_S
            )
        else:
            self._library = over_grpc
            self._client = over_grpc.InferenceServerClient(server.grpc)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def infer(self, model: str, feed: Arrays, outputs: list[str]) -> Arrays:
        """Send one request.

        Raises:
            RefusedError: the server refuses it, or the model fails on it.
        """
        inputs = []
        for name, array in feed.items():
            dtype = np_to_triton_dtype(array.dtype)
            inputs.append(self._library.InferInput(name, list(array.shape), dtype))
            inputs[-1].set_data_from_numpy(np.ascontiguousarray(array))
        wanted = [self._library.InferRequestedOutput(name) for name in outputs]
        options = {} if self._http else {"client_timeout": _TIMEOUT_S}
        try:
            answer = self._client.infer(model, inputs, outputs=wanted, **options)
        except InferenceServerException as error:
            raise RefusedError(str(error.message())) from None
        return {name: answer.as_numpy(name) for name in outputs}

    def why_not_ready(self, model: str) -> str | None:
        """Why the server could not load a model; None if it did."""
        if self._client.is_model_ready(model):
            return None
        index = self._client.get_model_repository_index()
        entries = (
            index if self._http else [{"name": m.name, "reason": m.reason} for m in index.models]
        )
        reasons = [entry.get("reason", "") for entry in entries if entry["name"] == model]
        return next(filter(None, reasons), "the server does not say why")

    def statistics(self, model: str) -> Statistics:
        """What the server counted; gRPC alone."""
        (found,) = self._client.get_inference_statistics(model).model_stats
        batches = {int(one.batch_size): int(one.compute_infer.count) for one in found.batch_stats}
        requests = int(found.inference_stats.success.count)
        return Statistics(requests, int(found.execution_count), batches)

    def largest(self, model: str) -> int:
        """Largest batch of a model, 0 if it has none; gRPC alone."""
        return int(self._client.get_model_config(model).config.max_batch_size)

    def version(self) -> str:
        """Version of the server; gRPC alone."""
        return str(self._client.get_server_metadata().version)
