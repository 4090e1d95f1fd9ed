# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""observations.npz: a file that numpy reads, whose bytes follow from its arrays alone."""

from __future__ import annotations

import hashlib
import struct
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from stages.calibration import observations

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
