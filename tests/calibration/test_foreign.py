# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Caches from elsewhere: what fits a graph, what of it is taken, and how a misfit is told."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from stages.calibration import foreign
from stages.calibration.ranges import Tensor
from stages.lib import caches, errors

if TYPE_CHECKING:
    from pathlib import Path

# NVIDIA/TensorRT, samples/sampleINT8/README.md (Apache-2.0): its whole table of the MNIST network.
MNIST = b"""\
TRT-7000-EntropyCalibration2
data: 3c008912
conv1: 3c88edfc
pool1: 3c88edfc
conv2: 3ddc858b
pool2: 3ddc858b
ip1: 3db6bd6e
ip2: 3e691968
prob: 3c010a14
"""
# mlcommons/inference_results_v4.1 (Apache-2.0), DLRM v2, TensorRT 10.1: the first ten tensors.
DLRM = b"""\
TRT-100100-EntropyCalibration2
numerical_input: 3de5d364
bot_mlp_0.squeeze.output: 3de5d364
bot_mlp_0.mm.w.output: 3b370d62
bot_mlp_0.b.w.output: 3b216898
bot_mlp_0.mm.output: 3d88a981
bot_mlp_0.b.output: 3d827f8d
bot_mlp_0.relu.output: 3d85d218
bot_mlp_1.mm.w.output: 3ad81dcc
bot_mlp_1.b.w.output: 39e99611
bot_mlp_1.mm.output: 3d5907b6
"""


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


@pytest.mark.parametrize("data", [MNIST, DLRM])
def test_a_published_cache_survives_a_round_trip(tmp_path: Path, data: bytes) -> None:
    cache = foreign.read(put(tmp_path, data))
    assert caches.render(cache) == data
    assert len(cache.scales) == data.count(b"\n") - 1


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
    for end in ("\n", "\r\n"):
        cache = foreign.read(put(tmp_path, (end.join(rows) + end).encode()))
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
