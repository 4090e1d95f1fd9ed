# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Caches from elsewhere: what fits a graph, what of it is taken, and how a misfit is told."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from stages.calibration import foreign
from stages.calibration.ranges import Tensor
from stages.lib import caches, errors

# A real one, whole; where it is from, and its licence, lie beside it.
MNIST = (Path(__file__).parent / "published/mnist.cache").read_bytes()


def tensor(name: str, *, needed: bool = True) -> Tensor:
    return Tensor(
        name=name,
        needed=needed,
        maximum=1.0,
        lowest=-1.0,
        highest=1.0,
        counts=np.ones(8, np.int64),
        zeros=0,
        width=0.25,
    )


def put(folder: Path, data: bytes) -> Path:
    (folder / "trt.cache").write_bytes(data)
    return folder / "trt.cache"


def test_a_published_cache_survives_a_round_trip(tmp_path: Path) -> None:
    cache = foreign.read(put(tmp_path, MNIST))
    assert caches.render(cache) == MNIST
    assert len(cache.scales) == MNIST.count(b"\n") - 1 == 8


def test_a_published_cache_fits_its_network(tmp_path: Path) -> None:
    path = put(tmp_path, MNIST)
    found = [tensor(name) for name in ("conv1", "data", "ip1")] + [tensor("sum", needed=False)]
    known = ["data", "conv1", "pool1", "conv2", "pool2", "ip1", "ip2", "sum"]
    scales, told = foreign.fit(foreign.read(path), found, known, path)
    assert list(scales) == ["conv1", "data", "ip1", "sum"]
    assert np.float32(scales["data"]).tobytes()[::-1].hex() == "3c008912"
    assert scales["sum"] == 0.0
    assert foreign.ranges(scales)["data"] == scales["data"] * 127
    assert told["not_in_the_cache"] == ["sum"]
    assert (told["names"], told["used"], told["not_in_the_graph"]) == (8, 3, 1)
    assert (told["algorithm"], told["version"]) == ("EntropyCalibration2", 7000)


@pytest.mark.parametrize("version", ["8600", "8601", "8603", "9200", "100100", "101303", "101601"])
@pytest.mark.parametrize("algorithm", ["EntropyCalibration2", "MinMaxCalibration"])
def test_headers_of_all_versions_are_taken(tmp_path: Path, version: str, algorithm: str) -> None:
    names = ["(Unnamed Layer* 3) [Constant]_output", "a: b", "x (1): y", " lead", "/conv/Conv_0"]
    rows = [f"TRT-{version}-{algorithm}", *(f"{name}: 3f810204" for name in names)]
    text = "\n".join(rows)
    for data in (text, f"{text}\n", text.replace("\n", "\r\n") + "\r\n", f"\ufeff{text}\n\n\n"):
        cache = foreign.read(put(tmp_path, data.encode()))
        assert (cache.version, cache.algorithm) == (int(version), algorithm)
        assert list(cache.scales) == names
        assert math.isclose(cache.scales["a: b"], 128 / 127, rel_tol=1e-7)


def test_a_misfit_is_refused_with_counts_and_near_names(tmp_path: Path) -> None:
    path = put(tmp_path, MNIST)
    found = [tensor(name) for name in ("conv_1", "data", *(f"block{i}" for i in range(9)))]
    with pytest.raises(errors.CalibrationError, match="does not fit the graph") as caught:
        foreign.fit(foreign.read(path), found, ["data", "conv_1", "prob"], path)
    told = caught.value.what
    assert "of the 11 tensors that int8 needs, 10 have no scale in it" in told
    assert "It holds 8 names, 2 of them of this graph" in told
    assert "'conv_1'; nearest in the cache: 'conv1', 'conv2'" in told
    assert "'block0'; nearest in the cache: none" in told
    assert told.endswith("and 5 more")


def test_a_missing_file_is_told_with_what_there_is(tmp_path: Path) -> None:
    put(tmp_path, MNIST)
    (tmp_path / ".gitkeep").touch()
    with pytest.raises(errors.CalibrationError, match=r"other\.cache is not there; .*: trt\.cache"):
        foreign.read(tmp_path / "other.cache")


def test_what_is_no_cache_is_not_for_a_stage_to_mend(tmp_path: Path) -> None:
    with pytest.raises(errors.CalibrationError, match="does not begin with TRT-") as caught:
        foreign.read(put(tmp_path, b"scales\n"))
    assert "dvc repro" not in caught.value.mend
