# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A signature of a SavedModel: https://www.tensorflow.org/guide/saved_model."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from stages.exporters.tensorflow import complaining, effects
from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GRAPH = "saved_model.pb"
_DEFAULT = "serving_default"
_TAG = "serve"
_SHARD = re.compile(r"variables\.data-\d{5}-of-(\d{5})")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model that is read.

    Attributes:
        what: the subject of messages.
        inputs, outputs: tf.TensorSpec by name.
        call: outputs by name from inputs by name, both tf.Tensor.
        model: what `call` needs to stay alive, and holds the tables.
    """

    what: str
    inputs: dict[str, tf.TensorSpec]
    outputs: dict[str, tf.TensorSpec]
    call: Callable[[dict[str, Any]], dict[str, Any]]
    model: Any


def read(folder: Path, signature: str, *, untrusted: str | None) -> Source:
    """The function of a signature, `serving_default` if `signature` is empty.

    Args:
        folder: of the SavedModel.
        signature: its name.
        untrusted: what models.<m>.source.trusted would call the graph; None if it may do anything.

    Raises:
        SourceModelError: files are missing or damaged, or there is no such signature, or it
            is not trusted and would write files or reach out.
    """
    graph = _graph(folder)
    if untrusted is not None:
        _check_effects(folder, graph, untrusted)
    name = _signature(folder, graph, signature)
    _check_variables(folder, graph)
    try:
        model = tf.saved_model.load(str(folder), tags=list(graph.meta_info_def.tags))
        function = model.signatures[name]
    except MemoryError:
        raise
    except Exception as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        cause = words[0].partition(" Showing")[0]  # every variable
        msg = f"{folder} could not be loaded by TensorFlow {tf.__version__}: {cause}"
        mend = f"copy all of {folder} again, or save the model again"
        raise errors.SourceModelError(msg, mend=mend) from error
    return Source(
        what=f"{folder}, signature {name}",
        inputs=dict(function.structured_input_signature[1]),
        outputs=_specs(function.structured_outputs),
        call=lambda tensors: function(**tensors),
        model=model,
    )


def _specs(outputs: dict[str, Any]) -> dict[str, tf.TensorSpec]:
    return {name: tf.TensorSpec(one.shape, one.dtype, name=name) for name, one in outputs.items()}


def _graph(folder: Path) -> Any:
    """The one graph of the file, or the one for serving, as it is written there."""
    path = folder / GRAPH
    if not path.is_file():
        raise _no_graph(folder)
    try:
        graphs = saved_model_pb2.SavedModel.FromString(path.read_bytes()).meta_graphs
    except DecodeError:
        graphs = []
    if not graphs:
        msg = f"{path} is no SavedModel, or is truncated ({path.stat().st_size} bytes)"
        raise errors.SourceModelError(msg, mend="copy it again, or save the model again")
    tags = [sorted(graph.meta_info_def.tags) for graph in graphs]
    for graph, one in zip(graphs, tags, strict=True):
        if len(graphs) == 1 or one == [_TAG]:
            return graph
    msg = f"{path} holds {len(graphs)} graphs, none with the tag {_TAG} alone: {tags}"
    raise errors.SourceModelError(msg, mend="save the model again, for serving alone")


def _check_effects(folder: Path, graph: Any, name: str) -> None:
    if not (found := effects.found(graph)):
        return
    msg = (
        f"{folder} does more than compute when it is loaded or called, and is not trusted:\n"
        f"{complaining.listed(found)}"
    )
    digest = hashlib.sha256((folder / GRAPH).read_bytes()).hexdigest()
    mend = (
        "save it for inference alone; if you trust whoever made it, add to"
        f" models.<m>.source.trusted: {{file: {name}, sha256: {digest}}}"
    )
    raise errors.SourceModelError(msg, mend=mend)


def _no_graph(folder: Path) -> errors.SourceModelError:
    inner = sorted(path.parent for path in folder.glob("**/saved_model.pb"))
    others = sorted(path.name for path in folder.glob("saved_model.*"))
    mend = "set models.<m>.source.entry to the folder that tf.saved_model.save wrote"
    if inner:
        mend = f"set models.<m>.source.entry to the folder below: {inner[0]}"
    elif others:
        mend = f"{others[0]} is not read: save the model again, so that saved_model.pb is written"
    elif any(folder.glob("*.index")):
        mend = "a checkpoint has weights and no graph: load it and write model.export(<folder>)"
    elif any(folder.glob("*.pd*")) or (folder / "inference.json").is_file():
        mend = "by its files it is for models.<m>.source.framework: paddlepaddle"
    return errors.SourceModelError(f"{folder} has no saved_model.pb", mend=mend)


def _signature(folder: Path, graph: Any, wanted: str) -> str:
    found = [name for name in sorted(graph.signature_def) if not name.startswith("__")]
    name = wanted or _DEFAULT
    if name in found:
        return name
    if not found:
        msg = f"{folder} has no signatures, so nothing says what its inputs are"
        mend = "write it with model.export, or tf.saved_model.save(..., signatures=...)"
    else:
        msg = f"{folder} has no signature {name}; it has: {', '.join(found)}"
        mend = f"name one of them: `entry: {folder.name}:{found[0]}`"
    raise errors.SourceModelError(msg, mend=mend)


def _check_variables(folder: Path, graph: Any) -> None:
    """Every file of the variables, which TensorFlow asks for one by one."""
    objects = graph.object_graph_def.nodes
    if not graph.saver_def.restore_op_name and not any(
        one.WhichOneof("kind") == "variable" for one in objects
    ):
        return
    home = folder / "variables"
    names = {path.name for path in home.glob("*")}
    shards = [match for name in names if (match := _SHARD.fullmatch(name))]
    total = int(shards[0][1]) if shards else 1
    wanted = [
        "variables.index",
        *(f"variables.data-{number:05}-of-{total:05}" for number in range(total)),
    ]
    if lacking := [name for name in wanted if name not in names]:
        msg = f"{home} lacks {', '.join(lacking)}: the weights are not there"
        mend = f"copy the whole folder {folder.name}, variables/ included"
        raise errors.SourceModelError(msg, mend=mend)
