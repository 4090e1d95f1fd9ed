# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Which activations are observed, and what is kept of their channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from stages.calibration import observations, tap
from stages.calibration.histogram import Histogram
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from pathlib import Path


def test_every_float_activation_becomes_an_output_once() -> None:
    model = zoo.typed(zoo.tiny())
    # `stem` is computed from constants, since nothing is folded here.
    wanted = ["x", "stem", "a", "b", "b_same", "unused", "c", "d", "e", "f", "g", "logits"]
    assert list(tap.open_up(model)) == wanted
    outputs = [value.name or "" for value in model.graph.outputs]
    assert outputs[0] == "logits"
    assert sorted(outputs) == sorted(set(wanted) - {"x"})
    zoo.check(model)


def test_constants_integers_and_inner_graphs_are_left_out() -> None:
    model = zoo.typed(zoo.attention())
    assert "wide" not in tap.open_up(model)
    found = list(tap.open_up(zoo.typed(zoo.loop())))
    assert found == ["x", "r", "l", "z"]
    proto = zoo.model(
        [zoo.node("Constant", [], ["k"], value_float=2.0), zoo.node("Mul", ["x", "k"], ["y"])],
        [zoo.face("x", "batch")],
        [zoo.face("y", "batch")],
    )
    assert list(tap.open_up(zoo.typed(proto))) == ["x", "y"]
    assert tap.open_up(zoo.typed(zoo.halved(zoo.loop()))) == {}


def test_the_observed_graph_computes_the_same() -> None:
    model, feeds = zoo.typed(zoo.branch()), {"x": zoo.values(3, 4)}
    names = tap.open_up(model)
    found = zoo.infer(model, feeds)
    assert set(names) == {*found, "x"}
    np.testing.assert_array_equal(found["z"], zoo.infer(zoo.branch(), feeds)["z"])


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        (("batch", 3, 8, 8), 1),
        (("batch", 3, 8, 8, 8), 1),
        (("batch", "seq", 8), 2),
        (("batch", 8), 1),
        (("batch", 4, "length"), 0),  # its last axis is not of one size
        (("batch", "channels", 8, 8), 0),
        (("batch",), 0),
        ((8,), 0),
        ((), 0),
    ],
)
def test_channels_are_an_axis_of_one_size_that_is_not_the_batch(
    shape: tuple[int | str, ...], axis: int
) -> None:
    proto = zoo.model(
        [zoo.node("Relu", ["x"], ["y"])], [zoo.face("x", *shape)], [zoo.face("y", *shape)]
    )
    assert tap.open_up(zoo.typed(proto)) == {"x": axis, "y": axis}


def test_a_value_of_unknown_rank_has_no_channels() -> None:
    model = zoo.typed(zoo.tiny())
    value = zoo.named(model, "conv_2").outputs[0]
    assert tap.channel_axis(value) == 1
    value.shape = None
    assert tap.channel_axis(value) == 0


def test_the_maximum_of_each_channel() -> None:
    values = np.array([[[1, -5], [2, 0]], [[-3, 4], [0, 0]]], np.float32)
    assert observations.channel_maxima(values, 1).tolist() == [5, 2]
    assert observations.channel_maxima(values, 2).tolist() == [3, 5]
    assert observations.channel_maxima(values, 0).tolist() == [5]
    assert observations.channel_maxima(np.float32(-2) * np.ones(()), 0).tolist() == [2]
    assert observations.channel_maxima(np.zeros((0, 3)), 1).tolist() == [0, 0, 0]
    assert observations.channel_maxima(values, 1).dtype == np.float32


def packed(*names: str) -> Any:
    made = {}
    for name in names:
        made[name] = Histogram(4)
        made[name].add(np.arange(len(name), dtype=np.float32))
    channels = {name: np.arange(len(name), dtype=np.float32) for name in names}
    axes = dict.fromkeys(names, 1)
    return observations.pack(made, channels, axes, bins=4, samples=7)


def test_tensors_are_packed_by_name(tmp_path: Path) -> None:
    arrays = packed("bbb", "a")
    assert arrays["names"].tolist() == ["a", "bbb"]
    assert arrays["counts"].tolist() == [[1, 0, 0, 0], [1, 1, 1, 0]]
    assert arrays["exponents"].tolist() == [0, 2]
    assert arrays["maxima"].tolist() == [0, 2]
    assert arrays["channel_offsets"].tolist() == [0, 1, 4]
    assert arrays["channel_maxima"].tolist() == [0, 0, 1, 2]
    assert (int(arrays["bins"]), int(arrays["samples"])) == (4, 7)
    for name in ("one", "two"):
        observations.write(tmp_path / name, packed("a", "bbb") if name == "two" else arrays)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    read = observations.read(tmp_path / "one")
    assert list(read) == list(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(read[key], array)
        assert read[key].dtype == array.dtype


def test_a_graph_without_float_activations_is_packed_too() -> None:
    arrays = packed()
    assert arrays["counts"].shape == (0, 4)
    assert arrays["channel_offsets"].tolist() == [0]
    assert arrays["channel_maxima"].shape == (0,)
