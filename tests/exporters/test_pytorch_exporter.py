# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""PyTorch sources: what people write in a forward(), and what they get wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from stages.exporters import contract
from stages.exporters.api import Order
from stages.exporters.pytorch import exporter as pytorch
from stages.lib import errors, graphs
from tests import graphs_zoo as zoo

ROOT = Path(__file__).parents[2]
X = {"x": {"dtype": "float32", "shape": ["batch", 3]}}
FEED = {"x": zoo.values(4, 3)}


def write(folder: Path, body: str, *, init: str = "") -> Path:
    """A source folder whose module has this forward()."""
    source = folder / "source"
    source.mkdir(parents=True)
    (source / "model.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        f"        {init or 'pass'}\n"
        f"    def forward(self, {body}\n"
        "def load():\n"
        "    torch.manual_seed(7)\n"
        "    return Net()\n"
    )
    return source


def order(source: Path, outputs: list[str], inputs: dict[str, Any] | None = None) -> Order:
    return Order(
        source=source, entry="model.py:load", inputs=inputs or X, outputs=outputs, opset=20
    )


def same(
    source: Path,
    outputs: list[str],
    inputs: dict[str, Any] | None = None,
    feeds: zoo.Arrays | None = None,
    others: zoo.Arrays | None = None,
) -> onnx.ModelProto:
    """Export; the graph keeps its contract and computes what the module does, on `others` too."""
    wanted, feeds = order(source, outputs, inputs), feeds or FEED
    folder = source.parent / "out"
    pytorch.export(wanted, feeds, folder)
    framework = pytorch.load(wanted)
    contract.check(graphs.load(folder), wanted.inputs, outputs, "models.m")
    proto = onnx.load(folder / "model.onnx")
    for batch in (feeds, others or feeds):
        expected, found = framework(batch), zoo.infer(proto, batch)
        assert list(expected) == list(found) == outputs
        for name in outputs:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)
    return proto


def test_the_batch_is_dynamic(tmp_path: Path) -> None:
    source = write(tmp_path, "x): return self.l(x).relu()", init="self.l = nn.Linear(3, 2)")
    for count in (1, 5):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        proto = same(
            source, ["y"], feeds={"x": zoo.values(count, 3)}, others={"x": zoo.values(7, 3)}
        )
        assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_a_fixed_batch_stays_fixed_beside_dynamic_sides(tmp_path: Path) -> None:
    source = write(tmp_path, "image): return self.c(image)", init="self.c = nn.Conv2d(1, 2, 3)")
    inputs = {"image": {"dtype": "float32", "shape": [1, 1, "height", "width"]}}
    square, flat = {"image": zoo.values(1, 1, 8, 8)}, {"image": zoo.values(1, 1, 5, 9)}
    same(source, ["y"], inputs, square, flat)


def test_two_inputs_of_other_types_share_a_symbol(tmp_path: Path) -> None:
    body = "ids, mask): return (self.e(ids) * mask[..., None]).sum(1)"
    source = write(tmp_path, body, init="self.e = nn.Embedding(9, 4)")
    inputs = {
        "ids": {"dtype": "int64", "shape": ["batch", "seq"]},
        "mask": {"dtype": "bool", "shape": ["batch", "seq"]},
    }
    ids = np.arange(8).reshape(2, 4)
    feeds = {"ids": ids, "mask": ids % 2 == 0}
    same(source, ["y"], inputs, feeds, {name: array[:1, :3] for name, array in feeds.items()})


def test_inputs_may_have_names_of_their_own(tmp_path: Path) -> None:
    source = write(tmp_path, "ids, mask): return ids * 2 - mask")
    inputs = {name: {"dtype": "int64", "shape": ["batch", "seq"]} for name in ("words", "kept")}
    same(source, ["y"], inputs, {name: np.arange(8).reshape(2, 4) for name in inputs})


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        # An inner value has the name of an output, of an input, of a parameter.
        ("x):\n        embedding = x * 2\n        return embedding.relu() + embedding", ["mul"]),
        ("x):\n        y = x * 2\n        return y.relu() - y, y", ["mul", "relu"]),
        ("x): return {'zed': x * 2, 'alpha': x + 1}", ["zed", "alpha"]),
        ("x): return x * 2, (x + 1, [x - 1])", ["a", "b", "c"]),
        ("x): return x * 2, x", ["a", "b"]),
        ("x): return None, x * 2, {'left out': None, 'c': x + 1}", ["a", "b"]),
        ("x):\n        y = x * 2\n        return y, y", ["a", "b"]),
        ("x): return x * self.w, self.w", ["w", "kept"]),
        ("x): return x * self.w, x.argmax(1), (x > 0)", ["scores", "best", "positive"]),
    ],
)
def test_outputs_of_every_kind_get_their_names(
    tmp_path: Path, body: str, outputs: list[str]
) -> None:
    source = write(tmp_path, body, init="self.w = nn.Parameter(torch.ones(3) / 2)")
    same(source, outputs, others={"x": zoo.values(1, 3)})


