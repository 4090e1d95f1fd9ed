# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""`make new`: a model of one's own into params.yaml."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from ruamel.yaml import YAML

from stages import check, new
from stages.lib import errors, params

ROOT = Path(__file__).parent.parent


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """params.yaml, its schema and the demo, as in a clone."""
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "dvc.yaml", "schemas/params.schema.json"):
        Path(name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, name)
    shutil.copytree(ROOT / "models", "models")
    return tmp_path


def write_samples(model: str, **arrays: Any) -> None:
    for split in ("probe", "calibration", "validation"):
        folder = Path("models") / model / "samples" / split
        folder.mkdir(parents=True)
        np.savez_compressed(folder / "000.npz", **arrays)


def source(framework: str, entry: str, weights: str | None = None) -> dict[str, Any]:
    rest: dict[str, Any] = {"channels_first": [], "trusted": []}
    return {"framework": framework, "entry": entry, "weights": weights} | rest


def write_onnx(model: str) -> None:
    """Two inputs, one of them of open length; one output."""
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", "length"])
    scale = helper.make_tensor_value_info("scale", TensorProto.FLOAT, ["N", 1])
    out = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", "length"])
    nodes = [
        helper.make_node("Cast", ["ids"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "scale"], ["scores"]),
    ]
    graph = helper.make_graph(nodes, "g", [ids, scale], [out])
    source = Path("models") / model / "source"
    source.mkdir(parents=True)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(proto, source / "net.onnx")


@pytest.mark.usefixtures("project")
def test_an_onnx_model_tells_its_own_inputs() -> None:
    before = Path("params.yaml").read_text()
    write_onnx("mine")
    write_samples(
        "mine",
        ids=np.zeros((4, 7), np.int64),
        scale=np.ones((4, 1), np.float32),
        label=np.zeros(4, np.int64),
    )
    new.main("mine", "digits")
    document = params.load()
    assert document.param("models.mine.source") == source("onnx", "net.onnx")
    assert document.param("models.mine.inputs.ids") == {"dtype": "int64", "shape": ["N", "length"]}
    assert document.param("models.mine.outputs") == ["scores"]
    assert document.param("models.mine.opset") is None
    assert document.param("profiles.mine")[0]["ids"]["max"] == [64, 7]
    assert document.param("engines.mine-int8.method") == "entropy"
    check.main()
    after = Path("params.yaml").read_text().splitlines()
    assert not [line for line in before.splitlines() if line not in after], "nothing was lost"
    flow = YAML(typ="safe").load(Path("dvc.yaml"))
    assert {name: item["path"] for name, item in flow["artifacts"].items()} == {
        name: f"artifacts/packages/{name}" for name in document.param("engines")
    }


@pytest.mark.usefixtures("project")
def test_the_order_of_the_others_engines_does_not_matter() -> None:
    write_onnx("mine")
    write_samples("mine", ids=np.zeros((4, 7), np.int64), scale=np.ones((4, 1), np.float32))
    yaml = YAML()
    tree = yaml.load(Path("params.yaml"))
    tree["engines"].move_to_end("digits-int8-b1")  # of batches of one, beside others of 64
    yaml.dump(tree, Path("params.yaml"))
    new.main("mine", "digits")
    assert params.load().param("profiles.mine")[0]["scale"]["max"] == [64, 1]


@pytest.mark.usefixtures("project")
def test_a_model_without_such_an_engine_lends_nothing() -> None:
    write_onnx("mine")
    yaml = YAML()
    tree = yaml.load(Path("params.yaml"))
    tree["engines"] = {"digits-fp8-b64": tree["engines"]["digits-fp8-b64"]}
    yaml.dump(tree, Path("params.yaml"))
    with pytest.raises(
        errors.ParamsError, match=r"digits has no engine in fp32, fp16, int8 to take"
    ):
        new.main("mine", "digits")


