# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The forms that model files come in: what each is called, and of which framework it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """A form of model files.

    Attributes:
        kind: its name here.
        what: how a message calls it.
        framework: whose exporter takes it, or what it was made from; None for no certain one.
        advice: what to do with a file that no exporter takes as its entry.
    """

    kind: str
    what: str
    framework: str | None = None
    advice: str | None = None


_CODE = "entry names the code of the model (<file>.py:<class>), and source.weights this file"
_FORMS = (
    Form("onnx", "an ONNX model", "onnx"),
    Form("saved_model", "a SavedModel of TensorFlow", "tensorflow"),
    Form("saved_model.pb", "a part of a SavedModel", "tensorflow", "set entry to its folder"),
    Form("keras", "a Keras 3 file", "tensorflow"),
    Form("hdf5", "an HDF5 file, as Keras wrote before version 3", "tensorflow"),
    Form(
        "graph_def",
        "a frozen graph of TensorFlow 1",
        "tensorflow",
        "write it again as a SavedModel",
    ),
    Form("tflite", "a TensorFlow Lite model", None, "take the SavedModel that it was made from"),
    Form("pt2", "a program of torch.export", "pytorch"),
    Form("torchscript", "TorchScript", "pytorch"),
    Form("torch", "a file of torch.save", "pytorch"),
    Form("safetensors", "safetensors: weights without a model", None, _CODE),
    Form("pir", "a program of PaddlePaddle", "paddlepaddle"),
    Form("pdmodel", "a program of PaddlePaddle", "paddlepaddle"),
    Form(
        "pdiparams",
        "the parameters of a PaddlePaddle program",
        "paddlepaddle",
        "set entry to the .json or .pdmodel beside it",
    ),
    Form("ckpt", "a checkpoint of MindSpore", "mindspore", _CODE),
    Form("mindir", "a MindIR graph", "mindspore", "give its code and a checkpoint"),
    Form("plan", "a TensorRT engine", None, "take the model that it was built from"),
    Form("pickle", "a Python pickle", None, "save the model in a form of its framework"),
    Form("python", "Python code"),
    Form("packed", "a compressed archive", None, "unpack it"),
    Form("pointer", "a Git LFS pointer, not the file", None, "`git lfs pull`"),
    Form("html", "a web page", None, "download the file itself"),
    Form("empty", "an empty file", None, "copy or export it again"),
)
FORMS = {form.kind: form for form in _FORMS}
_BY_NAME = {
    ".onnx": "onnx",
    ".keras": "keras",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".pb": "graph_def",
    ".tflite": "tflite",
    ".pt2": "pt2",
    ".ts": "torchscript",
    ".pt": "torch",
    ".pth": "torch",
    ".bin": "torch",
    ".safetensors": "safetensors",
    ".json": "pir",
    ".pdmodel": "pdmodel",
    ".pdiparams": "pdiparams",
    ".ckpt": "ckpt",
    ".mindir": "mindir",
    ".plan": "plan",
    ".engine": "plan",
    ".trt": "plan",
    ".py": "python",
}


def by_name(name: str) -> Form | None:
    """The form that a file of this name has, where the name tells."""
    last = name.rpartition("/")[2]
    if last == "saved_model.pb":
        return FORMS[last]
    suffix = f".{last.rpartition('.')[2].lower()}" if "." in last else ""
    return FORMS[_BY_NAME[suffix]] if suffix in _BY_NAME else None
