# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A model with an op that only a plugin of TensorRT has, from `check` to `package`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from stages import (
    build,
    calibrate,
    check,
    export,
    gate,
    observe,
    precision,
    sanitize,
    table,
    validate,
)
from stages.calibration import observations
from stages.lib import errors, files, graphs, layout, observed, schema
from tests import graphs_zoo as zoo
from tests import plugin_library

if TYPE_CHECKING:
    from tests.conftest import Project

SCHEMAS = Path(__file__).parents[1] / "schemas"
WHY = "ONNX Runtime lacks trt.plugins::Own_TRT, which ONNX does not define"
AUTO = {
    "auto": {
        "budget": {"max_accuracy_drop": None, "min_sqnr_db": 20.0, "min_cosine": None},
        "objective": "estimate",
        "ladder": ["int8", "fp16"],
    }
}
REWRITE = """
import onnx_ir as ir

class Replace(ir.passes.InPlacePass):
    def call(self, model):
        for node in model.graph:
            if node.domain:
                node.op_type, node.domain = "Relu", ""
                node.attributes.clear()
        return ir.passes.PassResult(model, True)

PASS = Replace()
"""


def put(project: Project, op: str, domain: str, **attributes: Any) -> None:
    """Make relu_1 of the tiny model another op."""
    proto = zoo.tiny()
    node = proto.graph.node[2]
    node.op_type, node.domain = op, domain
    node.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in attributes.items())
    if domain:
        proto.opset_import.add(domain=domain, version=1)
    onnx.save(proto, project.root / "models/tiny/source/net.onnx")


def run(*stages: Any) -> None:
    for stage in stages:
        stage.main("tiny")


@pytest.fixture
def clean(project: Project) -> Project:
    put(project, "Own_TRT", "trt.plugins", plugin_version="1")
    check.main()
    run(export, sanitize)
    return project


@pytest.fixture
def calibrated(clean: Project) -> Project:
    run(observe, calibrate)
    return clean


@pytest.fixture
def with_plugin(calibrated: Project) -> Project:
    """The library is there and named, and nothing asks for what cannot be measured."""
    folder = calibrated.root / layout.plugins("tiny")
    folder.mkdir()
    plugin_library.compiled(folder / "libown.so")
    named = [{"file": "libown.so", "sha256": files.sha256(folder / "libown.so")}]
    for kind in ("fp32", "fp16"):
        calibrated.set(f"engines.tiny-{kind}.builder.plugins", named)
    check.main()
    return calibrated


def details(stage: str, name: str) -> Any:
    return files.read_json(layout.facts(stage, name))["details"]


def states(engine: str) -> dict[str, tuple[str, str | None]]:
    report = files.read_json(layout.report(engine))
    assert schema.problems(report, schema.read(SCHEMAS / "report.schema.json")) == []
    return {one["name"]: (one["state"], one["reason"]) for one in report["measurements"]}


