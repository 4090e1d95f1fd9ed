# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What TensorRT says when it refuses something, for people."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Code of a refusal that is none of the parser's: it takes the input, the builder asks for bounds.
SHAPE_INPUT = "SHAPE_INPUT"
_NO_PLUGIN = "Plugin not found"
_LINES = 8
# Without a GPU each error drags this one along; it is the cause only when it stands alone.
_CUDA_ECHO = "checkMacros.cpp::catchCudaError"


def parse(graph: str, found: Iterable[Any]) -> errors.EngineryError:
    """The parser's errors (`IParserError`), once each, in order of the nodes.

    One parse checks operators, types and attributes of all nodes; only when they all pass does it
    import them one by one, and then it stops at the first that fails.
    """
    nodes: dict[tuple[int, str], None] = {}
    unread: dict[str, None] = {}
    for error in found:
        code = error.code().name
        words = f"{reason(error.desc())} [{code}]"
        if error.node() >= 0:
            name = repr(error.node_name()) if error.node_name() else "without a name"
            where = f"node {error.node()} {name} ({error.node_operator()})"
            nodes[error.node(), f"{where}: {words}"] = None
        elif code.startswith("UNSUPPORTED"):
            nodes[-1, f"an input or initializer of the graph: {words}"] = None
        else:
            unread[words] = None
    if not nodes:
        return unreadable(graph, list(unread))
    lines = [*(line for _, line in sorted(nodes)), *(f"the graph: {line}" for line in unread)]
    mend = "use other operators in the source model, or rewrite them in models/<model>/rewrites/"
    if any(_NO_PLUGIN in line for line in lines):
        mend += "; or name the library that has the plugin under engines.<e>.builder.plugins"
    more = "More may show once these are mended: the parser goes on only then."
    return errors.UnsupportedError(
        "\n".join([f"TensorRT's parser refuses {graph}:", "", *lines, "", more]), mend=mend
    )


def unreadable(graph: str, reasons: Sequence[str]) -> errors.GraphError:
    """The file is no graph at all, or lacks its weights."""
    what = "\n".join([f"TensorRT cannot read {graph}:", "", *reasons])
    return errors.GraphError(what, mend="`make repro` makes the graph again")


def reason(text: str) -> str:
    """What a person needs of a parser's message."""
    lines = [
        line
        for line in text.splitlines()
        if _CUDA_ECHO not in line and not line.startswith("Invalid Node - ")
    ]
    said = re.sub(r" In \S+ at \S+:\d+(?=\))", "", " ".join(lines))
    said = re.sub(r"^.*&& \"(.+)\"$", r"\1", said.removeprefix("Assertion failed: ").strip())
    return "TensorRT does not have this operator" if said in ("", "false") else said


def failure(what: str, messages: Sequence[str]) -> errors.BuildError:
    """The builder's failure, with the last of its error messages."""
    lines = [line for line in messages if _CUDA_ECHO not in line] or messages
    tail = [f"  {line}" for line in lines[-_LINES:]] or ["  (it left no message)"]
    return errors.BuildError(
        "\n".join([f"{what}. The last errors of the builder:", "", *tail]),
        mend="look at `profiles` and `engines.<engine>.builder` in params.yaml",
    )
