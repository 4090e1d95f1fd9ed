# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The stage `precision` where the precision is auto: what it reads, decides and writes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from stages import precision
from stages.lib import errors, files, graphs, layout, schema
from stages.quantization import reading
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from tests.conftest import Project

ENGINE = "tiny-int8"
LADDER = ["int8", "mixed", "fp16", "bf16", "fp32"]


def ask(project: Project, ladder: list[str] | None = None, **limits: float) -> None:
    """Make the int8 engine an auto one."""
    budget = {"max_accuracy_drop": None, "min_sqnr_db": None, "min_cosine": None, **limits}
    settings = {"budget": budget, "objective": "estimate", "ladder": ladder or LADDER}
    project.set(f"engines.{ENGINE}.precision", "auto")
    project.set(f"engines.{ENGINE}.remainder", "fp16")
    project.set(f"engines.{ENGINE}.auto", settings)


def document(name: str = "decision.json") -> Any:
    return files.read_json(layout.search(ENGINE) / name)


def int8_alone() -> float:
    """SQNR of INT8 throughout, once any search has run."""
    figure: float = document("path.json")[0]["sqnr_db"]
    return figure


@pytest.fixture
def mixed(built: Project) -> Project:
    """A project whose engine cannot be INT8 throughout."""
    ask(built, min_sqnr_db=1.0)
    precision.main(ENGINE)
    ask(built, min_sqnr_db=int8_alone() + 3, max_accuracy_drop=0.9)
    precision.main(ENGINE)
    assert document()["decision"]["rung"] == "mixed"
    return built


def test_other_precisions_decide_nothing(built: Project) -> None:
    del built
    assert document() == {"schema_version": 1, "searched": False, "decision": None}
    assert [path.name for path in layout.search(ENGINE).iterdir()] == ["decision.json"]
    # DVC warns of an empty folder.
    picture = (layout.search_plots(ENGINE) / "path.svg").read_text()
    assert "int8, as params.yaml asks for; nothing was searched" in picture


@pytest.mark.usefixtures("mixed")
def test_the_decision_fits_its_schema_and_the_graph() -> None:
    found = document()
    schema.check(found, layout.schema("decision"), "decision.json")
    decision = found["decision"]
    typed = reading.precisions(graphs.load(layout.typed(ENGINE)).graph)
    for row in decision["ranking"]:
        assert {typed[name] for name in row["nodes"]} == {"fp16" if row["kept"] else "int8"}
    assert 0 < decision["int8"]["nodes"] < decision["int8"]["of"] == 3
    chosen = [row for row in document("path.json") if row["chosen"]]
    assert [row["met"] for row in chosen] == [True]
    assert chosen[0]["sqnr_db"] == decision["figures"]["sqnr_db"]
    svg = (layout.search_plots(ENGINE) / "path.svg").read_text()
    assert svg.count('r="8"') == 2  # one ring in the panel of each limit
    told = files.read_json(layout.facts("precision", ENGINE))
    assert "models/tiny/samples/calibration/000.npz" in told["inputs"]
    assert not any("validation" in path for path in told["inputs"])


def test_the_decision_pasted_into_params_makes_the_same_graph(mixed: Project) -> None:
    searched = (layout.typed(ENGINE) / "model.onnx").read_bytes()
    pasted = YAML(typ="safe").load(document()["decision"]["params"])
    for key, value in pasted.items():
        mixed.set(f"engines.{ENGINE}.{key}", value)
    shutil.rmtree(layout.samples("tiny", "calibration"))
    precision.main(ENGINE)
    assert (layout.typed(ENGINE) / "model.onnx").read_bytes() == searched
    assert document()["searched"] is False


