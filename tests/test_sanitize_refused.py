# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The stage `sanitize` tells what TensorRT will refuse, with its place in the source model."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import onnx
import pytest
from onnx import helper

from stages import export, sanitize
from stages.lib import files, layout
from stages.passes import blockers

if TYPE_CHECKING:
    from tests.conftest import Project

TRACE = 'File "/home/me/net.py", line 7, in forward\n    return x.unique()\n'


def unique(project: Project) -> None:
    """Give the source model two nodes that no TensorRT has; its outputs depend on both."""
    path = project.root / "models/tiny/source/net.onnx"
    model = onnx.load(path)
    last = next(node for node in model.graph.node if "logits" in node.output)
    last.output[0] = "before"
    model.graph.node.extend(
        [
            helper.make_node("Unique", ["x"], ["values"], name="first"),
            helper.make_node("ReduceMax", ["values"], ["most"], name="most", keepdims=0),
            helper.make_node("Add", ["before", "most"], ["sum"], name="sum"),
            helper.make_node("Unique", ["sum"], ["others"], name="second"),
            helper.make_node("ReduceMin", ["others"], ["least"], name="least", keepdims=0),
            helper.make_node("Mul", ["sum", "least"], ["logits"], name="product"),
        ]
    )
    note = next(node for node in model.graph.node if node.name == "first").metadata_props.add()
    note.key, note.value = "pkg.torch.onnx.stack_trace", TRACE
    onnx.save(model, path)


def refused() -> dict[str, Any]:
    details: dict[str, Any] = files.read_json(layout.facts("sanitize", "tiny"))["details"]
    return dict(details["refused"])


def test_every_refused_node_is_listed_with_its_place(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    unique(project)
    export.main("tiny")
    sanitize.main("tiny")
    told = refused()
    assert told["known"]
    assert [(one["name"], one["op"], one["place"]) for one in told["nodes"]] == [
        ("first", "Unique", "net.py:7 in forward: return x.unique()"),
        ("second", "Unique", ""),
    ]
    assert all("does not have this operator" in one["reason"] for one in told["nodes"])
    shown = capsys.readouterr().out
    assert "sanitize tiny: TensorRT-RTX refuses 2 parts of the graph:\n" in shown
    assert "'first' (Unique), net.py:7 in forward: return x.unique()" in shown
    assert "/home/me" not in layout.facts("sanitize", "tiny").read_text()


@pytest.mark.usefixtures("project")
def test_a_graph_that_parses_has_nothing_refused() -> None:
    export.main("tiny")
    sanitize.main("tiny")
    assert refused() == {"known": True, "nodes": []}
    code = files.read_json(layout.facts("sanitize", "tiny"))["code"]
    assert "stages/backends/tensorrt_rtx/parse.py" in code


@pytest.mark.usefixtures("project")
def test_a_parser_that_crashes_leaves_the_clean_graph(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    export.main("tiny")
    monkeypatch.setattr(blockers, "find", lambda *_: os.kill(os.getpid(), signal.SIGBUS))
    sanitize.main("tiny")
    assert not refused()["known"]
    assert "SIGBUS" in refused()["why"]
    assert (layout.clean("tiny") / layout.GRAPH_FILE).exists()
    assert "what TensorRT-RTX refuses is not known" in capsys.readouterr().out
