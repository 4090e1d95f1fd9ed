# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT's cache format: golden bytes, and names that try to break it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stages.lib import caches, errors

# What NVIDIA's own parsers meet: spaces, colons, the separator itself, parentheses, Unicode.
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=12)
SCALES = st.floats(min_value=0, allow_nan=False, allow_infinity=False, width=32)
HOSTILE = {
    "a: b": 1.0,
    " leading": 2.0,
    "(Unnamed Layer* 3) [Constant]_output": 0.5,
    "x: 3f800000": 0.25,
    "": 0.125,
    "\u2028\x0b\x0c\x1c\x85": 4.0,
    "日本:": 8.0,
}


def cache(**scales: float) -> caches.Cache:
    return caches.Cache(version=101601, algorithm="EntropyCalibration2", scales=scales)


def test_these_bytes() -> None:
    assert caches.render(cache(input=128 / 127, zero=0.0, tiny=2.0**-149)) == (
        b"TRT-101601-EntropyCalibration2\ninput: 3f810204\nzero: 00000000\ntiny: 00000001\n"
    )


def test_nvidias_unpadded_digits_are_read() -> None:
    read = caches.parse(b"TRT-8000-MinMaxCalibration\na: 1\nb: 3C010A14\nc: 0", "x.cache")
    assert (read.version, read.algorithm) == (8000, "MinMaxCalibration")
    assert read.scales == {
        "a": 2.0**-149,
        "b": struct.unpack(">f", bytes.fromhex("3c010a14"))[0],
        "c": 0.0,
    }


@given(scales=st.dictionaries(NAMES, SCALES, max_size=6))
@example(scales=HOSTILE)
@example(scales={})
def test_what_is_written_is_read_in_order_bit_for_bit(scales: dict[str, float]) -> None:
    data = caches.render(cache(**scales))
    read = caches.parse(data, "x.cache")
    assert list(read.scales) == list(scales)
    assert dict(read.scales) == scales  # they are float32 already
    assert caches.render(read) == data


@pytest.mark.parametrize("name", ["a\nb", "a\r", "\r\n"])
def test_a_name_with_a_line_break_is_refused(name: str) -> None:
    with pytest.raises(errors.CalibrationError, match="holds a line break"):
        caches.render(cache(**{name: 1.0}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "x.cache does not begin with TRT-"),
        (b"no ranges\n", "does not begin with TRT-"),
        (b"TRT-10-A B\n", "does not begin with TRT-"),
        (b"TRT-1-A\ninput 3f800000\n", r"x\.cache:2: 'input 3f800000' is not"),
        (b"TRT-1-A\ninput: 3f80000g\n", r"x\.cache:2: .* is not"),
        (b"TRT-1-A\ninput: 3f8000000\n", r"x\.cache:2: .* is not"),
        (b"TRT-1-A\ninput: \n", r"x\.cache:2: .* is not"),
        (b"TRT-1-A\n\n", r"x\.cache:2: '' is not"),
        (b"TRT-1-A\na: 1\na: 1\n", r"x\.cache:3: .* or names it again"),
        (b"TRT-1-A\r\na: 1\r\n", "does not begin with TRT-"),
        (b"TRT-1-A\na: 7fc00000\n", r"x\.cache:2: the scale of 'a' is nan"),
        (b"TRT-1-A\na: 7f800000\n", "the scale of 'a' is inf"),
        (b"TRT-1-A\na: bf800000\n", r"the scale of 'a' is -1\.0"),
        (b"TRT-1-A\na: 80000000\n", r"the scale of 'a' is -0\.0"),
        (b"\xff\xfe", "does not begin with TRT-"),
    ],
)
def test_what_is_no_cache_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(errors.CalibrationError, match=message) as caught:
        caches.parse(data, "x.cache")
    assert "dvc repro calibrate" in caught.value.mend
