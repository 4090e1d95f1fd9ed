# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Operators that a SavedModel would run and that write files or reach out, read beforehand.

A SavedModel is a program (TensorFlow's SECURITY.md): initializers run when it is loaded, and what a
signature calls runs in the parity check. Functions that only its saver calls never do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_EFFECTS = re.compile(
    r"WriteFile|Save(V2|Slices)?|DistributedSave|MergeV2Checkpoints|(Save|Snapshot|Cache)Dataset\w*|"
    r"\w*DatasetToTFRecord|CreateSummary(File|Db)Writer|DumpTensor|(Eager)?PyFunc\w*|Rpc\w+|"
    r"Debug(Identity|NanCount|NumericSummary)\w*|FileSystemSetConfiguration"
)
_PRINTS, _STREAM = "PrintV2", b"file:"
# What a SavedModel of TensorFlow 1 runs when it is loaded.
_BEGINNING = ("saved_model_main_op", "legacy_init_op")


def found(graph: Any) -> list[tuple[str, str]]:
    """Operator and node of each one in a MetaGraphDef, in the order of their names."""
    return sorted({(node.op, node.name) for node in _run(graph) if _has_effect(node)})


def _has_effect(node: Any) -> bool:
    to_file = node.op == _PRINTS and node.attr["output_stream"].s.startswith(_STREAM)
    return to_file or bool(_EFFECTS.fullmatch(node.op))


def _run(graph: Any) -> Iterator[Any]:
    """Every node that loading, or a signature, can come to."""
    main = {node.name: node for node in graph.graph_def.node}
    library = {one.signature.name: one.node_def for one in graph.graph_def.library.function}
    functions = list(graph.object_graph_def.concrete_functions)
    nodes = [main[name] for name in map(_node, _ends(graph)) if name in main]
    seen: set[str] = set()
    known: set[str] = set()
    while nodes or functions:
        if nodes:
            node = nodes.pop()
            if node.name in seen:
                continue
            seen.add(node.name)
            nodes += [main[name] for name in map(_node, node.input) if name in main]
            here = [node]
        else:
            name = functions.pop()
            here = [] if name in known else list(library.get(name, ()))
            known.add(name)
        for node in here:
            functions += _called(node)
            yield node


def _ends(graph: Any) -> Iterator[str]:
    for signature in graph.signature_def.values():
        for tensor in signature.outputs.values():
            yield tensor.name
    for name in _BEGINNING:
        yield from graph.collection_def[name].node_list.value
    yield graph.saver_def.restore_op_name


def _node(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _called(node: Any) -> Iterator[str]:
    for value in node.attr.values():
        yield from (one.name for one in (value.func, *value.list.func) if one.name)
