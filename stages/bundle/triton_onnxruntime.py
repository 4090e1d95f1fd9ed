# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the typed graph on the CPU for model.py; packed as it is, as <version>/runtime.py.

For machines without a GPU. It computes as `validate` did, and is never a test of the plan. It needs
NumPy and `onnxruntime`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

Arrays = dict[str, np.ndarray[Any, Any]]

_FATAL_ONLY = 4


class CannotServeError(Exception):
    """Why the graph cannot be loaded, or a request not be answered."""


class Engine:
    """A graph in one session.

    Attributes:
        inputs: names, in order.
        outputs: likewise.
    """

    def __init__(
        self,
        folder: Path,
        told: dict[str, Any],
        config: dict[str, Any],  # noqa: ARG002  the interface of runtime.py
        device: int,  # noqa: ARG002
    ) -> None:
        ort = onnxruntime(told["toolchain"]["validate"]["onnxruntime"])
        options = ort.SessionOptions()
        # As in validation: what is computed depends on the graph and the request alone.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = told["params"][f"models.{told['model']}.threads"]
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = _FATAL_ONLY
        graph = str(folder / told["serving"]["files"][0])
        try:
            self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class
            msg = f"ONNX Runtime cannot load the typed graph: {str(error).strip()}"
            raise CannotServeError(msg) from None
        self.inputs = [tensor["name"] for tensor in told["inputs"]]
        self.outputs = [tensor["name"] for tensor in told["outputs"]]

    def run(
        self,
        parts: list[Arrays],
        shapes: dict[str, tuple[int, ...]],
        profile: int,  # noqa: ARG002  a graph has no profiles
    ) -> Arrays:
        """Run parts, joined along the first axis."""
        feed = {name: _joined([part[name] for part in parts]) for name in self.inputs}
        try:
            found = self._session.run(self.outputs, feed)
        except Exception as error:
            msg = f"ONNX Runtime failed on {shapes}: {str(error).strip()}"
            raise CannotServeError(msg) from None
        return dict(zip(self.outputs, found, strict=True))


def _joined(arrays: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    return np.concatenate(arrays) if arrays[1:] else arrays[0]


def onnxruntime(version: str) -> Any:
    """The library, in the version that validated the graph."""
    try:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # noqa: TID251  read at the import
        import onnxruntime as ort  # noqa: TID251  its absence has a message
    except ImportError as error:
        mend = f"python -m pip install onnxruntime=={version}"
        msg = f"this server's Python has no onnxruntime ({error}): {mend}"
        raise CannotServeError(msg) from None
    if ort.__version__ != version:
        msg = f"ONNX Runtime {version} validated the graph, and here is {ort.__version__}"
        raise CannotServeError(msg)
    return ort