def test_nothing_is_observed_and_that_is_what_the_file_says(
    clean: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    run(observe)
    assert f"observe tiny: note: nothing was observed: {WHY}\n" in capsys.readouterr().out
    found = observations.read(layout.observations("tiny"))
    assert (int(found["samples"]), found["names"].size, found["counts"].shape) == (0, 0, (0, 256))
    assert str(found["graph"]) == observed.graph_digest(layout.clean("tiny"))
    assert str(found["data"]) == "0" * 64
    told = details("observe", "tiny")
    assert told["notes"] == [f"nothing was observed: {WHY}"]
    assert (told["samples"], told["tensors"], told["infinite"]) == (0, 0, {})
    put(clean, "Relu", "")
    run(export, sanitize, observe)
    other = observations.read(layout.observations("tiny"))
    assert {k: v.dtype.kind for k, v in other.items()} == {
        k: v.dtype.kind for k, v in found.items()
    }


def test_there_are_no_ranges(clean: Project, capsys: pytest.CaptureFixture[str]) -> None:
    run(observe, calibrate)
    assert "calibrate tiny: no ranges, as nothing was observed\n" in capsys.readouterr().out
    ranges = files.read_json(layout.ranges("tiny"))
    assert schema.problems(ranges, schema.read(SCHEMAS / "ranges.schema.json")) == []
    assert (ranges["samples"], ranges["tensors"]) == (0, {})
    clean.set("models.tiny.calibrate.import", "mine.cache")
    with pytest.raises(errors.CalibrationError, match=r"whether mine\.cache fits .* cannot be kn"):
        calibrate.main("tiny")


@pytest.mark.parametrize("kind", ["int8", "fp8", "auto"])
def test_what_needs_ranges_is_refused(calibrated: Project, kind: str) -> None:
    spec = calibrated.params()["engines"]["tiny-int8"]
    spec["builder"]["compute_capabilities"] = ["sm89"]  # fp8 is not for less
    calibrated.set("engines.tiny-int8", spec | {"precision": kind, "auto": AUTO.get(kind)})
    with pytest.raises(errors.CalibrationError, match=rf"{kind} needs ranges.*Own_TRT") as caught:
        precision.main("tiny-int8")
    assert "give engines.tiny-int8 the precision fp32, tf32, fp16 or bf16" in caught.value.mend
    assert not layout.typed("tiny-int8").exists()


@pytest.mark.usefixtures("calibrated")
def test_fp16_goes_round_the_op_and_what_it_makes(capsys: pytest.CaptureFixture[str]) -> None:
    precision.main("tiny-fp16")
    assert "whether FP16 overflows is not known" in capsys.readouterr().out
    told = details("precision", "tiny-fp16")
    assert told["notes"] == ["whether FP16 overflows is not known, as nothing was observed"]
    assert told["layers"] == {"fp16": 1, "fp32": 1}
    kept = {one["node"]: one["reason"] for one in told["kept"]}
    assert list(kept) == ["relu_1", "conv_2", "residual", "relu_2", "pool", "flatten", "head"]
    assert kept["relu_1"] == "no ONNX schema for trt.plugins::Own_TRT"
    assert kept["head"] == "the type of its input g is unknown"
    own = next(n for n in graphs.load(layout.typed("tiny-fp16")).graph if n.domain)
    assert own.inputs[0] is not None
    assert own.inputs[0].dtype == ir.DataType.FLOAT


def test_an_output_of_declared_type_carries_on(project: Project) -> None:
    put(project, "Own_TRT", "trt.plugins", plugin_version="1")
    path = project.root / "models/tiny/source/net.onnx"
    proto = onnx.load(path)
    proto.graph.value_info.append(zoo.face("b", "batch", 4, 8, 8))
    onnx.save(proto, path)
    run(export, sanitize, observe, calibrate)
    precision.main("tiny-fp16")
    assert details("precision", "tiny-fp16")["layers"] == {"fp16": 7, "fp32": 1}


@pytest.mark.usefixtures("calibrated")
def test_without_a_library_the_parser_refuses_and_both_ways_out_are_named() -> None:
    precision.main("tiny-fp32")
    with pytest.raises(
        errors.UnsupportedError, match=r"'relu_1' \(Own_TRT\): Plugin not"
    ) as caught:
        build.main("tiny-fp32")
    assert "models/<model>/rewrites/; or name the library" in caught.value.mend
    assert "engines.<e>.builder.plugins" in caught.value.mend


@pytest.mark.parametrize("kind", ["fp32", "fp16"])
def test_with_its_library_it_builds_and_nothing_is_passed_unseen(
    with_plugin: Project, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    engine = f"tiny-{kind}"
    precision.main(engine)
    build.main(engine)
    assert details("build", engine)["reproducible"] == "proven"
    assert "--dynamicPlugins=libown.so" in details("build", engine)["command"]
    validate.main(engine)
    found = states(engine)
    assert found["numerics"] == found["task-metric"] == ("not run", WHY)
    assert found["coverage"][0] == "not applicable"
    assert {found[n][0] for n in ("interface", "plan-header", "precision")} == {"measured"}
    shown = files.read_json(layout.metrics(engine))
    assert (shown["accuracy"], shown["sqnr_db"], shown["identical"]) == (None, None, None)
    assert layout.card(engine).read_text().count(">not run<") == 2
    notes = files.read_json(layout.report(engine))["measurements"][6]["value"]["notes"]
    unknown = [f"whether FP16 overflows is not known: {WHY}"]
    assert notes == (unknown if kind == "fp16" else [])
    limits = with_plugin.params()["engines"][engine]["gates"]
    with pytest.raises(errors.GateError, match=r"min_cosine .* numerics is not run: ONNX Runtime"):
        gate.main(engine)
    with_plugin.set(f"engines.{engine}.gates", dict.fromkeys(limits))
    capsys.readouterr()
    gate.main(engine)
    assert "not run: numerics, task-metric, device\n" in capsys.readouterr().out
    table.main()
    row = next(r for r in capsys.readouterr().out.splitlines() if r.startswith(engine))
    assert row.count("not run") == 4


def test_the_package_says_what_was_not_run(with_plugin: Project) -> None:
    engine = "tiny-fp32"
    limits = with_plugin.params()["engines"][engine]["gates"]
    with_plugin.set(f"engines.{engine}.gates", dict.fromkeys(limits))
    for stage in ("export", "sanitize", "observe", "calibrate"):
        assert with_plugin.run(stage, "tiny").returncode == 0
    for stage in ("precision", "build", "validate", "gate", "package"):
        done = with_plugin.run(stage, engine)
        assert done.returncode == 0, done.stderr
    folder = layout.package(engine)
    manifest = files.read_json(folder / "manifest.json")
    assert manifest["verdict"]["not_run"] == ["numerics", "task-metric", "device"]
    assert manifest["metrics"] == {"numerics": None, "out_of_range": None, "task_metric": None}
    library = "models/tiny/plugins/libown.so"
    assert manifest["digests"]["plugins"] == {library: files.sha256(Path(library))}
    assert library in (folder / "provenance.json").read_text()
    assert 'key: "comparison_with_the_model"' in (folder / "config.pbtxt").read_text()


def test_an_op_that_is_not_onnx_s_and_that_onnx_runtime_has(project: Project) -> None:
    put(project, "QuickGelu", "com.microsoft", alpha=1.702)
    run(export, sanitize, observe)
    assert details("export", "tiny")["parity"]["state"] == "not applicable"
    assert (details("observe", "tiny")["samples"], details("observe", "tiny")["notes"]) == (24, [])


def test_what_fails_on_data_is_no_missing_op(project: Project) -> None:
    put(project, "QuickGelu", "com.microsoft", alpha=1.702)
    path = project.root / "models/tiny/source/net.onnx"
    proto = onnx.load(path)
    proto.graph.node[9].CopyFrom(zoo.node("Reshape", ["f", "two_by_four"], ["g"], name="flatten"))
    proto.graph.initializer.append(zoo.const("two_by_four", [2, 4], np.int64))
    onnx.save(proto, path)
    with pytest.raises(errors.GraphError, match=r"the exported graph failed on inputs x \[4, 3, 8"):
        export.main("tiny")


def test_a_rewrite_of_the_op_lets_int8_in_but_there_is_no_reference(clean: Project) -> None:
    (clean.root / layout.rewrites("tiny") / "own.py").write_text(REWRITE)
    clean.set("build.prove", False)
    run(sanitize, observe, calibrate)
    assert details("observe", "tiny")["samples"] == 24
    precision.main("tiny-int8")
    build.main("tiny-int8")
    validate.main("tiny-int8")
    found = states("tiny-int8")
    assert found["numerics"] == ("not run", WHY)
    assert found["coverage"] == ("measured", None)
    text = json.dumps(files.read_json(layout.report("tiny-int8")))
    assert "whether FP16" not in text
