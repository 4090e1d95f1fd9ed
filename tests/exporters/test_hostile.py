# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Models that are made to break or exhaust what reads them, and damage that fuzzing found."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper

from stages.lib import errors, layout
from tests import graphs_zoo as zoo
from tests.fuzzing import models, target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.conftest import Project

SOUND = zoo.model(
    [zoo.node("Relu", ["x"], ["y"])], [zoo.face("x", "n", 3)], [zoo.face("y", "n", "m")]
).SerializeToString()


def graph(
    nodes: Sequence[onnx.NodeProto],
    *constants: TensorProto,
    shapes: Sequence[onnx.ValueInfoProto] = (),
    output: onnx.ValueInfoProto | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """A model that nobody has checked, with input x [n, 3] and output y."""
    ends = [zoo.face("x", "n", 3)], [output or zoo.face("y", "n", "m")]
    made = helper.make_graph(list(nodes), "g", *ends, list(constants), value_info=list(shapes))
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(made, opset_imports=imports, ir_version=9, functions=list(functions))


def ends(data: bytes | onnx.ModelProto, end: str, text: str) -> None:
    """Run `export`, and `sanitize` of what it takes."""
    given = data if isinstance(data, bytes) else data.SerializeToString()
    result = target.run(given, SOUND, "sound")
    assert (result.end, result.failed) == (end, False), result.text
    assert re.search(text, result.text), result.text


def raw(data: bytes, *dims: int, kind: int = TensorProto.FLOAT) -> TensorProto:
    return TensorProto(name="w", data_type=kind, dims=dims, raw_data=data)


RELU, ADD = zoo.node("Relu", ["x"], ["y"]), zoo.node("Add", ["x", "w"], ["y"])


def test_a_sound_model_comes_through() -> None:
    ends(SOUND, "accepted", "")


def test_a_cycle() -> None:
    nodes = [zoo.node("Add", ["x", "b"], ["a"]), zoo.node("Relu", ["a"], ["b"]), RELU]
    ends(graph(nodes), "SourceModelError", "must be topologically sorted, however input 'b'")


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (graph([zoo.node("Relu", ["x"], ["y"]), RELU]), "'y' has been used as output names"),
        (graph([RELU, zoo.node("Neg", ["x"], ["w"])], raw(bytes(12), 3)), "single static assign"),
        (graph([ADD], raw(bytes(12), 3), raw(bytes(12), 3)), "w initializer name is not unique"),
    ],
    ids=["two nodes", "node and weight", "two weights"],
)
def test_a_value_defined_twice(model: onnx.ModelProto, text: str) -> None:
    ends(model, "SourceModelError", text)


def test_two_nodes_of_one_name() -> None:
    nodes = [zoo.node("Relu", ["x"], ["a"], name="n"), zoo.node("Neg", ["a"], ["y"], name="n")]
    ends(graph(nodes), "GraphError", "two nodes with same node name")


def test_an_input_from_nowhere() -> None:
    ends(graph([ADD]), "SourceModelError", "however input 'w' of node")


def test_an_output_from_nowhere() -> None:
    ends(graph([zoo.node("Relu", ["x"], ["z"])]), "SourceModelError", "'y' is not an output of any")


@pytest.mark.parametrize(
    ("shapes", "output"),
    [
        ([zoo.face("a", "n", 7)], None),
        ([zoo.face("a", "n", 3, dtype=TensorProto.INT32)], None),
        ([zoo.face("a", "n", 3, 1)], None),
        ([], zoo.face("y", "n", 9)),
        ([], zoo.face("y", "n", 3, 1)),
    ],
    ids=["size", "type", "rank", "output's size", "output's rank"],
)
def test_a_shape_that_lies(
    shapes: list[onnx.ValueInfoProto], output: onnx.ValueInfoProto | None
) -> None:
    nodes = [zoo.node("Relu", ["x"], ["a"]), zoo.node("Relu", ["a"], ["y"])]
    model = graph(nodes, shapes=shapes, output=output)
    ends(model, "SourceModelError", "declares a type or shape that is not the true one")


