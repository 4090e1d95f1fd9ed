# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Sample files: what is read, in which batches, and how each mistake is told."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.lib import errors, samples

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = {"image": {"dtype": "float32", "shape": ["batch", 1, 2, 2]}}
PAIR = {
    "ids": {"dtype": "int64", "shape": ["batch", "seq"]},
    "mask": {"dtype": "bool", "shape": ["batch", "seq"]},
}


def images(count: int) -> np.ndarray[Any, Any]:
    return np.arange(count * 4, dtype=np.float32).reshape(count, 1, 2, 2)


def write(folder: Path, name: str = "000.npz", **arrays: Any) -> Path:
    np.savez_compressed(folder / name, **arrays)
    return folder / name


def split(folder: Path, inputs: Any = IMAGE, labels: str | None = None) -> samples.Split:
    return samples.Split(folder=folder, inputs=inputs, labels=labels)


def refuse(found: samples.Split, message: str) -> errors.SamplesError:
    """Reading, counting and checking the headers alone all say the same."""
    told: list[errors.SamplesError] = []
    for use in (lambda: list(found.batches(4)), found.check_headers, found.count):
        with pytest.raises(errors.SamplesError, match=message) as caught:
            use()
        told.append(caught.value)
    assert len({error.what for error in told}) == 1
    return told[0]


def test_batches_come_in_order_of_name_and_end_with_their_file(tmp_path: Path) -> None:
    write(tmp_path, "001.npz", image=images(3) + 100, label=np.arange(3))
    write(tmp_path, "000.npz", image=images(5), label=np.arange(5), other=np.zeros(1))
    found = list(split(tmp_path, labels="label").batches(2))
    assert [len(batch["image"]) for batch in found] == [2, 2, 1, 2, 1]
    assert [batch["label"].tolist() for batch in found] == [[0, 1], [2, 3], [4], [0, 1], [2]]
    wanted = np.concatenate([images(5), images(3) + 100])
    np.testing.assert_array_equal(np.concatenate([b["image"] for b in found]), wanted)
    assert {key for batch in found for key in batch} == {"image", "label"}
    assert [list(batch) for batch in split(tmp_path, labels="label").feeds(8)] == [["image"]] * 2
    assert split(tmp_path).count() == 8


def test_a_fixed_batch_is_given_whatever_is_asked_for(tmp_path: Path) -> None:
    fixed = {"image": {"dtype": "float32", "shape": [2, 1, 2, 2]}}
    write(tmp_path, image=images(4))
    assert [len(b["image"]) for b in split(tmp_path, fixed).batches(64)] == [2, 2]
    assert split(tmp_path, fixed).batch(64) == 2
    assert split(tmp_path).batch(64) == 64
    write(tmp_path, image=images(5))
    refuse(split(tmp_path, fixed), r"'image' has shape \[5, 1, 2, 2\], params.yaml says \[2, 1")


def test_one_symbol_has_one_size_in_a_file_and_may_differ_between_files(tmp_path: Path) -> None:
    for name, length in (("0.npz", 3), ("1.npz", 5)):
        ids = np.zeros((2, length), np.int64)
        write(tmp_path, name, ids=ids, mask=ids.astype(bool))
    assert split(tmp_path, PAIR).count() == 4
    write(tmp_path, "2.npz", ids=np.zeros((2, 3), np.int64), mask=np.zeros((2, 4), bool))
    refuse(split(tmp_path, PAIR), r"2\.npz: 'mask' has shape \[2, 4\], params.yaml says \['batch'")


