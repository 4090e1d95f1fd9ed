# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX sources: taken as they are, external data and all, or refused with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from onnx import external_data_helper, helper

from stages.exporters import contract, structure
from stages.exporters.api import Order
from stages.exporters.onnx import exporter
from stages.lib import errors, graphs
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from pathlib import Path

INPUTS = {"x": {"dtype": "float32", "shape": ["batch", 3, 8, 8]}}
X = {"x": zoo.values(2, 3, 8, 8)}
BYTES = zoo.tiny().SerializeToString()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def export(source: Path, entry: str = "net.onnx") -> Path:
    folder = source.parent / "out"
    order = Order(source=source, entry=entry, inputs=INPUTS, outputs=["logits"], opset=None)
    exporter.export(order, {}, folder)
    structure.check(folder / "model.onnx", f"{source}/{entry}")
    return folder


def refused(source: Path, message: str) -> errors.SourceModelError:
    with pytest.raises(errors.SourceModelError, match=message) as caught:
        export(source)
    assert caught.value.exit_code == 4
    return caught.value


def save(source: Path, location: str = "weights.bin", **changes: str) -> None:
    """A model whose weights lie in one file beside it; `changes` are of the entries of `w2`."""
    proto = zoo.tiny()
    (source / location).parent.mkdir(parents=True, exist_ok=True)
    external_data_helper.convert_model_to_external_data(
        proto, location=location, size_threshold=0, convert_attribute=True
    )
    onnx.save(proto, source / "net.onnx")
    change(source, **changes)


def change(source: Path, **entries: str) -> None:
    proto = onnx.load(source / "net.onnx", load_external_data=False)
    tensor = next(t for t in proto.graph.initializer if t.name == "w2")
    found = {entry.key: entry.value for entry in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in found.items():
        tensor.external_data.add(key=key, value=value)
    (source / "net.onnx").write_bytes(proto.SerializeToString())


def test_the_file_is_copied_byte_for_byte(source: Path) -> None:
    (source / "net.onnx").write_bytes(BYTES)
    folder = export(source)
    assert (folder / "model.onnx").read_bytes() == BYTES
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]


def test_an_entry_below_the_source_folder(source: Path) -> None:
    (source / "v2").mkdir()
    save(source / "v2")
    folder = export(source, "v2/net.onnx")
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "weights.bin"]


@pytest.mark.parametrize("location", ["weights.bin", "data/deep/weights.bin"])
def test_external_data_comes_along(source: Path, location: str) -> None:
    save(source, location)
    (source / "unused.bin").write_bytes(b"not the model's")
    folder = export(source)
    assert (folder / location).read_bytes() == (source / location).read_bytes()
    assert not (folder / "unused.bin").exists()
    (source / location).unlink()
    after = zoo.infer(onnx.load(folder / "model.onnx"), X)["logits"]
    np.testing.assert_array_equal(after, zoo.infer(zoo.tiny(), X)["logits"])
    assert graphs.load(folder).graph.initializers["w2"].const_value is not None


@pytest.mark.parametrize("target", ["real.bin", "../secret.bin"])
def test_a_link_is_refused_wherever_it_leads(source: Path, target: str) -> None:
    save(source)
    (source / "weights.bin").rename(source / target)
    (source / "weights.bin").symlink_to(target)
    error = refused(source, "'weights.bin', is a link, or lies behind one: refused")
    assert "replace the link by the file itself" in error.mend


def test_a_linked_folder_is_refused_too(source: Path) -> None:
    save(source, "data/weights.bin")
    (source / "data").rename(source.parent / "elsewhere")
    (source / "data").symlink_to(source.parent / "elsewhere")
    refused(source, "'data/weights.bin', is a link, or lies behind one: refused")


def test_the_source_folder_itself_may_be_linked(source: Path) -> None:
    save(source)
    source.rename(source.parent / "elsewhere")
    source.symlink_to(source.parent / "elsewhere")
    assert (export(source) / "weights.bin").is_file()


