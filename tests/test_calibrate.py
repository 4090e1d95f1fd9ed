# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The stage `calibrate`: histograms in, caches in TensorRT's format out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from stages import calibrate
from stages.calibration import methods, observations
from stages.lib import caches, errors, files, layout

if TYPE_CHECKING:
    from tests.conftest import Project

METHODS = {
    "minmax": "MinMaxCalibration",
    "entropy": "EntropyCalibration2",
    "percentile": "LegacyCalibration",
}


def read(method: str) -> caches.Cache:
    path = layout.cache("tiny", method)
    return caches.parse(path.read_bytes(), str(path))


@pytest.mark.usefixtures("built")
def test_one_cache_for_each_method_with_its_own_header() -> None:
    observed = observations.read(layout.observations("tiny"))
    for method, algorithm in METHODS.items():
        cache = read(method)
        assert (cache.version, cache.algorithm) == (101601, algorithm)
        assert list(cache.scales) == observed["names"].tolist()
    assert layout.cache("tiny", "none").read_bytes() == b"no ranges\n"


@pytest.mark.usefixtures("built")
def test_scales_are_the_ranges_over_127_levels() -> None:
    observed = observations.read(layout.observations("tiny"))
    for index, name in enumerate(observed["names"]):
        maximum = observed["maxima"][index]
        width = 2.0 ** observed["exponents"][index] / int(observed["bins"])
        entropy = methods.entropy(observed["counts"][index], width)
        percent = methods.percentile(observed["counts"][index], width, float(maximum), 99.99)
        minmax = methods.minmax(float(maximum), int(observed["bins"]))
        assert read("minmax").scales[name] == np.float32(minmax / 127)
        assert read("entropy").scales[name] == np.float32(entropy / 127)
        assert read("percentile").scales[name] == np.float32(percent / 127)
        assert entropy <= 2 * maximum


def test_version_and_percentile_are_the_params(built: Project) -> None:
    before = {method: layout.cache("tiny", method).read_bytes() for method in METHODS}
    built.set("models.tiny.calibrate", {"cache_version": 110400, "percentile": 90})
    calibrate.main("tiny")
    assert read("minmax").version == 110400
    assert read("minmax").scales == caches.parse(before["minmax"], "").scales
    new, old = read("percentile").scales, caches.parse(before["percentile"], "").scales
    assert all(new[name] < old[name] for name in ("x", "a", "c"))


def test_a_tensor_without_a_range_gets_zero_and_is_told(built: Project) -> None:
    observed = observations.read(layout.observations("tiny"))
    observed["maxima"][observed["names"] == "e"] = 0.0
    observed["maxima"][observed["names"] == "x"] = np.inf
    observations.write(layout.observations("tiny"), observed)
    calibrate.main("tiny")
    for method in METHODS:
        assert [name for name, scale in read(method).scales.items() if scale == 0] == ["e", "x"]
    told = files.read_json(layout.facts("calibrate", "tiny"))["details"]
    assert told["without_range"] == ["e", "x"]
    assert (told["samples"], told["tensors"]) == (24, 9)
    assert built.root.is_dir()


@pytest.mark.usefixtures("project")
def test_without_observations_it_says_what_runs_first() -> None:
    with pytest.raises(errors.ArtifactError, match=r"observations\.npz is not there"):
        calibrate.main("tiny")
