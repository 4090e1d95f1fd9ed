# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The search on graphs: a convolutional network and a transformer's block, with a planted layer."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from stages.lib import errors, graphs, samples
from stages.quantization import auto, compute, decision, reading, recipe, search
from stages.quantization.trials import Trials
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

LADDER = ["int8", "mixed", "fp16", "bf16", "fp32"]
SHAPES = {"cnn": [3, 8, 8], "transformer": [6, 16]}


def cnn() -> onnx.ModelProto:
    """Four convolutions; what `bad` reads has one huge channel that its weights all but ignore."""
    gain = np.ones((1, 4, 1, 1))
    gain[0, 0] = 40.0
    heavy = 0.2 * np.random.default_rng(5).standard_normal((4, 4, 3, 3))
    heavy[:, 0] /= 40.0
    same: dict[str, Any] = {"pads": [1, 1, 1, 1]}
    return zoo.model(
        [
            zoo.node("Conv", ["x", "w1"], ["a"], name="conv_1", **same),
            zoo.node("Relu", ["a"], ["b"], name="relu_1"),
            zoo.node("Conv", ["b", "w2"], ["c"], name="conv_2", **same),
            zoo.node("Mul", ["c", "gain"], ["d"], name="gain"),
            zoo.node("Conv", ["d", "w3"], ["e"], name="bad", **same),
            zoo.node("Relu", ["e"], ["f"], name="relu_2"),
            zoo.node("Conv", ["f", "w4"], ["g"], name="conv_4", **same),
            zoo.node("GlobalAveragePool", ["g"], ["h"], name="pool"),
            zoo.node("Flatten", ["h"], ["y"], name="flatten"),
        ],
        [zoo.face("x", "batch", 3, 8, 8)],
        [zoo.face("y", "batch", 5)],
        [
            zoo.weight("w1", 4, 3, 3, 3, scale=0.2),
            zoo.weight("w2", 4, 4, 3, 3, scale=0.2),
            zoo.const("w3", heavy),
            zoo.weight("w4", 5, 4, 3, 3, scale=0.2),
            zoo.const("gain", gain),
        ],
    )


def transformer() -> onnx.ModelProto:
    """One block after LayerNorm, one head; one channel of what `bad` reads is an outlier."""
    gain = np.ones(32)
    gain[3] = 100.0
    second = 0.2 * np.random.default_rng(7).standard_normal((32, 16))
    second[3] /= 100.0
    return zoo.model(
        [
            zoo.node("LayerNormalization", ["x", "g", "b"], ["n"], name="norm_1"),
            zoo.node("MatMul", ["n", "wq"], ["q"], name="query"),
            zoo.node("MatMul", ["n", "wk"], ["k"], name="key"),
            zoo.node("MatMul", ["n", "wv"], ["v"], name="value"),
            zoo.node("Transpose", ["k"], ["kt"], name="turn", perm=[0, 2, 1]),
            zoo.node("MatMul", ["q", "kt"], ["s"], name="scores"),
            zoo.node("Softmax", ["s"], ["p"], name="softmax", axis=-1),
            zoo.node("MatMul", ["p", "v"], ["o"], name="mix"),
            zoo.node("Add", ["o", "x"], ["r"], name="shortcut"),
            zoo.node("LayerNormalization", ["r", "g", "b"], ["m"], name="norm_2"),
            zoo.node("MatMul", ["m", "w1"], ["h"], name="first"),
            zoo.node("Gelu", ["h"], ["u"], name="gelu"),
            zoo.node("Mul", ["u", "gain"], ["t"], name="gain"),
            zoo.node("MatMul", ["t", "w2"], ["z"], name="bad"),
            zoo.node("Add", ["z", "r"], ["y"], name="add"),
        ],
        [zoo.face("x", "batch", 6, 16)],
        [zoo.face("y", "batch", 6, 16)],
        [
            zoo.const("g", np.ones(16)),
            zoo.const("b", np.zeros(16)),
            *(zoo.weight(name, 16, 16, scale=0.25) for name in ("wq", "wk", "wv")),
            zoo.weight("w1", 16, 32, scale=0.25),
            zoo.const("w2", second),
            zoo.const("gain", gain),
        ],
    )


GRAPHS = {"cnn": cnn, "transformer": transformer}


