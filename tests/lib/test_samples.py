# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Sample files: what is read, in which batches, and how each mistake is told."""

from __future__ import annotations

import tracemalloc
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
    refuse(split(tmp_path / folder), r"holds no \.npz, \.npy or \.py file: there are no samples")


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


def save(folder: Path, **arrays: Any) -> None:
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("pack", [np.savez, np.savez_compressed, save])
def test_every_form_gives_the_same_batches(tmp_path: Path, pack: Any, order: Any) -> None:
    arrays = {"image": np.asarray(images(7), order=order), "label": np.arange(7)}
    pack(tmp_path / ("000.npz" if pack is not save else ""), **arrays)
    found = list(split(tmp_path, labels="label").batches(3))
    assert [len(batch["image"]) for batch in found] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([b["image"] for b in found]), images(7))
    assert np.concatenate([b["label"] for b in found]).tolist() == list(range(7))
    assert split(tmp_path).count() == 7
    assert split(tmp_path).estimate(3) == 3
    split(tmp_path).check_headers()


def test_npy_files_in_folders_come_in_order_of_name(tmp_path: Path) -> None:
    save(tmp_path / "b", image=images(1))
    save(tmp_path / "a", image=images(2) + 8)
    assert [len(batch["image"]) for batch in split(tmp_path).batches(9)] == [2, 1]


def test_npy_files_that_do_not_fit(tmp_path: Path) -> None:
    save(tmp_path, image=images(2), label=np.zeros(3))
    refuse(split(tmp_path, labels="label"), r"same number of samples, at least one; image \(2,\)")
    refuse(split(tmp_path, labels="truth"), r"lacks the array 'truth'; it holds: image, label")
    array = images(5)
    array[3, 0, 1, 1] = np.nan
    save(tmp_path, image=array)
    with pytest.raises(errors.SamplesError, match="'image' holds NaN or infinity in sample 3"):
        list(split(tmp_path).batches(2))
    data = (tmp_path / "image.npy").read_bytes()
    for cut in (0, 40, len(data) - 1):
        (tmp_path / "image.npy").write_bytes(data[:cut])
        refuse(split(tmp_path), r"image\.npy is not a readable \.npy file")


@pytest.mark.parametrize("place", [0.2, 0.6, 0.999])
def test_a_flipped_bit_of_stored_samples_is_told(tmp_path: Path, place: float) -> None:
    """Their checksum is read to the end, though only the values are wanted."""
    np.savez(tmp_path / "000.npz", image=images(50))
    data = bytearray((tmp_path / "000.npz").read_bytes())
    begin, end = data.index(b"NUMPY") + 130, data.index(b"PK\x01\x02")
    data[begin + int(place * (end - begin))] ^= 1
    (tmp_path / "000.npz").write_bytes(data)
    with pytest.raises(errors.SamplesError, match="not a readable"):
        list(split(tmp_path).batches(7))


def script(folder: Path, *lines: str) -> samples.Split:
    head = ["import numpy as np", "def load_data():"]
    (folder / "data.py").write_text("\n".join([*head, *(f"    {line}" for line in lines)]))
    return split(folder, labels="label")


FEED = "yield {'image': np.full((n, 1, 2, 2), n, np.float32), 'label': np.full(n, n)}"


def test_a_generator_gives_feeds_of_any_length(tmp_path: Path) -> None:
    found = script(tmp_path, "for n in (3, 1, 2):", f"    {FEED}")
    found.check_headers()
    batches = list(found.batches(2))
    assert [batch["label"].tolist() for batch in batches] == [[3, 3], [3], [1], [2, 2]]
    assert (found.count(), found.estimate(2)) == (6, None)
    _, headers = next(found.headers())
    assert headers["image"] == ((3, 1, 2, 2), "float32")
    assert not (tmp_path / "__pycache__").exists()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["raise KeyError('disk')", "yield"], r"data\.py: load_data\(\) fails: KeyError: 'disk'"),
        (["raise SystemExit(3)", "yield"], "load_data.. fails: SystemExit: 3"),
        (["pass"], "load_data.. fails: TypeError: 'NoneType' object is not iterable"),
        (["yield [1]"], "load_data.. fails: TypeError: feed 0 is a list, not a dict"),
        (["n = 2", FEED.replace("'image'", "'picture'")], r"\(feed 0\) lacks the array 'image'"),
        (["n = 2", FEED.replace("float32", "float64")], r"\(feed 0\): 'image' is float64"),
        (["n = 2", FEED.replace("2, 2)", "2, 3)")], r"'image' has shape \[2, 1, 2, 3\]"),
        (["n = 2", FEED, FEED.replace("n, np.f", "np.nan, np.f")], "holds NaN or .* in sample 2"),
        (["return", "yield"], "yields nothing: there are no samples"),
    ],
)
def test_feeds_that_do_not_fit(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(errors.SamplesError, match=message):
        list(script(tmp_path, *lines).batches(2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def load(): ...", r"data\.py defines no load_data\(\); it defines: load"),
        ("import numpy as np\nx = 1\n1 + 1", r"defines no load_data\(\); it defines: np, x"),
        ("def load_data(:", r"data\.py is not Python"),
    ],
)
def test_scripts_without_a_generator_are_told_unrun(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "data.py").write_text(text)
    refuse(split(tmp_path), message)


@pytest.mark.parametrize(
    "text",
    [
        "class load_data:\n    def __iter__(self):\n        yield FEED",
        "def make():\n    return [FEED]\nload_data = make",
        "from beside.feeds import load_data",
    ],
)
def test_whatever_has_the_name_is_called(tmp_path: Path, text: str) -> None:
    feed = "import numpy as np\nFEED = {'image': np.ones((3, 1, 2, 2), np.float32)}\n"
    (tmp_path / "data.py").write_text(feed + text)
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside/feeds.py").write_text(feed + "def load_data():\n    yield FEED\n")
    found = split(tmp_path)
    found.check_headers()
    assert [len(batch["image"]) for batch in found.batches(2)] == [2, 1]


def test_two_kinds_of_samples_are_not_guessed_between(tmp_path: Path) -> None:
    script(tmp_path, "n = 1", FEED)
    write(tmp_path, image=images(2))
    refuse(split(tmp_path), r"more than one \.py file, or other samples beside it: ")


def peak(folder: Path) -> int:
    tracemalloc.start()
    try:
        for _ in split(folder).batches(4):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("pack", [np.savez, np.savez_compressed, save])
def test_memory_does_not_grow_with_the_samples(tmp_path: Path, pack: Any) -> None:
    found = []
    for number, count in enumerate((2_000, 40_000)):
        folder = tmp_path / str(number)
        folder.mkdir()
        pack(folder / ("000.npz" if pack is not save else ""), image=images(count))
        found.append(peak(folder))
    assert found[1] < found[0] + 100_000 < 40_000 * 16
