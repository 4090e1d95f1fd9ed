# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The opset of files that the onnx package wrote, and of bytes that are none."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import onnx
import pytest
from onnx import helper

from stages.lib import errors, onnx_header
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, *imports: tuple[str, int]) -> Path:
    model = zoo.tiny()
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(*pair) for pair in imports)
    model.doc_string = "8" * 300
    helper.set_model_props(model, {"key": "value"})
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("imports", "found"),
    [
        ([("", 22)], 22),
        ([("ai.onnx", 7)], 7),
        ([("com.microsoft", 1), ("", 300), ("ai.onnx.ml", 5)], 300),
    ],
)
def test_it_is_what_onnx_reads(tmp_path: Path, imports: list[tuple[str, int]], found: int) -> None:
    path = write(tmp_path / "model.onnx", *imports)
    assert onnx_header.opset(path) == found
    own = [entry.version for entry in onnx.load(path).opset_import if "." not in entry.domain]
    assert found in own or ("ai.onnx", found) in imports


@pytest.mark.parametrize("imports", [[], [("com.microsoft", 1)]])
def test_a_file_without_onnxs_own_operators(tmp_path: Path, imports: list[tuple[str, int]]) -> None:
    path = write(tmp_path / "model.onnx", *imports)
    with pytest.raises(errors.GraphError, match=r"is no ONNX graph: it names no operator set"):
        onnx_header.opset(path)


def test_bytes_of_any_kind_are_refused_or_read_but_never_crash(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    whole = write(path, ("", 22)).read_bytes()
    source = random.Random(0)  # noqa: S311
    for _ in range(300):
        cut = bytearray(whole[: source.randrange(len(whole) + 1)])
        for _ in range(source.randrange(3)):
            if cut:
                cut[source.randrange(len(cut))] = source.randrange(256)
        path.write_bytes(cut)
        try:
            assert onnx_header.opset(path) > 0
        except errors.GraphError as error:
            assert "is no ONNX graph" in error.what  # noqa: PT017


def test_a_skeleton_is_the_file_without_raw_data(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for proto in (zoo.tiny(), zoo.attention(), zoo.loop()):
        proto.doc_string = "8" * 300
        path.write_bytes(proto.SerializeToString())
        assert any(tensor.raw_data for tensor in proto.graph.initializer)
        for tensor in proto.graph.initializer:
            tensor.ClearField("raw_data")
        assert onnx.ModelProto.FromString(onnx_header.skeleton(path)) == proto


def test_no_skeleton_of_other_bytes_crashes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    whole = write(path, ("", 22)).read_bytes()
    source = random.Random(0)  # noqa: S311
    for _ in range(300):
        cut = bytearray(whole[: source.randrange(len(whole) + 1)])
        for _ in range(source.randrange(3)):
            if cut:
                cut[source.randrange(len(cut))] = source.randrange(256)
        path.write_bytes(cut)
        with contextlib.suppress(EOFError, ValueError):
            assert len(onnx_header.skeleton(path)) <= len(cut)


def test_weights_are_not_read(tmp_path: Path) -> None:
    model = zoo.tiny()
    tensor = onnx.TensorProto(data_type=1, dims=[1 << 24], name="big", raw_data=bytes(1 << 26))
    model.graph.initializer.append(tensor)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    # Not ru_maxrss: a process inherits its parent's.
    code = (
        "import pathlib, sys; from stages.lib import onnx_header\n"
        "def peak(): return int(pathlib.Path('/proc/self/status').read_text()"
        ".partition('VmHWM:')[2].split()[0])\n"
        "before = peak()\n"
        "onnx_header.opset(pathlib.Path(sys.argv[1]))\n"
        "onnx_header.skeleton(pathlib.Path(sys.argv[1]))\n"
        "print(peak() - before, 'onnx' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(path)]
    grown, heavy = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(grown) < 8 << 10  # KiB
    assert heavy == "False"