class Prepared:
    """A graph with its samples and true ranges."""

    def __init__(self, kind: str, folder: Path) -> None:
        proto, shape = GRAPHS[kind](), SHAPES[kind]
        self.model, self.folder = zoo.typed(proto), folder
        x = zoo.values(24, *shape, seed=3)
        (folder / "samples").mkdir()
        np.savez(folder / "samples" / "000.npz", allow_pickle=False, x=x[:17])
        np.savez(folder / "samples" / "001.npz", allow_pickle=False, x=x[17:])
        self.inputs = {"x": {"dtype": "float32", "shape": ["batch", *shape]}}
        opened = zoo.typed(proto)
        inner = [value for node in opened.graph for value in node.outputs]
        opened.graph.outputs.extend(v for v in inner if not v.is_graph_output())
        seen = {**zoo.infer(opened, {"x": x}), "x": x}
        self.maxima = {name: float(np.abs(array).max()) for name, array in seen.items()}

    def search(
        self, *, ladder: list[str] | None = None, costs: Any = None, **limits: float
    ) -> tuple[auto.Auto, auto.Found]:
        budget = {"max_accuracy_drop": None, "min_sqnr_db": None, "min_cosine": None, **limits}
        settings = {"budget": budget, "objective": "estimate", "ladder": ladder or LADDER}
        base = recipe.Recipe(
            precision="int8",
            remainder="fp16",
            chosen={},
            scales={name: value / 127 for name, value in self.maxima.items()},
            maxima=self.maxima,
            channels={},
            smoothing=None,
        )
        scratch = self.folder / f"scratch-{len(list(self.folder.iterdir()))}"
        scratch.mkdir()
        trials = Trials(
            scratch,
            samples.Split(folder=self.folder / "samples", inputs=self.inputs),
            batch=8,
            threads=1,
            metric=None,
            folder=self.folder,
        )
        costs = costs or compute.estimate(self.model)
        work = auto.Auto(self.model, base, settings, costs, trials)
        return work, work.run()


@pytest.fixture(params=sorted(GRAPHS))
def prepared(request: pytest.FixtureRequest, tmp_path: Path) -> Prepared:
    return Prepared(request.param, tmp_path)


def sqnr(found: auto.Found, index: int = -1) -> float:
    figure = found.outcome.path[index].worth.figures["sqnr_db"]
    assert figure is not None
    return figure


def test_the_bad_layer_is_found_and_kept_alone(prepared: Prepared) -> None:
    before = [node.name for node in prepared.model.graph]
    _, probe = prepared.search(min_sqnr_db=1.0)
    alone = sqnr(probe)  # of INT8 throughout
    work, found = prepared.search(min_sqnr_db=alone + 6)
    assert found.met
    assert found.kept() == ["bad"]
    ranked = found.ranked or []
    assert ranked[0].node == "bad"
    assert [row["rung"] for row in found.outcome.reasons] == ["int8", "mixed"]
    assert [node.name for node in prepared.model.graph] == before

    assert found.outcome.point is not None
    typed = graphs.clone(prepared.model)
    recipe.apply(typed, work.recipe(found.outcome.point.setting))
    precisions = reading.precisions(typed.graph)
    assert precisions["bad"] == "fp16"
    assert "int8" in {precisions[one.node] for one in ranked[1:]}
    assert 0 < found.outcome.point.worth.share < 1


def test_a_tighter_budget_keeps_more_and_costs_more(prepared: Prepared) -> None:
    _, probe = prepared.search(min_sqnr_db=1.0)
    kept, cost = [], []
    for more in (0, 6, 20, 200):
        _, found = prepared.search(min_sqnr_db=sqnr(probe) + more)
        assert found.met
        assert found.outcome.point is not None
        low = found.outcome.point.setting.precision == "int8"
        kept.append(len(found.kept()) if low else 99)
        cost.append(found.outcome.point.worth.cost)
    assert kept == sorted(kept)
    assert kept[0] == 0
    assert kept[-1] == 99
    assert cost == sorted(cost)


