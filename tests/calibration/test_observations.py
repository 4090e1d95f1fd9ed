# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""observations.npz: a file that numpy reads, whose bytes follow from its arrays alone."""

from __future__ import annotations

import hashlib
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.calibration import extremes, observations
from stages.calibration.histogram import Histogram

if TYPE_CHECKING:
    from pathlib import Path

ARRAYS = {
    "names": np.array(["a", "b: c"], dtype=np.str_),
    "bins": np.array(4, np.int64),
    "counts": np.arange(8, dtype=np.int64).reshape(2, 4),
    "maxima": np.array([0.1, np.inf], np.float32),
    "channel_maxima": np.zeros(0, np.float32),
}


def test_numpy_reads_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "observations.npz"
    observations.write(path, ARRAYS)
    found = observations.read(path)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_bytes_depend_on_no_release_of_python(tmp_path: Path) -> None:
    """No room for 64-bit sizes, which CPython 3.11.3 and 3.11.4 fill in differently; no time."""
    path = tmp_path / "observations.npz"
    observations.write(path, ARRAYS)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            header = struct.unpack_from("<4s5H3L2H", data, member.header_offset)
            signature, version, flags, method, time, date, _, packed, size, _, extra = header
            assert (signature, version, flags, method, extra) == (b"PK\3\4", 20, 0, 0, 0)
            assert (time, date) == (0, 1 << 5 | 1)
            assert packed == size == member.file_size
    digest = hashlib.sha256(data).hexdigest()
    assert digest == "2277aca1eba4cd85c18ea4d64e6116943dc5cfa0cc876aa98cbf492db466427e"


def packed(*names: str, ranged: tuple[str, ...] = ()) -> Any:
    histograms, channels = {}, {}
    for name in names:
        values = np.arange(len(name), dtype=np.float32)
        channels[name] = extremes.scan(values.reshape(1, -1), 1)
        if name in ranged:
            histograms[name] = Histogram(4)
            histograms[name].add(-values)
    return observations.pack(
        histograms,
        channels,
        dict.fromkeys(names, 1),
        needed=set(ranged[:1]),
        bins=4,
        samples=7,
        graph="ab",
        data="cd",
    )


def test_tensors_are_packed_by_name(tmp_path: Path) -> None:
    arrays = packed("bbb", "a", "cc", ranged=("cc", "bbb"))
    assert arrays["names"].tolist() == ["a", "bbb", "cc"]
    assert arrays["ranged"].tolist() == [1, 2]
    assert arrays["needed"].tolist() == [False, True]
    assert arrays["counts"].tolist() == [[1, 1, 1, 0], [1, 0, 1, 0]]
    assert arrays["negative"].tolist() == [[0, 1, 1, 0], [0, 0, 1, 0]]
    assert arrays["zeros"].tolist() == [1, 1]
    assert arrays["exponents"].tolist() == [2, 1]
    assert arrays["maxima"].tolist() == [0, 2, 1]
    assert arrays["lowest"].tolist() == [0, 0, 0]
    assert arrays["highest"].tolist() == [0, 2, 1]
    assert arrays["channel_offsets"].tolist() == [0, 1, 4, 6]
    assert arrays["channel_maxima"].tolist() == [0, 0, 1, 2, 0, 1]
    assert (int(arrays["bins"]), int(arrays["samples"])) == (4, 7)
    again = packed("a", "cc", "bbb", ranged=("cc", "bbb"))
    for name, content in (("one", arrays), ("two", again)):
        observations.write(tmp_path / name, content)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    read = observations.read(tmp_path / "one")
    assert list(read) == list(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(read[key], array)
        assert read[key].dtype == array.dtype


def test_a_graph_without_float_activations_is_packed_too() -> None:
    arrays = packed()
    assert arrays["counts"].shape == arrays["negative"].shape == (0, 4)
    assert arrays["channel_offsets"].tolist() == [0]
    assert arrays["channel_maxima"].shape == (0,)
