# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The file of a program's parameters, `.pdiparams`, against the program.

Paddle does not do this: of a file that is missing or ends too early it takes what its memory
happens to hold, and of one that is another model's it takes the shapes. The file has the tensors
one after another, without names (paddle/phi/core/framework/dense_tensor_serialize.cc): uint32 0,
uint64 level count (0), uint32 0, int32 size of a VarType.TensorDesc, that message, the values.
"""

from __future__ import annotations

import struct
from typing import IO, TYPE_CHECKING

import numpy as np
from google.protobuf.message import DecodeError
from paddle.base.proto import framework_pb2

from stages.lib import errors

if TYPE_CHECKING:
    from pathlib import Path

    from stages.exporters.paddlepaddle.program import Face

_HEADER = struct.Struct("<IQIi")
_LONGEST_DESC = 1 << 12
_DTYPES = {
    "BOOL": "bool",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BF16": "bfloat16",
    "COMPLEX64": "complex64",
    "COMPLEX128": "complex128",
}
_MEND = "export the program and its parameters again, together, by paddle.jit.save"


def check(path: Path, parameters: list[Face]) -> None:
    """See that the file has these parameters, and nothing else.

    Raises:
        SourceModelError: it is missing, of another program, cut off or damaged.
    """
    if not path.is_file():
        if not parameters:
            return
        msg = f"{path} is missing: the program has {len(parameters)} parameters, such as"
        msg = f"{msg} {parameters[0]}"
        mend = "put it beside the program, or name it in source.weights"
        raise errors.SourceModelError(msg, mend=mend)
    size = path.stat().st_size
    with path.open("rb") as stream:
        for number, wanted in enumerate(parameters):
            if stream.tell() == size:
                msg = f"{path} has {number} parameters, and the program {len(parameters)}"
                raise errors.SourceModelError(msg, mend=_MEND)
            _check_one(path, stream, wanted, size)
        if more := size - stream.tell():
            msg = (
                f"{path} has {more} bytes more than the {len(parameters)} parameters of the program"
            )
            raise errors.SourceModelError(msg, mend=_MEND)


def _check_one(path: Path, stream: IO[bytes], wanted: Face, size: int) -> None:
    begin = stream.tell()
    found = _description(stream)
    if found is None:
        msg = f"{path} holds no tensor of Paddle's at byte {begin}, where {wanted} should be"
        raise errors.SourceModelError(msg, mend=_MEND)
    if found != (wanted.dtype, wanted.shape):
        dtype, shape = found
        msg = f"{path} has {dtype} {list(shape)} where the program has the parameter {wanted}"
        raise errors.SourceModelError(msg, mend=_MEND)
    end = stream.tell() + int(np.prod(wanted.shape, dtype=object)) * _octets(wanted.dtype)
    if end > size:
        msg = f"{path} is cut off within {wanted}: {size} bytes, and that alone ends at byte {end}"
        raise errors.SourceModelError(msg, mend="copy the file again")
    stream.seek(end)


def _description(stream: IO[bytes]) -> tuple[str, tuple[int, ...]] | None:
    """Dtype and shape of the tensor that begins here; its values follow."""
    data = stream.read(_HEADER.size)
    if len(data) < _HEADER.size:
        return None
    *zeros, length = _HEADER.unpack(data)
    if any(zeros) or not 0 < length <= _LONGEST_DESC:
        return None
    try:
        found = framework_pb2.VarType.TensorDesc.FromString(stream.read(length))
        kind = framework_pb2.VarType.Type.Name(found.data_type)
    except (DecodeError, ValueError):
        return None
    return _DTYPES.get(kind, kind), tuple(found.dims)


def _octets(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