def test_a_shape_that_only_a_run_shows_to_lie() -> None:
    nodes = [zoo.node("NonZero", ["x"], ["a"]), zoo.node("Cast", ["a"], ["y"], to=1)]
    model = graph(nodes, output=zoo.face("y", 2, 1))
    ends(model, "SourceModelError", r"'y' is declared as \[2, 1\] and came out as \[2, 6\]")


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (raw(bytes(11), 3), r"raw_data size \(11 bytes\) is too small"),
        (raw(bytes(13), 3), r"tensor 'w' of type FLOAT and shape \[3\] needs 12 bytes and has 13"),
        (raw(bytes(8), 1 << 40, 1 << 20), "is too small for the declared shape"),
        (raw(b"", 1 << 32, 1 << 32), "dimension product overflow"),
        (raw(bytes(12), -3), "Negative dimension value"),
        (raw(bytes(12), 3, kind=0), "UNDEFINED is not allowed"),
        (raw(bytes(12), 3, kind=77), "77"),
        (TensorProto(name="w", data_type=1, dims=[3], float_data=[1, 2]), "w"),
        (TensorProto(name="w", data_type=1, dims=[3], float_data=[1, 2, 3, 4]), "3 .* and has 4"),
        (TensorProto(name="w", data_type=8, dims=[2], string_data=[b"a"] * 3), "2 .* and has 3"),
    ],
    ids=str,
)
def test_a_tensor_with_other_bytes_than_its_shape(tensor: TensorProto, text: str) -> None:
    ends(graph([ADD], tensor), "SourceModelError", text)


@pytest.mark.parametrize(
    "node",
    [
        zoo.node("ConstantOfShape", ["s"], ["c"]),
        zoo.node("Expand", ["x", "s"], ["c"]),
        zoo.node("Tile", ["x", "s"], ["c"]),
    ],
    ids=lambda node: node.op_type,
)
def test_giant_tensors_end_at_the_limit(node: onnx.NodeProto) -> None:
    last = [zoo.node("ReduceSum", ["c"], ["r"], keepdims=0), zoo.node("Add", ["x", "r"], ["y"])]
    sizes = {"Tile": [1 << 14, 1 << 13]}.get(node.op_type, [1 << 29, 1, 3])
    model = graph([node, *last], zoo.const("s", sizes, np.int64))
    ends(model, "LimitError", "needs more than 1024 MiB of memory")


def test_a_loop_without_end_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(target.LIMITS, "seconds", 2)
    inner = [zoo.node("Identity", ["c"], ["d"]), zoo.node("Relu", ["v"], ["w"])]
    truth = {"dtype": TensorProto.BOOL}
    body = helper.make_graph(
        inner,
        "b",
        [zoo.face("i", dtype=TensorProto.INT64), zoo.face("c", **truth), zoo.face("v", "n", 3)],
        [zoo.face("d", **truth), zoo.face("w", "n", 3)],
    )
    loop = zoo.node("Loop", ["", "go", "x"], ["y"], body=body)
    ends(graph([loop], zoo.const("go", True, bool)), "LimitError", "takes longer than 2 s")


def function(name: str, *calls: str) -> onnx.FunctionProto:
    nodes = [zoo.node(op, [f"v{i}"], [f"v{i + 1}"], domain="own") for i, op in enumerate(calls)]
    imports = [helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, ["v0"], [f"v{len(calls)}"], nodes, imports)


def test_a_function_that_calls_itself() -> None:
    call = zoo.node("F", ["x"], ["y"], domain="own")
    model = graph([call], functions=[function("F", "G"), function("G", "F")])
    ends(model, "SourceModelError", "Model-local functions must not be recursive")