@pytest.mark.parametrize(
    "location", ["../secret.bin", "a/../../secret.bin", "/etc/passwd", "..\\secret.bin", ""]
)
def test_a_location_outside_the_folder_is_refused(source: Path, location: str) -> None:
    save(source)
    (source.parent / "secret.bin").write_bytes(bytes(10_000))
    change(source, location=location)
    refused(source, "external data of 'w2', .* lies outside the model's folder: refused")


@pytest.mark.parametrize("location", ["*/_ORT_MEM_ADDR_/*", "n" * 5000, "model.onnx/w", "a\0b"])
def test_a_location_that_is_no_file_of_the_model(source: Path, location: str) -> None:
    save(source)
    change(source, location=location)
    refused(source, "outside the model's folder|is missing|name that the graph itself gets")


def test_a_location_that_is_told_twice(source: Path) -> None:
    """Of two locations one reader takes the first, another the last."""
    save(source)
    proto = onnx.load(source / "net.onnx", load_external_data=False)
    proto.graph.initializer[0].external_data.add(key="location", value="weights.bin")
    (source / "net.onnx").write_bytes(proto.SerializeToString())
    refused(source, "external data of 'stem_raw' are told twice")


def test_a_location_that_is_no_text(source: Path) -> None:
    save(source)
    data = (source / "net.onnx").read_bytes().replace(b"weights.bin", b"weights.\xff\xfe\xfd")
    (source / "net.onnx").write_bytes(data)
    refused(source, "StringStringEntryProto.value holds text that is not UTF-8")


def test_data_without_position_and_length_is_the_whole_file(source: Path) -> None:
    save(source)
    weights = (source / "weights.bin").read_bytes()
    proto = onnx.load(source / "net.onnx", load_external_data=False)
    tensor = next(t for t in proto.graph.initializer if t.name == "w2")
    found = {entry.key: int(entry.value) for entry in tensor.external_data if entry.value.isdigit()}
    end = found["offset"] + found["length"]
    (source / "own.bin").write_bytes(weights[found["offset"] : end])
    del tensor.external_data[:]
    tensor.external_data.add(key="location", value="own.bin")
    (source / "net.onnx").write_bytes(proto.SerializeToString())
    after = zoo.infer(onnx.load(export(source) / "model.onnx"), X)["logits"]
    np.testing.assert_array_equal(after, zoo.infer(zoo.tiny(), X)["logits"])


def test_missing_external_data(source: Path) -> None:
    save(source)
    (source / "weights.bin").unlink()
    error = refused(source, "external data of 'stem_raw', 'weights.bin', is missing")
    assert error.mend == f"copy weights.bin into {source}"


@pytest.mark.parametrize(("offset", "length"), [("0", "9999"), ("9999", "4"), ("-4", "4")])
def test_external_data_that_is_too_short(source: Path, offset: str, length: str) -> None:
    save(source)
    change(source, offset=offset, length=length)
    refused(source, rf"'w2' lies at bytes {offset} to \d+ of weights.bin, which has \d+")


def test_truncated_external_data(source: Path) -> None:
    save(source)
    data = (source / "weights.bin").read_bytes()
    (source / "weights.bin").write_bytes(data[:-1])
    refused(source, r"lies at bytes \d+ to \d+ of weights.bin, which has \d+")


def test_an_offset_that_is_no_number(source: Path) -> None:
    save(source, offset="many")
    refused(source, "'w2' lies at no readable position of weights.bin")


def test_data_with_the_name_of_the_graph_itself(source: Path) -> None:
    save(source, "model.onnx")
    refused(source, "has the name that the graph itself gets")


