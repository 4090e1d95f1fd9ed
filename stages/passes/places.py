# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Where in the source model a node comes from, as far as its exporter recorded it."""

from __future__ import annotations

import ast
import re
from collections import deque
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

# PyTorch's exporter, as of PyTorch 2.13 (torch/onnx/_internal/exporter/_core.py).
_TRACE = "pkg.torch.onnx.stack_trace"
_SCOPES = "pkg.torch.onnx.name_scopes"
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\S+)(?:\n +(\S.*))?')
_LIBRARY = re.compile(r"site-packages|dist-packages")


class Places:
    """Of the nodes of the clean graph, which has no notes any more, in the exported graph."""

    def __init__(self, exported: ir.Model, clean: ir.Model) -> None:
        """Remember the notes of `exported`."""
        self.clean = {node.name: node for node in clean.graph.all_nodes()}
        self.names = {node.name: node for node in exported.graph.all_nodes()}
        self.makers = {v.name: n for n in exported.graph.all_nodes() for v in n.outputs if v.name}

    def of(self, name: str) -> str:
        """The place of a node of the clean graph; "" where nothing is known.

        A node that a pass made has the place of what it was made for: the first node downstream
        whose name, or whose output, is in the exported graph.
        """
        for node in _downstream(self.clean.get(name)):
            origin = self.names.get(node.name) or next(
                (self.makers[v.name] for v in node.outputs if v.name in self.makers), None
            )
            if origin is not None:
                told = note(origin)
                if origin.name == name:
                    return told
                return f"part of {origin.name} ({origin.op_type})" + (f", {told}" if told else "")
        return ""


def note(node: ir.Node) -> str:
    """What the exporter noted at a node: file, line and code, and the module it is of."""
    frames = [
        frame
        for frame in _FRAME.finditer(node.metadata_props.get(_TRACE, ""))
        if not _LIBRARY.search(frame[1])
    ]
    parts = []
    if frames:
        path, line, function, code = frames[-1].groups()
        # Of the path only the name: the rest is of the machine that exported.
        file = PureWindowsPath(path).name
        shown = f": {code.strip()}" if code else ""
        parts.append(f"{file}:{line} in {function}{shown}")
    if scopes := _scopes(node.metadata_props.get(_SCOPES, "")):
        parts.append(scopes)
    return "; ".join(parts)


def _scopes(text: str) -> str:
    """`['', 'stem', 'stem.0', 'conv2d']` -> `module stem.0, conv2d`."""
    try:
        found = ast.literal_eval(text or "[]")
    except (SyntaxError, ValueError):
        return ""
    names = [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
    names = [name for name in names if name]
    if not names:
        return ""
    *modules, own = names
    return f"module {modules[-1]}, {own}" if modules else own


def _downstream(node: ir.Node | None) -> Iterator[ir.Node]:
    """`node`, then what reads its outputs, nearest first."""
    todo, seen = deque([node] if node is not None else []), set()
    while todo:
        one = todo.popleft()
        if one in seen:
            continue
        seen.add(one)
        yield one
        todo.extend(use.node for value in one.outputs for use in value.uses())