def test_headers_are_read_without_the_data(tmp_path: Path) -> None:
    path = write(tmp_path, image=images(64))
    with zipfile.ZipFile(path) as archive:
        whole = archive.read("image.npy")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image.npy", whole[:130])  # the header and two bytes of data
    assert split(tmp_path).count() == 64
    split(tmp_path).check_headers()
    with pytest.raises(errors.SamplesError, match=r"000\.npz is not a readable \.npz file"):
        list(split(tmp_path).batches(4))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"picture": images(2)}, r"000\.npz lacks the array 'image'; it holds: picture"),
        ({}, r"000\.npz lacks the array 'image'; it holds: nothing"),
        ({"image": images(2).astype(np.float64)}, "'image' is float64, params.yaml says float32"),
        ({"image": images(2).astype(">f4")}, "'image' is >f4, params.yaml says float32"),
        ({"image": np.array([None, 1])}, "'image' is object, params.yaml says float32"),
        (
            {"image": images(2)[:, :, :1]},
            r"has shape \[2, 1, 1, 2\], params.yaml says \['ba",
        ),
        ({"image": images(2)[:, 0]}, r"'image' has shape \[2, 2, 2\]"),
        ({"image": np.float32(1)}, r"'image' has shape \[\]"),
        ({"image": images(0)}, r"same number of samples, at least one; image \(0,\)"),
    ],
)
def test_headers_that_do_not_fit(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    write(tmp_path, **arrays)
    error = refuse(split(tmp_path), message)
    assert str(tmp_path / "000.npz") in error.what
    assert "image (float32 ['batch', 1, 2, 2])" in error.mend
    assert error.exit_code == 5


@pytest.mark.parametrize("count", [1, 3])
def test_labels_of_another_length(tmp_path: Path, count: int) -> None:
    write(tmp_path, image=images(2), label=np.zeros(count))
    wanted = rf"same number of samples, at least one; image \(2,\), label \({count},\)"
    error = refuse(split(tmp_path, labels="label"), wanted)
    assert error.mend.endswith(" and label (labels)")
    assert split(tmp_path).count() == 2


def test_labels_that_are_missing_or_scalar(tmp_path: Path) -> None:
    write(tmp_path, image=images(2), label=np.float32(1))
    refuse(split(tmp_path, labels="label"), r"image \(2,\), label \(\)")
    refuse(split(tmp_path, labels="truth"), r"lacks the array 'truth'; it holds: image, label")


def test_labels_that_are_python_objects_are_not_unpickled(tmp_path: Path) -> None:
    write(tmp_path, image=images(2), label=np.array([print, None]))
    with pytest.raises(errors.SamplesError, match="allow_pickle=False"):
        list(split(tmp_path, labels="label").batches(2))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_no_model_should_see(tmp_path: Path, value: float) -> None:
    array = images(5)
    array[3, 0, 1, 1] = value
    write(tmp_path, image=array)
    split(tmp_path).check_headers()
    with pytest.raises(errors.SamplesError, match=r"000\.npz: 'image' holds NaN or infinity in sa"):
        list(split(tmp_path).batches(2))
    with pytest.raises(errors.SamplesError, match=r"in sample 3$"):
        list(split(tmp_path).batches(2))
    write(tmp_path, image=images(5), label=np.array([0, 0, value, 0, 0]))
    with pytest.raises(errors.SamplesError, match="'label' holds NaN or infinity in sample 2"):
        list(split(tmp_path, labels="label").batches(2))


@pytest.mark.parametrize("folder", [".", "not/there"])
def test_no_samples(tmp_path: Path, folder: str) -> None:
    (tmp_path / "readme.txt").touch()
    refuse(split(tmp_path / folder), r"holds no \.npz file: there are no samples")


@pytest.mark.parametrize("data", [b"", b"not a zip file", b"PK\x05\x06" + bytes(18)])
def test_files_that_are_no_archives(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "000.npz").write_bytes(data)
    with pytest.raises(errors.SamplesError, match=r"000\.npz (is not a readable|lacks the array)"):
        split(tmp_path).check_headers()


def test_a_folder_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "000.npz").mkdir()
    refuse(split(tmp_path), r"000\.npz is not a readable \.npz file: .*Is a directory")


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "000.npz", "w") as archive:
        archive.writestr("image.npy", b"no array at all")
    refuse(split(tmp_path), r"000\.npz is not a readable \.npz file: the magic string")


@given(keep=st.floats(min_value=0, max_value=1, exclude_max=True))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: float) -> None:
    path = write(tmp_path, image=images(16))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    refuse(split(tmp_path), r"000\.npz is not a readable \.npz file")


@given(place=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_is_told_or_harmless(tmp_path: Path, place: int, bit: int) -> None:
    path = write(tmp_path, image=images(3))
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << bit
    path.write_bytes(data)
    try:
        found = np.concatenate([batch["image"] for batch in split(tmp_path).batches(2)])
    except errors.SamplesError:
        return
    np.testing.assert_array_equal(found, images(3))