@pytest.mark.usefixtures("project")
def test_an_onnx_model_with_a_fixed_batch_is_run_with_that() -> None:
    write_onnx("mine")
    path = Path("models/mine/source/net.onnx")
    proto = onnx.load(path)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(proto, path)
    write_samples("mine", ids=np.zeros((4, 7), np.int64), scale=np.ones((4, 1), np.float32))
    new.main("mine", "digits")
    document = params.load()
    assert document.param("models.mine.observe.batch") == 2
    assert document.param("engines.mine-fp32.validation_batch") == 2
    assert document.param("profiles.mine")[0]["ids"]["max"] == [2, 7]
    check.main()


@pytest.mark.usefixtures("project")
def test_a_pytorch_model_tells_by_its_samples() -> None:
    source = Path("models/mine/source")
    source.mkdir(parents=True)
    (source / "net.py").write_text("def load(): ...\n")
    write_samples("mine", image=np.zeros((3, 2, 5), np.float32))
    new.main("mine", "digits")
    document = params.load()
    assert document.param("models.mine.source.entry") == "net.py:load"
    shape = document.param("models.mine.inputs.image.shape")
    assert shape == ["batch", 2, 5]
    assert document.param("models.mine.metric.kind") == "none"
    assert document.param("engines.mine-fp16.gates.max_accuracy_drop") is None
    check.main()


SEVERAL = """
import torch
class Settings: ...
class Block(torch.nn.Module):
    def forward(self, x): return x
class Net(torch.nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.block = Block()
    def forward(self, x): return self.block(x)
"""


def write_zip(path: str, *members: str) -> None:
    with zipfile.ZipFile(Path("models/mine/source") / path, "w") as archive:
        for member in members:
            archive.writestr(member, "")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("digits", source("pytorch", "model.py:load")),
        ("digits-tensorflow", source("tensorflow", "saved_model")),
        ("digits-paddlepaddle", source("paddlepaddle", "inference.json")),
        ("digits-mindspore", source("mindspore", "model.py:DigitsNet", "weights.ckpt")),
        ("digits-pytorch", source("pytorch", "model.py:DigitsNet", "weights.safetensors")),
        ("class", source("pytorch", "net.py:Net", "net.pth")),
        ("torchscript", source("pytorch", "net.pt")),
        ("pt2", source("pytorch", "net.pt2")),
        ("keras", source("tensorflow", "net.keras")),
        ("lightning", source("pytorch", "net.py:load")),
    ],
)
def test_other_frameworks_are_told_by_their_files(kind: str, found: dict[str, Any]) -> None:
    place = Path("models/mine/source")
    if kind.startswith("digits"):
        shutil.copytree(ROOT / "models" / kind / "source", place)
    else:
        place.mkdir(parents=True)
    if kind == "pt2":
        write_zip("net.pt2", "net/archive_format", "net/models/model.json")
    elif kind == "keras":
        write_zip("net.keras", "config.json", "metadata.json")
    elif kind == "torchscript":
        write_zip("net.pt", "net/constants.pkl", "net/code/__torch__.py")
    elif kind == "class":
        (place / "net.py").write_text(SEVERAL)
        write_zip("net.pth", "net/data.pkl")
    elif kind == "lightning":  # whose .ckpt is no checkpoint of MindSpore
        (place / "layers.py").write_text("class Layer:\n  def forward(self): ...\n")
        (place / "net.py").write_text("def load(): ...\n")
        write_zip("net.ckpt", "net/data.pkl")
    write_samples("mine", image=np.zeros((3, 2, 5), np.float32), label=np.zeros(3, np.int64))
    # What the other model says of its own source is not taken over.
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("weights: null", "weights: w.safetensors", 1))
    new.main("mine", "digits")
    document = params.load()
    assert document.param("models.mine.source") == found
    assert document.param("models.mine.inputs.image.shape") == ["batch", 2, 5]


