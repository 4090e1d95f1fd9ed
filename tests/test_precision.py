# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The stage `precision`: one typed graph for each engine, from its own cache and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from stages import precision
from stages.lib import caches, errors, files, graphs, layout, observed, params
from stages.quantization import reading
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from pathlib import Path

    from stages.quantization.recipe import Recipe
    from tests.conftest import Project

pytestmark = pytest.mark.usefixtures("built")
X = {"x": zoo.values(4, 3, 8, 8)}


def typed(kind: str) -> bytes:
    return (layout.typed(f"tiny-{kind}") / "model.onnx").read_bytes()


@pytest.mark.parametrize("kind", ["fp32", "fp16", "bf16", "int8"])
def test_the_graph_is_valid_and_keeps_its_face(kind: str) -> None:
    proto = onnx.load_from_string(typed(kind))
    onnx.checker.check_model(proto, full_check=True)
    faces = [(value.name, str(value.type)) for value in (*proto.graph.input, *proto.graph.output)]
    clean = onnx.load(layout.clean("tiny") / "model.onnx")
    assert faces == [(v.name, str(v.type)) for v in (*clean.graph.input, *clean.graph.output)]


@pytest.mark.parametrize("kind", ["fp32", "tf32"])
def test_fp32_and_tf32_keep_the_graph(built: Project, kind: str) -> None:
    built.set("engines.tiny-fp32.precision", kind)
    precision.main("tiny-fp32")
    assert typed("fp32") == (layout.clean("tiny") / "model.onnx").read_bytes()
    told = files.read_json(layout.facts("precision", "tiny-fp32"))
    assert told["details"]["precision"] == kind
    assert set(told["details"]["layers"]) == {"fp32"}
    assert told["details"]["kept"] == []


def test_the_int8_graph_carries_the_scales_of_the_cache_it_names(built: Project) -> None:
    made = {}
    for method in ("entropy", "minmax"):
        built.set("engines.tiny-int8.method", method)
        precision.main("tiny-int8")
        cache = caches.parse(layout.cache("tiny", method).read_bytes(), "")
        graph = graphs.load(layout.typed("tiny-int8")).graph
        found = {name: v.const_value for name, v in graph.initializers.items()}
        made[method] = typed("int8")
        for tensor in ("x", "b", "g"):
            scale = found[f"{tensor}_scale"]
            assert scale is not None
            assert scale.numpy().tobytes() == np.float32(cache.scales[tensor]).tobytes()
    assert made["entropy"] != made["minmax"]
    told = files.read_json(layout.facts("precision", "tiny-int8"))
    assert "artifacts/calibration/tiny/minmax.cache" in told["inputs"]
    assert told["details"]["quantized"] == {"Add": 1, "Conv": 2, "Gemm": 1}
    assert told["details"]["scales"] == {"observed": 3, "used": 3, "unused": 0, "smoothed": 0}
    assert told["details"]["layers"] == {"fp32": 5, "int8": 3}


def test_a_cast_engine_does_not_read_ranges(built: Project) -> None:
    before = typed("fp16")
    for method in ("entropy", "minmax", "percentile"):
        (built.root / layout.cache("tiny", method)).unlink()
    precision.main("tiny-fp16")
    assert typed("fp16") == before


