# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Digests of graph and samples, and the refusal of ranges of another graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.calibration import extremes, observations
from stages.calibration.histogram import Histogram
from stages.lib import errors, observed

if TYPE_CHECKING:
    from pathlib import Path


def put(folder: Path, **files: bytes) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_a_digest_is_of_names_and_contents_and_not_of_the_place(tmp_path: Path) -> None:
    one = observed.graph_digest(put(tmp_path / "one", graph=b"g", data=b"d"))
    assert one == observed.graph_digest(put(tmp_path / "two", data=b"d", graph=b"g"))
    others = [put(tmp_path / "a", graph=b"g"), put(tmp_path / "b", graph=b"d", data=b"g")]
    assert len({one, *(observed.graph_digest(folder) for folder in others)}) == 3


def test_ranges_of_another_graph_are_refused(tmp_path: Path) -> None:
    folder = put(tmp_path / "clean", graph=b"g")
    digest = observed.graph_digest(folder)
    observed.require_graph(folder, digest, "ranges.json")
    (folder / "graph").write_bytes(b"h")
    with pytest.raises(errors.CalibrationError, match=r"ranges\.json was made for the graph"):
        observed.require_graph(folder, digest, "ranges.json")


def digest(*batches: dict[str, Any]) -> str:
    made = observed.DataDigest()
    for batch in batches:
        made.add(batch)
    return made.hexdigest()


@given(cut=st.integers(0, 6), seed=st.integers(0, 99))
def test_neither_order_nor_batches_change_a_digest_of_samples(cut: int, seed: int) -> None:
    x, ids = np.arange(12, dtype=np.float32).reshape(6, 2), np.arange(6)
    order = np.random.default_rng(seed).permutation(6)
    parts = [order[:cut], order[cut:]]
    found = digest(*({"ids": ids[part], "x": x[part]} for part in parts))
    assert found == digest({"x": x, "ids": ids})
    assert found != digest({"x": x, "ids": ids[order[::-1]]}) or (order[::-1] == range(6)).all()


def test_values_types_shapes_and_how_often_are_part_of_it() -> None:
    x = np.arange(4, dtype=np.float32)
    changed: list[dict[str, Any]] = [
        {"x": x + 1},
        {"x": x.astype(np.float64)},
        {"x": x[:, None]},
        {"y": x},
        {"x": x[:3]},
        {"x": np.append(x, x[:1])},
    ]
    assert len({digest({"x": x}), *(digest(batch) for batch in changed)}) == 7


def test_what_is_read_is_what_was_packed(tmp_path: Path) -> None:
    values = {"a": np.array([[1, -2], [0, 5]], np.float32), "b: c": np.zeros((2, 3), np.float32)}
    channels = {name: extremes.scan(array, 1) for name, array in values.items()}
    histogram = Histogram(4)
    histogram.add(values["a"])
    arrays = observations.pack(
        {"a": histogram},
        channels,
        {"a": 1, "b: c": 1},
        needed={"a"},
        bins=4,
        samples=2,
        graph="ab",
        data="cd",
    )
    observations.write(tmp_path / "observations.npz", arrays)
    found = observed.read(tmp_path / "observations.npz")
    assert (found.graph_digest, found.data_digest, found.samples) == ("ab", "cd", 2)
    assert found.maxima == {"a": 5.0, "b: c": 0.0}
    assert found.extremes == {"a": (-2.0, 5.0), "b: c": (0.0, 0.0)}
    assert found.channels["a"].tolist() == [1, 5]
    assert found.channels["b: c"].tolist() == [0, 0, 0]
    assert found.channel_axes == {"a": 1, "b: c": 1}


def test_without_the_file_it_says_what_runs_first(tmp_path: Path) -> None:
    with pytest.raises(errors.ArtifactError, match="is not there"):
        observed.read(tmp_path / "observations.npz")
