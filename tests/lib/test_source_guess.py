# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Sources of the wrong form: what they are, and whose.

Files of torch, ONNX and safetensors are real. The others are a few bytes made by hand, as no more
than these is looked at: magic numbers, names in a zip, and the first fields of a message.
"""

from __future__ import annotations

import gzip
import json
import pickle
import re
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from stages.lib import source_forms, source_guess, source_look
from stages.lib.schema import Problem
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def field(number: int, value: bytes | int) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    assert len(value) < 128
    return bytes([number << 3 | 2, len(value)]) + value


def members(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "x")

    return write


def saved(legacy: bool) -> Callable[[Path], None]:
    state = nn.Linear(2, 2).state_dict()
    return lambda path: torch.save(state, path, _use_new_zipfile_serialization=not legacy)


def scripted(path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), path)  # type: ignore[no-untyped-call]


def program(path: Path) -> None:
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), path)


def data(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


NODE = field(1, b"x") + field(2, b"Placeholder")
TENSOR = field(1, b"fc.weight") + field(2, field(1, 5) + field(2, b"Float32"))
BLOCK = b"\x08\x00\x10" + b"\xff" * 9 + b"\x01"
PIR = json.dumps({"base_code": {"magic": "pir", "version": 1}, "program": {}}).encode()
REAL: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "onnx": ("net.onnx", data(zoo.tiny().SerializeToString())),
    "pt2": ("net.pt2", program),
    "torchscript": ("net.ts", scripted),
    "torch": ("net.pt", saved(legacy=False)),
    "safetensors": (
        "net.safetensors",
        lambda path: save_file(nn.Linear(2, 2).state_dict(), path),
    ),
    "python": ("net.py", data(b"import numpy\n")),
    "pickle": ("net.pkl", data(pickle.dumps([1]))),
    "packed": ("net.tar.gz", data(gzip.compress(b"x"))),
}
MADE: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "keras": ("net.keras", members("metadata.json", "config.json", "model.weights.h5")),
    "hdf5": ("net.h5", data(b"\x89HDF\r\n\x1a\n" + bytes(8))),
    "saved_model.pb": ("saved_model.pb", data(field(1, 1) + field(2, field(1, b"")))),
    "graph_def": ("net.pb", data(field(1, NODE) * 3)),
    "tflite": ("net.tflite", data(struct.pack("<I", 28) + b"TFL3" + bytes(8))),
    "pir": ("net.json", data(PIR)),
    "pdmodel": ("net.pdmodel", data(field(1, BLOCK))),
    "pdiparams": ("net.pdiparams", data(bytes(32))),
    "ckpt": ("net.ckpt", data(field(1, TENSOR) * 2)),
    "mindir": ("net.mindir", data(field(1, b"0.1.0") + field(2, b"MindSpore"))),
    "plan": ("net.plan", data(b"ftrt" + bytes(24))),
    "zip": ("net.zip", members("a.txt")),
    "pointer": ("net.bin", data(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")),
    "html": ("net.onnx", data(b"\n<!DOCTYPE html><html>")),
    "empty": ("net.onnx", data(b"")),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is (deprecated|not supported):DeprecationWarning")
@pytest.mark.parametrize("kind", [*REAL, *MADE])
def test_each_form_is_known_by_its_bytes(tmp_path: Path, kind: str) -> None:
    name, write = (REAL | MADE)[kind]
    for path in (tmp_path / name, tmp_path / "other.xyz"):
        write(path)
        by_bytes = kind not in ("python", "pdiparams")
        if path.name == name or by_bytes:
            found = source_look.look(path)
            assert found is not None
            assert found.kind == kind


def test_a_legacy_file_of_torch_and_plans_of_every_kind(tmp_path: Path) -> None:
    saved(legacy=True)(tmp_path / "net.bin")
    found = source_look.look(tmp_path / "net.bin")
    assert found is not None
    assert found.kind == "torch"
    for magic in (b"ptrt", b"ftrt", b"vtrt"):
        (tmp_path / "x").write_bytes(magic + bytes(30))
        assert source_look.look(tmp_path / "x") == source_forms.FORMS["plan"]


@pytest.mark.parametrize("content", [b"\x00" * 64, b"hello", b"{}", bytes(range(200)), b"\x0a\xff"])
def test_other_bytes_have_no_form(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert source_look.look(tmp_path / "x") is None


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is (deprecated|not supported):DeprecationWarning")
def test_every_cut_of_a_file_is_survived(tmp_path: Path) -> None:
    for number, (name, write) in enumerate((REAL | MADE).values()):
        path = tmp_path / f"{number}-{name}"
        write(path)
        whole = path.read_bytes()
        for size in (1, 3, 9, 20, len(whole) // 2):
            path.write_bytes(whole[:size])
            source_look.look(path)


def place(folder: Path, kind: str, name: str | None = None) -> str:
    own, write = (REAL | MADE)[kind]
    write(folder / (name or own))
    return name or own


@pytest.mark.parametrize(
    ("framework", "kind", "name", "what", "mend"),
    [
        ("onnx", "pt2", "net.onnx", "is a program of torch.export, and", "framework to pytorch"),
        ("onnx", "zip", "net.onnx", "is a zip archive of a.txt, and", "unpack it"),
        ("onnx", "html", None, "is a web page", "download the file itself"),
        ("onnx", "pointer", "net.onnx", "is a Git LFS pointer", "`git lfs pull`"),
        ("onnx", "plan", "net.onnx", "is a TensorRT engine", "that it was built from"),
        ("pytorch", "onnx", "net.pt", "is an ONNX model", "source.framework to onnx"),
        ("pytorch", "torch", "net.pt2", "is a file of torch.save", "entry to <file>.py:<function"),
        ("pytorch", "pt2", "net.pt", "is a program of torch.export", "a name that ends with .pt2"),
        ("pytorch", "safetensors", "net.pt", "weights without a model", "source.weights this file"),
        (
            "tensorflow",
            "hdf5",
            "net.keras",
            "is an HDF5 file, as Keras wrote",
            r"a name that ends with \.h5",
        ),
        ("tensorflow", "saved_model.pb", None, "is a part of a SavedModel", "entry to its folder"),
        ("tensorflow", "graph_def", None, "is a frozen graph", "again as a SavedModel"),
        ("tensorflow", "tflite", None, "is a TensorFlow Lite model", "the SavedModel that it was"),
        ("tensorflow", "pir", None, "is a program of PaddlePaddle", "framework to paddlepaddle"),
        ("paddlepaddle", "pdiparams", None, "is the parameters", "the .json or .pdmodel beside it"),
        ("paddlepaddle", "pir", "net.pdmodel", "is a program of", "a name that ends with .json"),
        ("mindspore", "mindir", None, "is a MindIR graph", "give its code and a checkpoint"),
        ("mindspore", "ckpt", None, "is a checkpoint of MindSpore", "source.weights this file"),
    ],
)
def test_what_does_not_fit_the_framework(
    tmp_path: Path, framework: str, kind: str, name: str | None, what: str, mend: str
) -> None:
    entry = place(tmp_path, kind, name)
    found = source_guess.unfit(framework, tmp_path, entry)
    assert found is not None
    assert re.search(what, found[0])
    assert re.search(mend, found[1])
    assert f"framework {framework} takes " in found[0]


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is (deprecated|not supported):DeprecationWarning")
@pytest.mark.parametrize(
    ("framework", "kind", "end"),
    [
        ("onnx", "onnx", ""),
        ("pytorch", "pt2", ""),
        ("pytorch", "torchscript", ""),
        ("pytorch", "torch", ""),
        ("pytorch", "python", ":load"),
        ("mindspore", "python", ":Net"),
        ("tensorflow", "keras", ""),
        ("tensorflow", "hdf5", ""),
        ("paddlepaddle", "pir", ""),
        ("paddlepaddle", "pdmodel", ""),
        ("of-your-own", "html", ""),
    ],
)
def test_what_fits(tmp_path: Path, framework: str, kind: str, end: str) -> None:
    assert source_guess.unfit(framework, tmp_path, place(tmp_path, kind) + end) is None


def test_folders(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    place(folder, "onnx")
    what, mend = source_guess.unfit("tensorflow", tmp_path, "net") or ("", "")
    assert "net is a folder without saved_model.pb with net.onnx in it, and framework tens" in what
    assert mend.endswith("entry to net/net.onnx, an ONNX model, and framework to onnx")
    place(folder, "saved_model.pb")
    assert source_guess.unfit("tensorflow", tmp_path, "net") is None
    what, mend = source_guess.unfit("onnx", tmp_path, "net") or ("", "")
    assert "is a SavedModel of TensorFlow, and framework onnx takes <file>.onnx" in what
    assert mend == "set models.<m>.source.framework to tensorflow"


def test_code_of_another_framework(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        '"""Doc."""\nimport mindspore as ms\nfrom mindspore import nn\n'
    )
    what, mend = source_guess.unfit("pytorch", tmp_path, "net.py:Net") or ("", "")
    assert "is Python code that imports mindspore, and framework pytorch takes" in what
    assert mend == "set models.<m>.source.framework to mindspore"
    (tmp_path / "net.py").write_text("from mindspore.nn import Cell as C\n")
    assert "imports mindspore" in (source_guess.unfit("pytorch", tmp_path, "net.py:N") or "")[0]
    (tmp_path / "net.py").write_text('"""Ported\nfrom tensorflow by hand."""\nfrom a import load\n')
    assert source_guess.unfit("pytorch", tmp_path, "net.py:load") is None
    (tmp_path / "net.py").write_text("import mindspore\nimport torch\n")
    assert source_guess.unfit("pytorch", tmp_path, "net.py:Net") is None


def test_a_file_that_is_not_there_has_no_form(tmp_path: Path) -> None:
    assert source_guess.unfit("onnx", tmp_path, "net.onnx") is None


@pytest.mark.parametrize(
    ("framework", "entry", "told"),
    [
        ("pytorch", "net.onnx", "an ONNX model: set models.m.source.framework to onnx"),
        ("onnx", "net.keras", "a Keras 3 file: set models.m.source.framework to tensorflow"),
        ("onnx", "net.h5", "an HDF5 file, as Keras wrote before version 3: set models.m"),
        ("pytorch", "w.safetensors", "weights without a model: entry names the code of the model"),
        ("onnx", "model.py:load", "Python code: set models.m.source.framework to pytorch or mind"),
        ("mindspore", "a/net.pdmodel", "models.m.source.framework to paddlepaddle"),
        ("onnx", "net/saved_model.pb", "framework to tensorflow; set entry to its folder"),
    ],
)
def test_a_name_that_the_schema_refuses(framework: str, entry: str, told: str) -> None:
    document = {"models": {"m": {"source": {"framework": framework, "entry": entry}}}}
    where = ("models", "m", "source", "entry")
    (problem,) = source_guess.told([Problem(where, "Expected so.")], document)
    assert problem.message.startswith(f"Expected so. {entry!r} looks like ")
    assert told in problem.message


@pytest.mark.parametrize(
    "problem",
    [
        Problem(("models", "m", "source", "entry"), "x"),
        Problem(("models", "m", "source", "weights"), "x"),
        Problem(("engines",), "x", "entry"),
    ],
)
def test_other_problems_stay_as_they_are(problem: Problem) -> None:
    source = {"framework": "pytorch", "entry": "model.py"}
    assert source_guess.told([problem], {"models": {"m": {"source": source}}}) == [problem]