def hide(proto: onnx.ModelProto, tensor: onnx.TensorProto, where: str) -> None:
    """Put a tensor where a walk over initializers does not come by."""
    constant = zoo.node("Constant", [], ["hidden"], value=tensor)
    if where == "node":
        proto.graph.node.append(constant)
    elif where == "branch":
        part = helper.make_graph([constant], "part", [], [zoo.face("hidden", 4)])
        proto.graph.initializer.append(zoo.const("yes", True, bool))
        proto.graph.node.append(
            zoo.node("If", ["yes"], ["other"], then_branch=part, else_branch=part)
        )
    elif where == "function":
        opset = [helper.make_opsetid("", 22)]
        made = helper.make_function("own", "F", [], ["hidden"], [constant], opset)
        proto.functions.append(made)
        proto.opset_import.append(helper.make_opsetid("own", 1))
    else:
        sparse = onnx.SparseTensorProto(dims=[8], values=tensor)
        sparse.indices.CopyFrom(zoo.const("places", [0, 1, 2, 3], np.int64))
        proto.graph.sparse_initializer.append(sparse)


@pytest.mark.parametrize("where", ["node", "branch", "function", "sparse"])
def test_no_corner_of_the_model_reaches_outside(source: Path, where: str) -> None:
    proto = zoo.tiny()
    tensor = onnx.TensorProto(name="hidden", data_type=1, dims=[4])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    hide(proto, tensor, where)
    (source / "net.onnx").write_bytes(proto.SerializeToString())
    refused(source, "external data of 'hidden', '../secret.bin', lies outside")


def test_a_missing_file(source: Path) -> None:
    error = refused(source, r"net\.onnx is not there")
    assert "models.<m>.source.entry" in error.mend


def test_an_empty_file(source: Path) -> None:
    (source / "net.onnx").touch()
    refused(source, "holds no graph with outputs: it is not an ONNX model, or is truncated")


def test_another_kind_of_file(source: Path) -> None:
    np.savez(source / "net.npz", a=np.zeros(3))
    (source / "net.npz").rename(source / "net.onnx")
    refused(source, r"is not an ONNX file, or is truncated \(\d+ bytes\)")


def test_invalid_onnx_is_told_by_the_checker(source: Path) -> None:
    proto = zoo.tiny()
    proto.graph.node[2].op_type = "Relooo"
    (source / "net.onnx").write_bytes(proto.SerializeToString())
    refused(source, r"net\.onnx is not valid ONNX: No Op registered for Relooo")


def taken_or_refused(source: Path, data: bytes) -> bool:
    """Whether a file is taken; nothing but a failure with a name of its own may be raised."""
    (source / "net.onnx").write_bytes(data)
    folder = source.parent / "out"
    try:
        export(source)
        contract.check(graphs.load(folder), INPUTS, ["logits"], "models.m")
        zoo.infer(onnx.load(folder / "model.onnx"), X)
    except errors.EngineryError as error:
        assert error.mend  # noqa: PT017
        return False
    finally:
        for path in folder.glob("*"):
            path.unlink()
        if folder.exists():
            folder.rmdir()
    return True


FUZZ = settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(keep=st.integers(min_value=0, max_value=len(BYTES) - 1))
@FUZZ
def test_a_truncated_file_is_refused(source: Path, keep: int) -> None:
    assert not taken_or_refused(source, BYTES[:keep])


@given(data=st.binary(max_size=200))
@example(data=np.random.default_rng(0).bytes(4000))
@FUZZ
def test_random_bytes_are_refused(source: Path, data: bytes) -> None:
    assert not taken_or_refused(source, data)


@given(place=st.integers(0, len(BYTES) - 1), byte=st.integers(0, 255))
@settings(FUZZ, max_examples=250)
def test_a_damaged_byte_never_surprises(source: Path, place: int, byte: int) -> None:
    data = bytearray(BYTES)
    data[place] = byte
    taken_or_refused(source, bytes(data))


def test_the_undamaged_file_is_taken(source: Path) -> None:
    assert taken_or_refused(source, BYTES)
