# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Places of nodes in the source model."""

from __future__ import annotations

import onnx_ir as ir

from stages.passes import places

TRACE = """File "/home/me/net/model.py", line 17, in forward
    x = self.head(x)
File "/venv/lib/python3.11/site-packages/torch/nn/modules/module.py", line 1, in _call
    return f(x)
File "/home/me/net/head.py", line 5, in forward
    return torch.linalg.det(x)
File "/venv/lib/python3.11/site-packages/torch/linalg.py", line 2, in det
"""
NOTES = {
    "pkg.torch.onnx.stack_trace": TRACE,
    "pkg.torch.onnx.name_scopes": "['', 'head', 'head.0', 'linalg_det']",
}
PLACE = "head.py:5 in forward: return torch.linalg.det(x); module head.0, linalg_det"


def model(*steps: tuple[str, str, str, dict[str, str]]) -> ir.Model:
    """A chain of nodes: (operator, name, name of its output, notes)."""
    value: ir.Value = ir.val("x", shape=ir.Shape([2, 2]), type=ir.TensorType(ir.DataType.FLOAT))
    inputs, nodes = [value], []
    for op, name, output, notes in steps:
        node = ir.node(op, [value], name=name)
        node.metadata_props.update(notes)
        value = node.outputs[0]
        value.name = output
        nodes.append(node)
    graph = ir.Graph(inputs, [value], nodes=nodes, opset_imports={"": 20})
    return ir.Model(graph, ir_version=10)


EXPORTED = model(("Det", "det", "d", NOTES), ("Relu", "relu", "y", {}))


def test_a_node_that_is_still_there_has_its_notes() -> None:
    clean = model(("Det", "det", "d", {}), ("Relu", "relu", "y", {}))
    found = places.Places(EXPORTED, clean)
    assert found.of("det") == PLACE
    assert found.of("relu") == ""
    assert found.of("stranger") == ""


def test_a_node_that_a_pass_made_is_part_of_what_it_was_made_for() -> None:
    clean = model(("Mul", "new", "m", {}), ("Add", "sum", "d", {}), ("Relu", "relu", "y", {}))
    found = places.Places(EXPORTED, clean)
    assert found.of("new") == f"part of det (Det), {PLACE}"
    assert found.of("sum") == f"part of det (Det), {PLACE}"


def test_no_path_of_the_exporting_machine_is_told() -> None:
    node = ir.node("Det", [None], name="det")
    node.metadata_props["pkg.torch.onnx.stack_trace"] = 'File "C:\\\\me\\\\a b.py", line 3, in f'
    assert places.note(node) == "a b.py:3 in f"


def test_notes_that_are_no_notes_are_left_out() -> None:
    node = ir.node("Det", [None], name="det")
    for text in ("[", "3", "{'a': 1}", "__import__('os')", "['']", "[1]"):
        node.metadata_props["pkg.torch.onnx.name_scopes"] = text
        assert places.note(node) == "", text