def test_an_override_keeps_a_node_float32(
    built: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    built.set("engines.tiny-int8.overrides", [{"nodes": "conv_*", "precision": "fp32"}])
    precision.main("tiny-int8")
    told = files.read_json(layout.facts("precision", "tiny-int8"))["details"]
    assert told["quantized"] == {"Gemm": 1}
    assert [entry["node"] for entry in told["kept"]] == ["conv_1", "conv_2"]
    assert "7 nodes fp32, 1 nodes int8, 100% of compute fp32" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_a_pattern_that_matches_nothing(built: Project, kind: str) -> None:
    before = typed(kind)
    built.set(f"engines.tiny-{kind}.overrides", [{"nodes": "conv_22", "precision": "fp32"}])
    with pytest.raises(
        errors.GraphError, match=r"overrides\[0\]: no node is called 'conv_22'; near"
    ):
        precision.main(f"tiny-{kind}")
    assert typed(kind) == before


@pytest.mark.parametrize("kind", ["fp16", "bf16", "int8"])
def test_a_graph_of_which_nothing_can_be_typed(built: Project, kind: str) -> None:
    built.set(f"engines.tiny-{kind}.overrides", [{"nodes": "*", "precision": "fp32"}])
    with pytest.raises(
        errors.GraphError, match=f"no node of the graph can run in {kind}: "
    ) as caught:
        precision.main(f"tiny-{kind}")
    assert "Conv: an override or the search keeps it; " in caught.value.what


def observed_again(root: Path) -> None:
    """The observations, as if they were of the graph that lies there now."""
    path = root / layout.observations("tiny")
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["graph"] = np.array(observed.graph_digest(layout.clean("tiny")))
    np.savez(path, allow_pickle=False, **arrays)


def test_observations_of_another_graph_are_refused(built: Project) -> None:
    path = built.root / layout.clean("tiny") / "model.onnx"
    proto = onnx.load(path)
    proto.graph.node[0].doc_string = "another"
    onnx.save(proto, path)
    with pytest.raises(errors.CalibrationError, match=r"observations\.npz was made for the graph"):
        precision.main("tiny-fp16")


@pytest.mark.parametrize("remainder", ["fp16", "bf16"])
@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_a_quantized_engine_with_a_low_remainder(built: Project, kind: str, remainder: str) -> None:
    built.set("engines.tiny-int8.precision", kind)
    built.set("engines.tiny-int8.remainder", remainder)
    if kind == "fp8":
        built.set("engines.tiny-int8.builder.compute_capabilities", ["sm89"])
    precision.main("tiny-int8")
    proto = onnx.load_from_string(typed("int8"))
    onnx.checker.check_model(proto, full_check=True)
    told = files.read_json(layout.facts("precision", "tiny-int8"))["details"]
    assert told["layers"] == {kind: 3, remainder: 5}
    assert told["opset"] == {"from": 22, "to": 23}
    decided = files.read_json(layout.search("tiny-int8") / "decision.json")
    assert decided["searched"] is False


def test_an_overflow_is_kept_and_told_by_observed_maxima(
    built: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    path = built.root / layout.observations("tiny")
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["maxima"] = np.where(arrays["names"] == "b", 70000.0, arrays["maxima"]).astype("f4")
    np.savez(path, allow_pickle=False, **arrays)
    precision.main("tiny-fp16")
    told = files.read_json(layout.facts("precision", "tiny-fp16"))["details"]
    assert {entry["tensor"] for entry in told["overflow"]} == {"b"}
    assert {entry["node"] for entry in told["overflow"]} == {"relu_1", "conv_2", "residual"}
    assert "3 kept float32, as FP16 would overflow" in capsys.readouterr().out
    graph = graphs.load(layout.typed("tiny-fp16")).graph
    kept = {entry["node"]: entry["reason"] for entry in reading.kept(graph)}
    assert kept["conv_2"] == "b reached 70000, more than FP16 holds"


def test_a_graph_of_unknown_types_is_told_as_such(built: Project) -> None:
    proto = onnx.load(built.root / layout.clean("tiny") / "model.onnx")
    del proto.graph.node[:]
    proto.graph.node.append(zoo.node("Own", ["x"], ["logits"], domain="own", name="own"))
    proto.opset_import.add(domain="own", version=1)
    onnx.save(proto, built.root / layout.clean("tiny") / "model.onnx")
    observed_again(built.root)
    with pytest.raises(errors.GraphError, match=r"in fp16: Own: no ONNX schema for own::Own$"):
        precision.main("tiny-fp16")
    with pytest.raises(errors.GraphError, match="in int8: no candidate is known to be float32"):
        precision.main("tiny-int8")


def test_products_of_an_attention_without_a_fused_kernel_stay_in_the_remainder(
    built: Project,
) -> None:
    def recipe() -> Recipe:
        used = precision._params(params.load(), "tiny-int8")
        return precision._recipe(zoo.typed(zoo.block()), "tiny-int8", used)  # heads of size 8

    reason = "no fused INT8 attention: its head size is 8"
    built.set("engines.tiny-int8.remainder", "fp16")
    assert recipe().why == dict.fromkeys(("scores", "weigh"), reason)
    assert recipe().chosen == dict.fromkeys(("scores", "weigh"), "fp16")
    overrides = [{"nodes": name, "precision": "int8"} for name in ("scores", "weigh")]
    built.set("engines.tiny-int8.overrides", overrides)
    assert (recipe().why, recipe().chosen) == ({}, dict.fromkeys(("scores", "weigh"), "int8"))


def test_an_override_to_int8_that_no_node_can_follow(built: Project) -> None:
    built.set("engines.tiny-int8.overrides", [{"ops": "Relu", "precision": "int8"}])
    with pytest.raises(errors.GraphError, match="'Relu' matches only Relu, which cannot run in"):
        precision.main("tiny-int8")


def test_a_cache_of_another_graph(built: Project) -> None:
    path = built.root / layout.cache("tiny", "entropy")
    path.write_text(path.read_text().replace("\ng: ", "\ngg: "))
    with pytest.raises(
        errors.CalibrationError, match=r"no scale for 1 of 3 tensors .* 'g', nearest"
    ):
        precision.main("tiny-int8")


def test_a_damaged_cache(built: Project) -> None:
    (built.root / layout.cache("tiny", "entropy")).write_bytes(b"TRT-1-A\nx 3f800000\n")
    with pytest.raises(
        errors.CalibrationError, match=r"tiny/entropy\.cache:2: 'x 3f800000' is not"
    ):
        precision.main("tiny-int8")


@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_two_runs_give_the_same_bytes(built: Project, kind: str) -> None:
    before = typed(kind)
    done = built.run("precision", f"tiny-{kind}", PYTHONHASHSEED="7")
    assert done.returncode == 0, done.stderr
    assert typed(kind) == before


def test_the_int8_engine_is_near_the_model() -> None:
    reference = zoo.infer(onnx.load(layout.exported("tiny") / "model.onnx"), X)["logits"]
    found = zoo.infer(onnx.load_from_string(typed("int8")), X)["logits"]
    assert np.abs(found - reference).max() < 0.05 * np.abs(reference).max()