@pytest.mark.parametrize("rung", ["int8", "fp16", "bf16", "fp32"])
def test_so_does_the_decision_for_any_rung_and_with_overrides_of_the_users_own(
    built: Project, rung: str
) -> None:
    own = [{"ops": "Conv", "precision": "fp16"}, {"nodes": "conv_1", "precision": "int8"}]
    built.set(f"engines.{ENGINE}.overrides", own)
    ask(built, [rung], min_sqnr_db=1.0)
    precision.main(ENGINE)
    searched = (layout.typed(ENGINE) / "model.onnx").read_bytes()
    assert document()["decision"]["rung"] == rung
    for key, value in YAML(typ="safe").load(document()["decision"]["params"]).items():
        built.set(f"engines.{ENGINE}.{key}", value)
    precision.main(ENGINE)
    assert (layout.typed(ENGINE) / "model.onnx").read_bytes() == searched


def test_layers_that_need_not_be_chosen_are_not_ranked(built: Project) -> None:
    ask(built, min_sqnr_db=1.0)
    precision.main(ENGINE)
    found = document()
    schema.check(found, layout.schema("decision"), "decision.json")
    decision = found["decision"]
    assert decision["reasons"] == [{"rung": "int8", "reason": "it meets the budget"}]
    assert (decision["ranking"], decision["int8"]) == ([], {"nodes": 3, "of": 3})
    assert decision["unranked"] == (
        "no rung came to choose between layers, so none was tried alone"
    )
    passes = {"reference": 1.0, "smoothing": 1.0, "ranking": 0.0, "ladder": 0.0, "total": 2.0}
    assert decision["passes"] == passes