def test_an_input_takes_the_name_of_an_inner_value(tmp_path: Path) -> None:
    source = write(tmp_path, "x):\n        return (x * 2).relu()")
    same(source, ["y"], {"mul": X["x"]}, {"mul": FEED["x"]})


def test_dropout_and_batch_norm_are_exported_for_inference(tmp_path: Path) -> None:
    init = "self.n = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3))"
    same(write(tmp_path, "x): return self.n(x)", init=init), ["y"])


def refused(source: Path, message: str, outputs: list[str] | None = None) -> str:
    with pytest.raises(errors.SourceModelError, match=message) as caught:
        pytorch.export(order(source, outputs or ["y"]), FEED, source.parent / "out")
    assert not (source.parent / "out").exists()
    assert "\x1b" not in caught.value.what
    return caught.value.what


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (None, r"source/model\.py:load could not be loaded: FileNotFoundError"),
        ("lode = 1", r"could not be loaded: AttributeError: model\.py has no 'load'; it has:"),
        ("def load(: pass", "could not be loaded: SyntaxError"),
        ("def load(): raise OSError('no weights')", "could not be loaded: OSError: no weights"),
        ("def load(): raise SystemExit(3)", "could not be loaded: SystemExit: 3"),
        (
            "from pathlib import Path\ndef load(): Path('w.pt').resolve().read_bytes()",
            r"FileNotFoundError: \[Errno 2\] No such file or directory: 'w\.pt'",
        ),
        ("def load(path): return path", "could not be loaded: TypeError: .*'path'"),
        ("def load(): return {'state': 1}", r"load returned a dict, not a torch\.nn\.Module"),
        ("import torch\ndef load(): return torch.nn.Linear", "returned a type, not a torch"),
    ],
)
def test_entries_that_give_no_module(tmp_path: Path, code: str | None, message: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    if code is not None:
        (source / "model.py").write_text(code)
    refused(source, message)


@pytest.mark.parametrize(
    ("body", "inputs", "found"),
    [
        ("x, z): return x + z", ["x"], "x, z"),
        ("x): return x", ["x", "z"], "x"),
        ("x, *, z): return x", ["x", "z"], "x"),
        ("): return torch.ones(2)", ["x"], ""),
    ],
)
def test_another_number_of_inputs(tmp_path: Path, body: str, inputs: list[str], found: str) -> None:
    source = write(tmp_path, body)
    wanted = order(source, ["y"], dict.fromkeys(inputs, X["x"]))
    message = rf"does not take {len(inputs)} inputs\n  model:       {found}\n"
    with pytest.raises(errors.SourceModelError, match=message):
        pytorch.export(wanted, dict.fromkeys(inputs, FEED["x"]), tmp_path / "out")


def test_arguments_that_may_be_left_out(tmp_path: Path) -> None:
    source = write(tmp_path, "x, scale=None): return x * 2")
    same(source, ["y"], {"image": X["x"]}, {"image": FEED["x"]})


@pytest.mark.parametrize("names", [("z", "x"), ("z", "other"), ("other", "x")])
def test_a_name_of_forward_in_another_place(tmp_path: Path, names: tuple[str, str]) -> None:
    """Of one type and shape they would change places, and parity see nothing."""
    source = write(tmp_path, "x, z): return x - z")
    wanted = order(source, ["y"], dict.fromkeys(names, X["x"]))
    said = rf"model: +x, z\n +params.yaml: {', '.join(names)}"
    with pytest.raises(errors.SourceModelError, match=said) as told:
        pytorch.export(wanted, dict.fromkeys(names, FEED["x"]), tmp_path / "out")
    assert told.value.mend.startswith("put models.<m>.inputs in the model's order")


def test_an_op_that_torch_cannot_export(tmp_path: Path) -> None:
    source = write(tmp_path, "x): return self.inner(x)", init="self.inner = Inner()")
    code = (source / "model.py").read_text()
    inner = "class Inner(nn.Module):\n    def forward(self, x): return torch.linalg.svd(x)[1]\n"
    (source / "model.py").write_text(code.replace("class Net", f"{inner}class Net"))
    version = torch.__version__.partition("+")[0]
    message = rf"torch {version} has no ONNX form of aten\._linalg_svd\.default, which is node"
    assert refused(source, message).endswith("node '_linalg_svd' in module 'inner'")


def test_control_flow_that_looks_at_values(tmp_path: Path) -> None:
    body = "x):\n        return x * 2 if x.sum() > 0 else x"
    told = refused(write(tmp_path, body), "torch.onnx.export failed")
    assert "data-dependent" in told


def test_a_batch_that_the_module_fixes_breaks_the_contract(tmp_path: Path) -> None:
    source = write(tmp_path, "x): return x.reshape(8, 3) * 2")
    wanted, feeds = order(source, ["y"]), {"x": zoo.values(4, 3)}
    pytorch.export(wanted, feeds, tmp_path / "out")
    with pytest.raises(errors.SourceModelError, match=r"x float32 \[8, 3\]"):
        contract.check(graphs.load(tmp_path / "out"), wanted.inputs, ["y"], "models.m")


def test_more_outputs_than_declared_break_the_contract(tmp_path: Path) -> None:
    source = write(tmp_path, "x): return x * 2, x + 1")
    pytorch.export(order(source, ["y"]), FEED, tmp_path / "out")
    with pytest.raises(errors.SourceModelError, match=r"model: +y, \w+\n +params.yaml: y"):
        contract.check(graphs.load(tmp_path / "out"), X, ["y"], "models.m")


@pytest.mark.parametrize("declared", [["y"], ["alpha", "zed"]])
def test_a_dictionary_has_names_for_its_outputs(tmp_path: Path, declared: list[str]) -> None:
    source = write(tmp_path, "x): return {'zed': x * 2, 'none': None, 'alpha': x + 1}")
    with pytest.raises(errors.SourceModelError, match=r"model: +zed, alpha\n +params.yaml: "):
        pytorch.export(order(source, declared), FEED, tmp_path / "out")


def test_a_module_that_fails_on_the_probe_samples(tmp_path: Path) -> None:
    source = write(tmp_path, "x): return self.l(x)", init="self.l = nn.Linear(3, 2)")
    pytorch.export(order(source, ["y"]), FEED, tmp_path / "out")
    framework = pytorch.load(order(source, ["y"]))
    with pytest.raises(errors.SourceModelError, match="the module itself failed on the probe"):
        framework({"x": zoo.values(2, 4)})


def test_a_module_that_ends_the_process(tmp_path: Path) -> None:
    framework = pytorch.load(order(write(tmp_path, "x): raise SystemExit(3)"), ["y"]))
    with pytest.raises(errors.SourceModelError, match="failed on the probe samples: SystemExit: 3"):
        framework(FEED)


EXPORT = """
from pathlib import Path
import numpy as np
from stages.exporters.api import Order
from stages.exporters.pytorch import exporter as pytorch
x = {"x": {"dtype": "float32", "shape": ["batch", 3, 8, 8]}}
order = Order(source=Path("source"), entry="model.py:load", inputs=x, outputs=["y"], opset=22)
pytorch.export(order, {"x": np.ones((2, 3, 8, 8), np.float32)}, Path("out"))
"""


def test_the_bytes_follow_from_the_model_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = (
        "self.n = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(),"
        " nn.Flatten(), nn.Linear(144, 5))\n"
        "        for p in self.parameters(): nn.init.constant_(p, 0.5)"
    )
    here, there = tmp_path / "a", tmp_path / "another folder"
    for folder in (here, there):
        write(folder, "x): return self.n(x)", init=init)
    monkeypatch.chdir(here)
    exec(EXPORT, {})  # noqa: S102 (in a process that has exported other models)
    variables = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", EXPORT]
    subprocess.run(command, cwd=there, env={**os.environ, **variables}, check=True)
    made = (here / "out/model.onnx").read_bytes()
    assert made == (there / "out/model.onnx").read_bytes()
    for trace in (tmp_path, Path(sys.prefix), Path.home(), "File ", ".py", "+cpu", "site-packages"):
        assert str(trace).encode() not in made
    assert b"pkg.torch.onnx.name_scopes" in made
    assert [path.name for path in (there / "source").iterdir()] == ["model.py"]
