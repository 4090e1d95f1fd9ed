# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on the CPU: the reference that every stage runs graphs with.

All graph optimizations are off and the number of threads is pinned, so that what is computed
depends on the graph and the samples alone.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

# Read at the import; else the library leaves an ID in the user's cache folder, and reports.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort
from polygraphy.backend.onnxrt import OnnxrtRunner
from polygraphy.logger import G_LOGGER
from polygraphy.util import array

from stages.lib import custom_ops, errors

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

_FATAL_ONLY = 4  # an error is raised, and need not be printed too


def _is_torch(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


# To ask this of numpy arrays, Polygraphy's own import PyTorch, more than a second in each process,
# and its CUDA part.
array.is_torch = _is_torch
array.is_device_view = lambda _: False
G_LOGGER.module_severity = G_LOGGER.ERROR


def session(graph: Path | bytes, *, threads: int, packing: bool = True) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU.

    Args:
        graph: path of model.onnx (needed where weights lie beside it), or a serialized model.
        threads: intra-op threads; pinned, because a machine's own number is not part of the recipe.
        packing: whether kernels may keep weights in a layout of their own: faster, in more memory.

    Raises:
        GraphError: ONNX Runtime refuses the graph.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    # Else its threads spin on for a while after each run, and take the processor from what follows.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = _FATAL_ONLY
    if not packing:
        options.add_session_config_entry("session.disable_prepacking", "1")
    source = graph if isinstance(graph, bytes) else str(graph)
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class
        name = "a graph made from it" if isinstance(graph, bytes) else str(graph)
        msg = f"ONNX Runtime refuses {name}: {str(error).strip()}"
        mend = "look at the named node in the source model; opset and types must be valid ONNX"
        if newest := re.search(r"is till opset (\d+)", msg):
            mend = f"export the model again with opset {newest[1]} or older"
        raise errors.GraphError(msg, mend=mend) from None


def lacking(graph: Path, model: ir.Model, *, threads: int) -> str:
    """Why ONNX Runtime cannot run a graph with ops that ONNX does not define; empty if it can.

    A graph of ONNX's own ops is not tried: what is wrong with it is an error where it is run.

    Args:
        graph: path of model.onnx.
        model: the same graph.
        threads: as for `session`.
    """
    custom = custom_ops.find(model)
    if not custom:
        return ""
    try:
        session(graph, threads=threads, packing=False)
    except errors.GraphError:
        return f"ONNX Runtime lacks {', '.join(custom)}, which ONNX does not define"
    return ""


class _Runner(OnnxrtRunner):
    """Says which graph failed when a run does."""

    def infer(self, feed_dict: Any, *arguments: Any, **keywords: Any) -> Any:
        try:
            return super().infer(feed_dict, *arguments, **keywords)
        except Exception as error:  # ONNX Runtime's and Polygraphy's share no base class
            shapes = ", ".join(f"{name} {list(a.shape)}" for name, a in feed_dict.items())
            msg = f"the {self.name} graph failed on inputs {shapes}: {str(error).strip()}"
            raise errors.GraphError(
                msg,
                mend="look at the named node in the source model: a shape that it fixes must be a"
                " number in models.<m>.inputs too",
            ) from None


def runner(graph: Path | bytes, *, threads: int, name: str, packing: bool = True) -> OnnxrtRunner:
    """A Polygraphy runner over `session`; a context manager with `infer(feed_dict)`.

    `infer` raises GraphError when the graph cannot be run on its inputs.
    """
    return _Runner(lambda: session(graph, threads=threads, packing=packing), name=name)