@pytest.mark.usefixtures("project")
def test_two_models_in_one_folder_are_named() -> None:
    source = Path("models/mine/source")
    source.mkdir(parents=True)
    write_zip("net.pt2", "net/archive_format")
    (source / "net.py").write_text("def load(): ...\n")
    with pytest.raises(
        errors.SourceModelError, match=r"net\.pt2 \(pytorch\), net\.py:load \(pytorch\)"
    ):
        new.main("mine", "digits")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    "other", ["mindspore/source/weights.ckpt", "pytorch/source/weights.safetensors"]
)
def test_which_of_two_checkpoints_is_not_guessed(other: str) -> None:
    """Without one the network would have random weights, and pass every gate."""
    source = ROOT / "models/digits-mindspore/source"
    shutil.copytree(source, "models/mine/source")
    best = Path("models/mine/source/best").with_suffix(Path(other).suffix)
    shutil.copy(ROOT / f"models/digits-{other}", best)
    said = rf"DigitsNet with {best.name} \(mindspore\), model.py:DigitsNet with weights.ckpt"
    with pytest.raises(errors.SourceModelError, match=said):
        new.main("mine", "digits")


@pytest.mark.usefixtures("project")
def test_recorded_tactics_are_not_those_of_the_new_model() -> None:
    shutil.copy(ROOT / "schemas/examples/good/params-tensorrt.yaml", "params.yaml")
    tuned = Path("params.yaml").read_text().replace("precision: tf32", "precision: fp32")
    Path("params.yaml").write_text(tuned)
    write_onnx("mine")
    write_samples("mine", ids=np.zeros((4, 7), np.int64), scale=np.ones((4, 1), np.float32))
    new.main("mine", "digits")
    document = params.load()
    assert document.param("engines.digits-tf32.builder.timing_cache") == "replay"
    assert document.param("engines.mine-fp32.builder.timing_cache") == "none"
    assert Path("models/mine/timing/.gitkeep").is_file()


@pytest.mark.usefixtures("project")
def test_what_is_there_is_not_overwritten() -> None:
    with pytest.raises(errors.ParamsError, match="has a model 'digits' already"):
        new.main("digits", "digits")


@pytest.mark.usefixtures("project")
def test_an_empty_source_is_named_and_nothing_is_left() -> None:
    before = Path("params.yaml").read_bytes()
    with pytest.raises(errors.SourceModelError, match=r"must hold one model: .* none of these"):
        new.main("mine", "digits")
    assert Path("params.yaml").read_bytes() == before
    assert not Path("models/mine").exists()


@pytest.mark.usefixtures("project")
def test_a_damaged_model_is_told_and_changes_nothing() -> None:
    before = Path("params.yaml").read_text()
    write_onnx("mine")
    write_samples("mine", ids=np.zeros((2, 5), np.int64), scale=np.ones((2, 1), np.float32))
    path = Path("models/mine/source/net.onnx")
    proto = onnx.load(path)
    proto.graph.input[1].type.tensor_type.elem_type = 0
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(errors.SourceModelError, match="'scale' has the type UNDEFINED"):
        new.main("mine", "digits")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(errors.ArtifactError, match=r"net\.onnx is not an ONNX file"):
        new.main("mine", "digits")
    assert Path("params.yaml").read_text() == before


@pytest.mark.usefixtures("project")
def test_plugin_libraries_of_another_model_are_not_taken_over() -> None:
    text = Path("params.yaml").read_text()
    named = f"plugins: [{{file: libmine.so, sha256: {'a' * 64}}}]"
    Path("params.yaml").write_text(text.replace("plugins: []", named))
    write_onnx("mine")
    write_samples("mine", ids=np.zeros((2, 5), np.int64), scale=np.ones((2, 1), np.float32))
    new.main("mine", "digits")
    engines = params.load().param("engines")
    assert engines["digits-fp16-b1"]["builder"]["plugins"][0]["file"] == "libmine.so"
    assert engines["mine-fp16"]["builder"]["plugins"] == []