def test_functions_that_grow_without_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve levels of ten calls each: a file of some kilobytes, a billion nodes."""
    monkeypatch.setitem(target.LIMITS, "seconds", 3)
    levels = [function(f"F{i}", *[f"F{i + 1}"] * 10) for i in range(12)]
    last = helper.make_function(
        "own", "F12", ["v"], ["w"], [zoo.node("Relu", ["v"], ["w"])], [helper.make_opsetid("", 17)]
    )
    call = zoo.node("F0", ["x"], ["y"], domain="own")
    ends(graph([call], functions=[*levels, last]), "LimitError", "takes longer|more than 1024")


def nested(levels: int) -> bytes:
    """`If` in `If`, written by hand: protobuf itself would refuse to parse what it wrote."""

    def field(number: int, data: bytes) -> bytes:
        size, digits = len(data), bytearray()
        while True:
            digits.append(size & 127 | (128 if size > 127 else 0))
            size >>= 7
            if not size:
                return bytes([number << 3 | 2, *digits]) + data

    node = zoo.node("Relu", ["x"], ["y"]).SerializeToString()
    kind = bytes([0xA0, 0x01, AttributeProto.GRAPH])
    for _ in range(levels):
        branch = field(1, b"then_branch") + field(6, field(1, node)) + kind
        node = field(1, b"c") + field(2, b"y") + field(4, b"If") + field(5, branch)
    return graph([]).SerializeToString() + field(7, field(1, node))


@pytest.mark.parametrize("levels", [35, 2_000])
def test_graphs_in_graphs_without_end(levels: int) -> None:
    ends(nested(levels), "SourceModelError", "is not an ONNX file, or is truncated")


def test_types_in_types() -> None:
    kind = onnx.TypeProto(tensor_type=onnx.TypeProto.Tensor(elem_type=1))
    for _ in range(40):
        kind = onnx.TypeProto(sequence_type=onnx.TypeProto.Sequence(elem_type=kind))
    model = graph([RELU])
    model.graph.value_info.add(name="deep").type.CopyFrom(kind)
    ends(model, "accepted", "")


def test_text_that_is_not_utf8() -> None:
    data = graph([RELU]).SerializeToString().replace(b"\x0a\x01g", b"\x0a\x01\xbc")
    ends(
        data.replace(b"\x12\x01g", b"\x12\x01\xbc"),
        "SourceModelError",
        "name holds text that is not",
    )


def test_an_input_of_a_type_that_numpy_lacks() -> None:
    model = graph([RELU])
    model.graph.input[0].type.tensor_type.elem_type = 0
    ends(model, "SourceModelError", "UNDEFINED|Undefined|elem_type|data type")


def test_an_output_that_is_a_sequence_has_no_shape_to_check() -> None:
    node = zoo.node("SequenceConstruct", ["x", "x"], ["y"])
    output = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, ["n", 3])
    ends(graph([node], output=output), "accepted", "")


def long_text(path: Path, size: int) -> None:
    """A model whose doc string has `size` bytes, of which the disk need not hold any."""
    header = b"\x32" + b"".join(
        bytes([size >> shift & 127 | (128 if shift < 28 else 0)]) for shift in range(0, 35, 7)
    )
    with path.open("wb") as stream:
        stream.write(SOUND + header)
        stream.truncate(len(SOUND) + len(header) + size)


@pytest.mark.parametrize(
    ("size", "code", "text"),
    [
        ((2 << 30) - 1000, errors.LimitError.exit_code, "net.onnx needs more than 1024 MiB"),
        (2 << 30, errors.SourceModelError.exit_code, "an ONNX file ends at 2 GiB"),
    ],
)
def test_a_string_of_two_gigabytes(project: Project, size: int, code: int, text: str) -> None:
    project.set("models.tiny.limits", {"memory_mib": 1024, "seconds": 60})
    long_text(project.root / "models/tiny/source/net.onnx", size)
    done = project.run("export", "tiny")
    assert (done.returncode, text in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert not (project.root / layout.exported("tiny")).exists()
    assert target.peak_mib() < 1600


def test_a_process_that_exceeds_its_time_ends_with_the_code_of_that(project: Project) -> None:
    endless = models.all_of_them()["loop"]
    model = onnx.ModelProto.FromString(endless)
    model.graph.initializer[0].CopyFrom(zoo.const("trips", 1 << 60, np.int64))
    (project.root / "models/tiny/source/net.onnx").write_bytes(model.SerializeToString())
    spec: dict[str, Any] = {"dtype": "float32", "shape": ["n", 3]}
    project.set("models.tiny.inputs", {"x": spec})
    project.set("models.tiny.outputs", ["y", "all"])
    project.set(
        "models.tiny.metric", {"kind": "none", "output": None, "labels": None, "entry": None}
    )
    project.set("models.tiny.limits", {"memory_mib": 4096, "seconds": 2})
    project.set("profiles.tiny", [{"x": {key: [4, 3] for key in ("min", "opt", "max")}}])
    for engine in project.params()["engines"]:
        project.set(f"engines.{engine}.gates.max_accuracy_drop", None)
        project.set(f"engines.{engine}.validation_batch", 4)
    np.savez(project.root / "models/tiny/samples/probe/000.npz", x=zoo.values(4, 3))
    done = project.run("export", "tiny")
    assert done.returncode == errors.LimitError.exit_code == 22, done.stderr
    assert "takes longer than 2 s" in done.stderr
    assert "raise models.tiny.limits in params.yaml" in done.stderr