def test_what_falls_through_to_fp16_is_told_from_end_to_end(
    built: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(built, min_sqnr_db=1.0)
    precision.main(ENGINE)
    throughout = int8_alone()
    capsys.readouterr()
    ask(built, ["int8", "fp16"], min_sqnr_db=throughout + 1)
    precision.main(ENGINE)
    decision = document()["decision"]
    assert (decision["rung"], decision["precision"], decision["int8_share"]) == ("fp16", "fp16", 0)
    assert decision["int8"] == {"nodes": 0, "of": 3}
    assert decision["reasons"] == [
        {
            "rung": "int8",
            "reason": f"it misses the budget: sqnr_db {throughout} is below {throughout + 1}",
        },
        {"rung": "fp16", "reason": "it meets the budget"},
    ]
    assert decision["ranking"] == []
    assert "auto, fp16 -> " in capsys.readouterr().out
    told = files.read_json(layout.facts("precision", ENGINE))["details"]
    assert (told["precision"], set(told["layers"])) == ("fp16", {"fp16"})


def test_validation_samples_are_not_read_and_two_runs_are_the_same(mixed: Project) -> None:
    wanted = [layout.typed(ENGINE), layout.search(ENGINE), layout.search_plots(ENGINE)]
    before = [files.digests(path) for path in wanted]
    for split in ("validation", "probe"):
        shutil.rmtree(layout.samples("tiny", split))
    done = mixed.run("precision", ENGINE, PYTHONHASHSEED="7")
    assert done.returncode == 0, done.stderr
    assert [files.digests(path) for path in wanted] == before


def test_a_budget_that_cannot_be_met(built: Project) -> None:
    before = files.digests(layout.typed(ENGINE))
    ask(built, ["int8", "mixed"], min_sqnr_db=300.0)
    done = built.run("precision", ENGINE)
    assert done.returncode == errors.BudgetError.exit_code == 21
    flat = " ".join(done.stderr.split())
    assert f"the budget of engines.{ENGINE}.auto (min_sqnr_db 300.0) cannot be met" in flat
    assert "closest: mixed with 2 layers kept: sqnr_db " in flat
    assert "mixed: it misses the budget with 2 of 3 layers kept: sqnr_db " in flat
    assert f"loosen engines.{ENGINE}.auto.budget" in flat
    assert files.digests(layout.typed(ENGINE)) == before


def test_labels_are_read_only_for_a_limit_on_the_metric(built: Project) -> None:
    path = layout.samples("tiny", "calibration") / "000.npz"
    with np.load(path) as archive:
        x = archive["x"]
    np.savez(path, allow_pickle=False, x=x)
    ask(built, min_cosine=0.5)
    precision.main(ENGINE)
    assert document()["decision"]["figures"]["accuracy_drop"] is None
    ask(built, max_accuracy_drop=0.5)
    with pytest.raises(errors.SamplesError, match="lacks the array 'label'"):
        precision.main(ENGINE)


def test_a_limit_on_the_metric_alone(built: Project) -> None:
    ask(built, max_accuracy_drop=1.0)
    precision.main(ENGINE)
    decision = document()["decision"]
    assert decision["rung"] == "int8"
    assert decision["figures"]["accuracy_drop"] is not None
    assert decision["int8"] == {"nodes": 3, "of": 3}


def test_an_override_holds_and_is_no_candidate(built: Project) -> None:
    built.set(f"engines.{ENGINE}.overrides", [{"nodes": "conv_1", "precision": "fp32"}])
    ask(built, min_sqnr_db=1.0)
    precision.main(ENGINE)
    ask(built, ["mixed", "fp16"], min_sqnr_db=int8_alone() + 2)
    precision.main(ENGINE)
    decision = document()["decision"]
    assert [name for row in decision["ranking"] for name in row["nodes"]] == ["head", "conv_2"]
    assert '{"nodes": "conv_1", "precision": "fp32"}' in decision["params"]
    typed = reading.precisions(graphs.load(layout.typed(ENGINE)).graph)
    assert typed["conv_1"] == "fp32"


def test_the_objective_decides_what_is_kept(mixed: Project) -> None:
    """What is dear in high precision by the table stays in INT8, whatever the estimate says."""
    first = document()["decision"]["ranking"][0]["nodes"][0]
    layers = {
        name: {"int8": 1.0, "fp16": 1000.0 if name == first else 2.0}
        for name in ("conv_1", "conv_2", "head")
    }
    table = {"schema_version": 1, "device": "some GPU", "layers": layers}
    files.write_json(layout.latency("tiny") / "some.json", table)
    mixed.set(f"engines.{ENGINE}.auto.objective", "some.json")
    precision.main(ENGINE)
    decision = document()["decision"]
    assert decision["ranking"][-1]["nodes"] == [first]
    assert decision["cost"] == pytest.approx(
        sum(layers[r["nodes"][0]]["fp16" if r["kept"] else "int8"] for r in decision["ranking"])
    )


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (None, r"latency/some\.json is not there"),
        (
            {"schema_version": 1, "device": "x", "layers": {"head": {"int8": -1}}},
            "layers.head.int8",
        ),
        (
            {"schema_version": 1, "device": "x", "layers": {"conv_1 + relu_1": {"int8": 1}}},
            "no time of 'conv_1' in fp16",
        ),
    ],
)
def test_a_latency_table_that_is_of_no_use(built: Project, table: Any, told: str) -> None:
    if table is not None:
        files.write_json(layout.latency("tiny") / "some.json", table)
    ask(built, min_sqnr_db=1.0)
    built.set(f"engines.{ENGINE}.auto.objective", "some.json")
    with pytest.raises(errors.ArtifactError, match=told) as caught:
        precision.main(ENGINE)
    assert "`make device ENGINE=...`" in caught.value.mend
    assert "make repro" not in caught.value.mend


def test_the_clean_graph_is_never_written(mixed: Project) -> None:
    before = files.digests(layout.clean("tiny"))
    ask(mixed, min_sqnr_db=300.0)
    precision.main(ENGINE)  # down to fp32
    assert files.digests(layout.clean("tiny")) == before
    x = {"x": zoo.values(4, 3, 8, 8)}
    made, clean = (
        zoo.infer(graphs.load(p(n)), x) for p, n in ((layout.typed, ENGINE), (layout.clean, "tiny"))
    )
    assert np.array_equal(made["logits"], clean["logits"])
