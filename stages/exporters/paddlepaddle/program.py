# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A Paddle program, read from either form: `.json` (PIR) or `.pdmodel` (ProgramDesc).

Both are read by Paddle, the older one by way of its own translation to PIR. Beyond that lies
code that crashes on what is no program at all, so whatever can be told is told here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
import paddle
from google.protobuf.message import DecodeError
from paddle.base import core
from paddle.base.proto import framework_pb2

from stages.lib import errors

if TYPE_CHECKING:
    from pathlib import Path

_INPUTS = ("pd_op.data", "pd_op.feed")
_OUTPUTS = ("pd_op.fetch",)
_PARAMETER = "builtin.parameter"
# Other models, by their first bytes.
_MAGIC = {
    b"PK\x03\x04": "a zip archive, as Keras (framework tensorflow) and PyTorch write",
    b"\x89HDF": "an HDF5 file, as Keras writes: framework tensorflow",
    b"\x80": "a pickle, as paddle.save writes: no inference model",
}


@dataclass(frozen=True)
class Face:
    """An input, an output or a parameter: dtype as numpy calls it; -1 is a size that varies."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {list(self.shape)}"


@dataclass(frozen=True)
class Program:
    """What is to know of a program.

    Attributes:
        pir: Paddle's own object.
        inputs, outputs: in the program's order.
        parameters: in the order in which a file of parameters has them.
    """

    pir: Any
    inputs: list[Face]
    outputs: list[Face]
    parameters: list[Face]


def read(path: Path) -> Program:
    """Read a program.

    Raises:
        SourceModelError: the file is missing, damaged, or something else.
    """
    if not path.is_file():
        beside = sorted(one.name for one in path.parent.glob("*") if one.is_file())
        msg = f"{path} is not a file; beside it: {', '.join(beside) or 'nothing'}"
        mend = "set source.entry to the .json or .pdmodel that paddle.jit.save wrote"
        raise errors.SourceModelError(msg, mend=mend)
    try:
        pir = _read_old(path) if path.suffix == ".pdmodel" else _read_pir(path)
    except errors.EngineryError:
        raise
    except Exception as error:
        raise _refused(path, reason(error)) from error
    return _described(pir, path)


def reason(error: BaseException) -> str:
    """The line of an error of Paddle's that says what happened, without places in its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if re.match(r"\(\w+\) |\w+Error: ", line)] or lines[-1:]
    text = re.sub(r" \(at /paddle/\S+\)", "", said[0]) if said else ""
    return text if re.match(r"\w+Error: ", text) else f"{type(error).__name__}: {text}"


def _read_pir(path: Path) -> Any:
    data = path.read_bytes()
    try:
        document = json.loads(data)
    except ValueError as error:
        raise _refused(path, f"no JSON: {error}", data) from None
    base = document.get("base_code") if isinstance(document, dict) else None
    if not isinstance(base, dict) or base.get("magic") != "pir":
        raise _refused(path, "JSON, but no program: it has no base_code with the magic 'pir'")
    program = paddle.static.Program()
    core.deserialize_pir_program(str(path), program)
    known = [op.name() for op in program.global_block().ops]
    if "" in known:
        found = document["program"]["regions"][0]["blocks"][0]["ops"][known.index("")]
        what = f"operation {known.index('')} ({found['#']}) is none that this PaddlePaddle knows"
        raise _refused(path, what)
    return program


def _read_old(path: Path) -> Any:
    data = path.read_bytes()
    try:
        found = framework_pb2.ProgramDesc.FromString(data)
    except DecodeError:
        raise _refused(path, "no ProgramDesc, or a damaged one", data) from None
    if not found.blocks or not found.blocks[0].ops:
        raise _refused(path, "it has no operations", data)
    return paddle.pir.translate_to_pir(core.ProgramDesc(data))


def _described(pir: Any, path: Path) -> Program:
    inputs, outputs, parameters = [], [], []
    for op in pir.global_block().ops:
        if op.name() in _INPUTS:
            inputs.append(_face(op.attrs()["name"], op.results()[0]))
        elif op.name() in _OUTPUTS:
            face = _face(op.attrs()["name"], op.operands()[0].source())
            outputs.append((op.attrs()["col"], face))
        elif op.name() == _PARAMETER and op.attrs()["persistable"][0]:
            parameters.append(_face(op.attrs()["parameter_name"], op.results()[0]))
    if not inputs or not outputs:
        raise _refused(path, "it has no inputs or no outputs: a training program?")
    return Program(
        pir=pir,
        inputs=inputs,
        outputs=[face for _, face in sorted(outputs, key=lambda one: one[0])],
        # As paddle.static.save_inference_model and paddle.jit.save write them.
        parameters=sorted(parameters, key=lambda face: face.name),
    )


def _face(name: str, value: Any) -> Face:
    return Face(name, value.dtype.name.lower(), tuple(value.shape))


def _refused(path: Path, what: str, data: bytes = b"") -> errors.SourceModelError:
    msg = f"{path} is not a Paddle program that can be read: {what}"
    mend = "write it by paddle.jit.save, or copy it again"
    if guess := _guess(data, path.suffix):
        msg, mend = f"{msg}; it looks like {guess}", "correct source.framework or source.entry"
    return errors.SourceModelError(msg, mend=mend)


def _guess(data: bytes, suffix: str) -> str:
    for magic, kind in _MAGIC.items():
        if data.startswith(magic):
            return kind
    if suffix != ".json" and data.lstrip().startswith(b'{"base_code"'):
        return "a program of Paddle 3: name it .json"
    try:
        if framework_pb2.ProgramDesc.FromString(data).blocks:
            return "a program of Paddle 2: name it .pdmodel"
    except DecodeError:
        pass
    try:
        return "ONNX: framework onnx" if onnx.load_from_string(data).graph.node else ""
    except DecodeError:
        return ""