def test_the_ladder_ends_at_fp32_which_changes_nothing(prepared: Prepared) -> None:
    _, found = prepared.search(min_sqnr_db=400.0)
    assert found.outcome.point is not None
    assert found.outcome.point.setting.precision == "fp32"
    assert found.outcome.point.worth.figures == {
        "accuracy_drop": None,
        "cosine": 1.0,
        "sqnr_db": None,
    }
    assert [row["rung"] for row in found.outcome.reasons] == LADDER


def test_of_a_short_ladder_the_closest_point_is_given(prepared: Prepared) -> None:
    _, found = prepared.search(ladder=["int8", "mixed"], min_sqnr_db=400.0)
    assert not found.met
    assert found.outcome.point is not None
    best = max(sqnr(found, i) for i in range(len(found.outcome.path)))
    assert found.outcome.point.worth.figures["sqnr_db"] == best
    assert decision.closest(found).startswith("mixed with ")
    assert f"sqnr_db {best}" in decision.closest(found)


def test_two_searches_are_the_same(prepared: Prepared) -> None:
    _, probe = prepared.search(min_sqnr_db=1.0)
    first, second = (prepared.search(min_sqnr_db=sqnr(probe) + 15)[1] for _ in range(2))
    assert decision.path(first) == decision.path(second)
    assert first.ranked == second.ranked


def test_passes_are_counted(prepared: Prepared) -> None:
    _, found = prepared.search(min_sqnr_db=1000.0)
    parts = found.passes
    assert parts["reference"] == 1.0
    assert parts["smoothing"] == 1.0  # INT8 throughout, without smoothing
    assert parts["ladder"] == len(found.outcome.path) - 1
    assert found.ranked is not None
    assert 0 < parts["ranking"] <= 4 + len(found.ranked) / 24
    assert parts["total"] == pytest.approx(sum(parts.values()) - parts["total"])


def test_the_ranking_is_that_of_full_evaluations(prepared: Prepared) -> None:
    work, found = prepared.search(ladder=["mixed"], min_sqnr_db=1000.0)
    assert found.ranked is not None
    work._trials.reference(graphs.clone(prepared.model), 1.0)
    full = {one.node: work._alone(one.node, None) for one in found.ranked}
    worst = max(full, key=lambda name: full[name])
    assert worst == "bad"
    for one in found.ranked:
        assert one.noise == pytest.approx(full[one.node], rel=0.6)


def test_products_that_run_as_one_go_together(tmp_path: Path) -> None:
    """Those of one activation, and the two of an attention."""
    _, found = Prepared("transformer", tmp_path).search(min_sqnr_db=1.0)
    assert found.members == {
        "query": ["query", "key", "value"],
        "scores": ["scores", "mix"],
        "first": ["first"],
        "bad": ["bad"],
    }


def test_a_layer_of_which_int8_saves_nothing_stays_out(tmp_path: Path) -> None:
    prepared = Prepared("cnn", tmp_path)
    costs = {name: dict(times) for name, times in compute.estimate(prepared.model).items()}
    costs["conv_2"]["int8"] = costs["conv_2"]["fp16"]
    _, found = prepared.search(costs=costs, min_sqnr_db=1.0)
    assert found.kept() == ["conv_2"]
    assert found.dear == ["conv_2"]
    assert "conv_2" not in found.members


def test_a_float_rung_keeps_the_users_overrides_and_no_others(tmp_path: Path) -> None:
    """What has no use for Q/DQ is held in float beside INT8; another precision takes it along."""
    work, _ = Prepared("cnn", tmp_path).search(min_sqnr_db=1.0)
    own = {"conv_1": "bf16", "conv_2": "int8"}
    work._base = dataclasses.replace(
        work._base, chosen={**own, "conv_4": "fp32"}, why={"conv_4": "the backend's own reason"}
    )
    setting = search.Setting(precision="fp16")
    assert work.recipe(setting).chosen == {"conv_1": "bf16"}
    assert work.recipe(search.Setting(precision="int8")).chosen == work._base.chosen


def test_a_latency_table_must_know_every_candidate(tmp_path: Path) -> None:
    prepared = Prepared("cnn", tmp_path)
    costs = {name: dict(times) for name, times in compute.estimate(prepared.model).items()}
    del costs["conv_2"]["int8"]
    with pytest.raises(errors.ArtifactError, match="no time of 'conv_2' in int8"):
        prepared.search(costs=costs, min_sqnr_db=1.0)
