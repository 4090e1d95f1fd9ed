# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Reads a SavedModel or a Keras file: a function of tensors by name, and its inputs and outputs.

Formats: https://www.tensorflow.org/guide/saved_model and
https://keras.io/guides/serialization_and_saving/.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from typing import TYPE_CHECKING, Any

import h5py
import keras
import tensorflow as tf

from stages.exporters.tensorflow import saved_model
from stages.exporters.tensorflow.saved_model import Source
from stages.lib import errors

if TYPE_CHECKING:
    from pathlib import Path

    from stages.exporters.api import Order

_KERAS = (".keras", ".h5", ".hdf5")
_MAJOR = 3
_REASONS = ("Could not locate", "Unrecognized keyword")
# Behind it Keras gives advice that helps nobody here, and the whole of a layer.
_LENGTHY = re.compile(r"\. Make sure|\. Full object config| using config=")
_GUESSES = {
    ".onnx": "onnx",
    ".pt": "pytorch",
    ".pt2": "pytorch",
    ".pth": "pytorch",
    ".safetensors": "pytorch",
    ".py": "pytorch or mindspore",
    ".json": "paddlepaddle",
    ".pdmodel": "paddlepaddle",
    ".pdiparams": "paddlepaddle",
    ".ckpt": "mindspore",
    ".mindir": "mindspore",
}


def read(order: Order) -> Source:
    """The source model of `order`.

    Raises:
        SourceModelError: it is not there, damaged, of another kind, or needs code that is not
            trusted.
    """
    path, signature = order.path, order.entry.partition(":")[2]
    if not path.exists():
        msg = f"{path} is not there"
        mend = "set models.<m>.source.entry to the SavedModel's folder, or to a Keras file"
        raise errors.SourceModelError(msg, mend=mend)
    if path.is_dir():
        program = path / saved_model.GRAPH
        safe = not (program.is_file() and _trusted(program, order))
        return saved_model.read(path, signature, untrusted=_below(program, order) if safe else None)
    if path.suffix not in _KERAS:
        raise _other_kind(path)
    if signature:
        msg = f"{path} is a Keras file, which has no signature {signature!r}"
        raise errors.SourceModelError(msg, mend="write the file alone as models.<m>.source.entry")
    return _keras(path, _below(path, order), safe=not _trusted(path, order))


def _other_kind(path: Path) -> errors.SourceModelError:
    msg = f"{path} is neither the folder of a SavedModel nor a Keras file"
    if path.name.startswith("saved_model."):
        mend = "write the folder that it lies in as models.<m>.source.entry"
    elif path.suffix in _GUESSES:
        mend = f"by its name it is for models.<m>.source.framework: {_GUESSES[path.suffix]}"
    elif path.suffix == ".tflite":
        mend = "TensorFlow Lite has lost what a graph needs: give the SavedModel it was made from"
    else:
        mend = "save the model with model.export(<folder>), or model.save('<file>.keras')"
    return errors.SourceModelError(msg, mend=mend)


def _below(path: Path, order: Order) -> str:
    """What models.<m>.source.trusted calls it."""
    return path.relative_to(order.source).as_posix()


def _trusted(path: Path, order: Order) -> bool:
    """Whether the file may run code; a trust in other bytes is an error."""
    wanted = order.trusted.get(_below(path, order))
    if wanted is None:
        return False
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != wanted:
        msg = (
            f"{path} is not the file that models.<m>.source.trusted allows to run code\n"
            f"  its SHA-256:     {found}\n  in params.yaml:  {wanted}"
        )
        raise errors.SourceModelError(msg, mend="look at the file, then write its own SHA-256")
    return True


def _keras(path: Path, name: str, *, safe: bool) -> Source:
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=safe)
    except MemoryError:
        raise
    except Exception as error:
        raise _unloadable(path, name, error, safe=safe) from error
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        msg = f"{path} holds a {type(model).__name__} that has no declared inputs"
        mend = "call it once on data, and write it with model.export(<folder>) as a SavedModel"
        raise errors.SourceModelError(msg, mend=mend)
    if isinstance(model, keras.Sequential):  # of those, `input` and `output_names` are not there
        model = keras.Model(model.inputs, model.outputs)
    inputs, outputs = _names(model.input, None), _names(model.output, model.output_names)

    def call(tensors: dict[str, Any]) -> dict[str, Any]:
        flat = [tensors[name] for name in inputs]
        found = model(keras.tree.pack_sequence_as(model.input, flat), training=False)
        return dict(zip(outputs, keras.tree.flatten(found), strict=True))

    return Source(what=f"{path}", inputs=inputs, outputs=outputs, call=call, model=model)


def _names(structure: Any, names: list[str] | None) -> dict[str, tf.TensorSpec]:
    """Tensors by name: the key in a dictionary, else its name in `names`, or its own."""
    found = {}
    for index, (place, tensor) in enumerate(keras.tree.flatten_with_path(structure)):
        own = tensor.name if names is None else names[index]
        name = place[-1] if place and isinstance(place[-1], str) else own
        found[name] = tf.TensorSpec(tensor.shape, tensor.dtype, name=name)
    return found


def _unloadable(path: Path, name: str, error: Exception, *, safe: bool) -> errors.SourceModelError:
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        msg = f"{path} is not a Keras file, or is truncated ({path.stat().st_size} bytes)"
        return errors.SourceModelError(msg, mend="copy it again, or save the model again")
    words = str(error).strip().splitlines() or [type(error).__name__]
    if safe and "safe_mode" in str(error):
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        msg = f"{path} brings Python code (such as a Lambda layer), which would run: refused"
        mend = (
            "replace the Lambda layers, or give a SavedModel (model.export); if you trust whoever"
            " made the file, add to models.<m>.source.trusted:"
            f" {{file: {name}, sha256: {digest}}}"
        )
        return errors.SourceModelError(msg, mend=mend)
    told = (line for line in words if any(sign in line for sign in _REASONS))
    cause = next(told, words[0]).removeprefix("Exception encountered: ")
    cause = _LENGTHY.split(cause)[0]
    version = _written_by(path)
    said = f"of Keras {version} " if version else ""
    msg = f"{path} {said}could not be loaded by Keras {keras.__version__}: {cause}"
    if "No model config" in str(error):
        mend = (
            "it has weights alone: load them into the model, and write model.save('<file>.keras')"
        )
    elif version and int(version.partition(".")[0]) < _MAJOR:
        mend = "load it where it was made, and write model.export(<folder>): a SavedModel is read"
    elif "custom" in str(error):
        mend = "a layer of your own is known where it was made: model.export(<folder>) there"
    else:
        mend = "save the model again; model.export(<folder>) makes a SavedModel of it"
    return errors.SourceModelError(msg, mend=mend)


def _written_by(path: Path) -> str:
    """The version of Keras that wrote a file, where it says so."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json"))["keras_version"])
        with h5py.File(path) as file:
            return str(file.attrs["keras_version"])
    except (OSError, KeyError, ValueError):
        return ""
