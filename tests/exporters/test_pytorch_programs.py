# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""`.pt2`: programs of torch.export, sound ones and ones that are made to run code."""

from __future__ import annotations

import io
import json
import logging
import pickle
import sys
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from stages.exporters import contract
from stages.exporters.api import Order
from stages.exporters.pytorch import archive
from stages.exporters.pytorch import exporter as pytorch
from stages.lib import errors, files, graphs
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from collections.abc import Callable

    Member = Callable[[bytes], bytes]

X = {"x": {"dtype": "float32", "shape": ["batch", 3]}}
FEED = {"x": zoo.values(4, 3)}


class Net(nn.Module):
    """Weights, a buffer that is a constant, a size that is computed, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("shift", torch.ones(2), persistent=False)

    def forward(self, x: torch.Tensor, scale: torch.Tensor | None = None) -> Any:
        y = self.linear(x) + self.shift
        y = y if scale is None else y * scale
        return {"b": y.reshape(2 * x.shape[0], 1), "a": torch.cat([y, y]).relu()}


def save(folder: Path, *, dynamic: bool = True, scale: bool = False) -> Path:
    """A source folder with net.pt2."""
    source = folder / "source"
    source.mkdir()
    torch.manual_seed(1)
    batch = {0: torch.export.Dim("n")} if dynamic else {}
    named = {"scale": torch.ones(2)} if scale else {}
    shapes = {"x": batch, **({"scale": {}} if scale else {})}
    program = torch.export.export(Net().eval(), (torch.ones(4, 3),), named, dynamic_shapes=shapes)
    torch.export.save(program, source / "net.pt2")
    return source


def order(source: Path, outputs: list[str], **changes: Any) -> Order:
    settings: dict[str, Any] = {"inputs": X, "opset": 20, "entry": "net.pt2"} | changes
    return Order(source=source, outputs=outputs, **settings)


def test_a_program_keeps_its_dynamic_batch(tmp_path: Path) -> None:
    wanted = order(save(tmp_path), ["b", "a"])
    pytorch.export(wanted, FEED, tmp_path / "out")
    contract.check(graphs.load(tmp_path / "out"), X, ["b", "a"], "models.m")
    proto, framework = onnx.load(tmp_path / "out/model.onnx"), pytorch.load(wanted)
    for count in (1, 4, 7):
        feeds = {"x": zoo.values(count, 3)}
        expected, found = framework(feeds), zoo.infer(proto, feeds)
        assert expected["b"].shape == (2 * count, 1)
        for name in ("b", "a"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)
    sizes = [v.type.tensor_type.shape.dim[0].dim_param for v in proto.graph.output]
    assert sizes == ["2*batch", "2*batch"]


def test_the_bytes_are_the_same_each_time(tmp_path: Path) -> None:
    wanted = order(save(tmp_path), ["b", "a"])
    for name in ("one", "two"):
        pytorch.export(wanted, FEED, tmp_path / name)
    made = [(tmp_path / name / "model.onnx").read_bytes() for name in ("one", "two")]
    assert made[0] == made[1]
    assert str(Path(__file__).parents[2]).encode() not in made[0]


def test_an_input_that_the_program_takes_by_name(tmp_path: Path) -> None:
    inputs = X | {"factor": {"dtype": "float32", "shape": [2]}}
    wanted = order(save(tmp_path, scale=True), ["b", "a"], inputs=inputs)
    feeds = FEED | {"factor": zoo.values(2)}
    pytorch.export(wanted, feeds, tmp_path / "out")
    found = zoo.infer(onnx.load(tmp_path / "out/model.onnx"), feeds)
    np.testing.assert_allclose(found["b"], pytorch.load(wanted)(feeds)["b"], rtol=1e-5, atol=1e-6)


def refused(wanted: Order, message: str) -> errors.SourceModelError:
    with pytest.raises(errors.SourceModelError, match=message) as caught:
        pytorch.export(wanted, FEED, wanted.source.parent / "out")
    assert not (wanted.source.parent / "out").exists()
    return caught.value


def test_a_fixed_batch_against_a_symbolic_one(tmp_path: Path) -> None:
    wanted = order(save(tmp_path, dynamic=False), ["b", "a"])
    told = refused(wanted, r"exported for 4 alone in dimension 0 of 'x', where .* has 'batch'")
    assert "dynamic_shapes=({0: torch.export.Dim('batch')}" in told.mend
    fixed = {"x": X["x"] | {"shape": [4, 3]}}
    pytorch.export(order(wanted.source, ["b", "a"], inputs=fixed), FEED, tmp_path / "fixed")
    contract.check(graphs.load(tmp_path / "fixed"), fixed, ["b", "a"], "models.m")


def test_a_symbolic_batch_against_a_fixed_one_breaks_the_contract(tmp_path: Path) -> None:
    fixed = {"x": X["x"] | {"shape": [4, 3]}}
    pytorch.export(order(save(tmp_path), ["b", "a"], inputs=fixed), FEED, tmp_path / "out")
    with pytest.raises(errors.SourceModelError, match=r"model: +x float32 \['s\d+', 3\]"):
        contract.check(graphs.load(tmp_path / "out"), fixed, ["b", "a"], "models.m")


def test_another_number_of_inputs(tmp_path: Path) -> None:
    told = refused(order(save(tmp_path), ["b"], inputs=X | {"z": X["x"]}), "does not take 2 inputs")
    assert "model:       x\n  params.yaml: x, z" in told.what


def test_weights_beside_a_program(tmp_path: Path) -> None:
    refused(order(save(tmp_path), ["b"], weights="w.pt"), "has its weights in it")


@pytest.mark.parametrize("cut", [0, 100, -100])
def test_a_file_that_is_no_program(tmp_path: Path, cut: int) -> None:
    path = save(tmp_path) / "net.pt2"
    path.write_bytes(path.read_bytes()[:cut])
    refused(order(path.parent, ["b"]), r"net\.pt2 is no archive of torch\.export\.save, or is dam")


def test_a_program_without_one_of_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path) / "net.pt2"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            if not name.endswith("weight_0"):
                archive.writestr(name, data)
    warned: list[str] = []
    monkeypatch.setattr(logging.getLogger("torch.export"), "handlers", [Collect(warned)])
    refused(order(path.parent, ["b"]), r"could not be loaded: .*weight_0")
    assert not warned, "torch's traceback"


class Collect(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Touch:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def rewritten(path: Path, changes: dict[str, Member], more: dict[str, bytes]) -> None:
    """Change members of an archive by the end of their names, and add some."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    root = next(iter(members)).partition("/")[0]
    for end, change in changes.items():
        (name,) = (name for name in members if name.endswith(end))
        members[name] = change(members[name])
    members |= {f"{root}/{name}": data for name, data in more.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for name, data in members.items():
            new.writestr(name, data)


def edited(change: Callable[[Any], None]) -> Member:
    def edit(data: bytes) -> bytes:
        document = json.loads(data)
        change(document)
        return json.dumps(document).encode()

    return edit


def by_text(old: str, new: str) -> Member:
    def edit(data: bytes) -> bytes:
        assert old.encode() in data
        return data.replace(old.encode(), new.encode())

    return edit


def _touching(mark: Path) -> str:
    return f"__import__('pathlib').Path({str(mark)!r}).touch()"


def pickled_inputs(path: Path, mark: Path) -> None:
    stream = io.BytesIO()
    torch.save(((torch.ones(4, 3), Touch(mark)), {}), stream)
    rewritten(path, {"data/sample_inputs/model.pt": lambda _: stream.getvalue()}, {})


def pickled_weight(path: Path, mark: Path) -> None:
    stream = io.BytesIO()
    torch.save(Touch(mark), stream)

    def change(document: Any) -> None:
        document["config"]["linear.bias"]["use_pickle"] = True

    changes = {
        "model_weights_config.json": edited(change),
        "data/weights/weight_1": lambda _: stream.getvalue(),
    }
    rewritten(path, changes, {})


def opaque_constant(path: Path, mark: Path) -> None:
    def change(document: Any) -> None:
        document["config"]["shift"]["path_name"] = "opaque_obj_0"
        document["config"]["shift"]["use_pickle"] = True

    more = {"data/constants/opaque_obj_0": pickle.dumps(Touch(mark))}
    rewritten(path, {"model_constants_config.json": edited(change)}, more)


def size_expression(path: Path, mark: Path) -> None:
    def change(document: Any) -> None:
        size = document["graph_module"]["graph"]["tensor_values"]["linear"]["sizes"][0]
        size["as_expr"]["expr_str"] = f"exec({_touching(mark)!r})"

    rewritten(path, {"models/model.json": edited(change)}, {})


def guard(path: Path, mark: Path) -> None:
    def change(document: Any) -> None:
        document["guards_code"] = [_touching(mark) + " is None"]

    rewritten(path, {"models/model.json": edited(change)}, {})


def placeholder(path: Path, mark: Path) -> None:
    new = f"x=[{_touching(mark)}]"
    rewritten(path, {"models/model.json": by_text(json.dumps("x"), json.dumps(new))}, {})


def imported_factory(path: Path, mark: Path) -> None:
    (path.parent / "made_to_be_imported.py").write_text(_touching(mark))

    def change(document: Any) -> None:
        signature = document["graph_module"]["module_call_graph"][0]["signature"]
        version, tree = json.loads(signature["out_spec"])
        tree["type"] = "collections.defaultdict"
        tree["context"] = {
            "default_factory_module": "made_to_be_imported",
            "default_factory_name": "__name__",
            "dict_context": ["b", "a"],
        }
        signature["out_spec"] = json.dumps([version, tree])

    rewritten(path, {"models/model.json": edited(change)}, {})


def second_program(path: Path, mark: Path) -> None:
    """Every file below models/ is a program to torch, whatever it is called."""
    with zipfile.ZipFile(path) as members:
        (name,) = (name for name in members.namelist() if name.endswith("models/model.json"))
        program = json.loads(members.read(name))
    size = program["graph_module"]["graph"]["tensor_values"]["linear"]["sizes"][0]
    size["as_expr"]["expr_str"] = f"exec({_touching(mark)!r})"
    more = {"models/model.text": json.dumps(program).encode()}
    rewritten(path, {}, more)


HOSTILE = {
    pickled_inputs: "a pickle of more than tensors",
    pickled_weight: "names a pickle",
    opaque_constant: "names 'opaque_obj_0', which is no tensor",
    size_expression: "has the size .*, no whole number",
    guard: "checks its inputs by code that is no comparison of sizes",
    placeholder: "has the names? .*, no names? in Python",
    imported_factory: "has a type that is no tuple, list or dict",
    second_program: r"models/model\.text in it has the size",
}


@pytest.mark.parametrize("attack", HOSTILE, ids=lambda attack: attack.__name__)
def test_a_hostile_archive_runs_nothing(
    tmp_path: Path, attack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, mark = save(tmp_path) / "net.pt2", tmp_path / "mark"
    attack(path, mark)
    wanted = order(path.parent, ["b", "a"])
    told = refused(wanted, HOSTILE[attack])
    assert "is not trusted" in told.what
    digest = files.sha256(path)
    assert f"    - file: net.pt2\n      sha256: {digest}" in told.mend
    assert not mark.exists()
    # It is no empty threat: a file that is trusted does what it wants.
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    try:
        framework = pytorch.load(order(path.parent, ["b", "a"], trusted={"net.pt2": digest}))
        framework(FEED)
    except Exception:  # noqa: S110 (many an attack leaves no sound program)
        pass
    assert mark.exists()


@pytest.mark.parametrize("target", ["torch.os.mkdir", "torch.ops.aten.from_file.default", "exec"])
def test_a_function_that_is_no_operator(tmp_path: Path, target: str) -> None:
    """Torch resolves such names too, and so far refuses to make a program of them."""
    path = save(tmp_path) / "net.pt2"

    def change(document: Any) -> None:
        document["graph_module"]["graph"]["nodes"][1]["target"] = target

    rewritten(path, {"models/model.json": edited(change)}, {})
    refused(order(path.parent, ["b"]), f"calls '{target}', no operator of torch's own")


def test_compiled_code(tmp_path: Path) -> None:
    path = save(tmp_path) / "net.pt2"
    rewritten(path, {}, {"data/aotinductor/model/x.so": b"\x7fELF"})
    refused(order(path.parent, ["b"]), r"compiled code, data/aotinductor/model/x\.so")


def test_the_format_of_older_torch(tmp_path: Path) -> None:
    path = save(tmp_path) / "net.pt2"
    with zipfile.ZipFile(path, "a") as members:
        members.writestr("version", "8.8")
    refused(order(path.parent, ["b"]), "the format of torch 2.7 and before")


def test_a_trusted_file_that_has_changed(tmp_path: Path) -> None:
    path = save(tmp_path) / "net.pt2"
    told = refused(order(path.parent, ["b"], trusted={"net.pt2": "0" * 64}), "is not the file that")
    assert f"file:        {files.sha256(path)}\n  params.yaml: {'0' * 64}" in told.what


class Zoo(nn.Module):
    """What programs of many kinds name: control flow, integers, sizes, attention, loops."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.lstm = nn.LSTM(8, 4, batch_first=True)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor, ids: torch.Tensor) -> Any:
        y, _ = self.lstm(self.attention(x))
        y = self.norm(y.transpose(1, 2)).transpose(1, 2)
        half = y[:, : x.shape[1] // 2]
        picked = torch.cond(ids.sum() > 3, lambda a: a * 2, lambda a: a + 1, (y,))
        best = torch.where(y > 0, y, float("-inf")).topk(2, dim=-1)
        return (half, [picked, best.values, best.indices]), {"d": nn.functional.pad(y, (1, 1))}


def test_programs_of_many_kinds_have_no_fault(tmp_path: Path) -> None:
    n = torch.export.Dim("n")
    given = torch.ones(2, 8, 8), torch.ones(2, 3, dtype=torch.int64)
    shapes = {"x": {0: n}, "ids": {0: n}}
    module = Zoo().eval().requires_grad_(requires_grad=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, given, dynamic_shapes=shapes)
        forms = program, program.run_decompositions()
    for number, form in enumerate(forms):
        path = tmp_path / f"{number}.pt2"
        torch.export.save(form, path)
        assert archive.fault(path) is None
        torch.export.load(path)
