# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Real builds of tiny graphs with TensorRT-RTX, which needs no GPU."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import tensorrt_rtx
from onnx import TensorProto, helper, numpy_helper

from stages.backends import commands, refusals
from stages.backends.build_api import Engine, Order
from stages.backends.tensorrt_rtx import build as rtx
from stages.lib import errors, plugins

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stages.backends.build_api import BuildBackend

SETTINGS = {"workspace_mib": 256, "optimization_level": 3, "compute_capabilities": ["sm86", "sm89"]}
FIXED = {"x": {"min": [1, 4], "opt": [1, 4], "max": [1, 4]}}
MANY = {"x": {"min": [1, 4], "opt": [8, 4], "max": [64, 4]}}


def value(name: str, shape: list[int | str], dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def save(
    path: Path,
    nodes: Iterable[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    *,
    external: bool = False,
) -> Path:
    weight = numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), "w")
    graph = helper.make_graph(list(nodes), "graph", inputs, outputs, [weight])
    opset = [helper.make_opsetid("", 20), helper.make_opsetid("acme", 1)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.save(model, path, save_as_external_data=external, location="w.data", size_threshold=0)
    return path


def linear(folder: Path, batch: int | str, name: str = "x", *, external: bool = False) -> Path:
    nodes = [helper.make_node("MatMul", [name, "w"], ["y"], name="matmul")]
    ends = [value(name, [batch, 4])], [value("y", [batch, 3])]
    return save(folder / "model.onnx", nodes, *ends, external=external)


def build(
    graph: Path,
    profiles: list[Any],
    precision: str = "fp32",
    log: list[str] | None = None,
    **settings: Any,
) -> Engine:
    order = Order(
        graph=graph, precision=precision, profiles=profiles, builder={**SETTINGS, **settings}
    )
    return rtx.build(order, (log if log is not None else []).append)


def test_fixed_shape_records_the_face_of_the_plan(tmp_path: Path) -> None:
    log: list[str] = []
    engine = build(linear(tmp_path, 1), [FIXED], log=log)
    assert bytes(engine.plan[:4]) == b"vtrt"
    assert engine.inputs == [{"name": "x", "dtype": "float32", "shape": [1, 4]}]
    assert engine.outputs == [{"name": "y", "dtype": "float32", "shape": [1, 3]}]
    assert engine.profiles == [FIXED]
    assert engine.layers >= 1
    assert any(line.startswith("[info] ") for line in log)


def test_symbolic_dimensions_are_minus_one(tmp_path: Path) -> None:
    engine = build(linear(tmp_path, "batch"), [MANY])
    assert engine.inputs[0]["shape"] == [-1, 4]
    assert engine.outputs[0]["shape"] == [-1, 3]


def test_two_profiles_are_both_in_the_plan(tmp_path: Path) -> None:
    graph = linear(tmp_path, "batch")
    assert len(build(graph, [FIXED, MANY]).plan) > len(build(graph, [MANY]).plan)


def test_weights_beside_the_graph_are_read_by_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linear(tmp_path, 1, external=True)
    assert (tmp_path / "w.data").is_file()
    monkeypatch.chdir(tmp_path)
    assert bytes(build(Path("model.onnx"), [FIXED]).plan[:4]) == b"vtrt"


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (TensorProto.FLOAT16, "float16"),
        (TensorProto.BFLOAT16, "bfloat16"),
        (TensorProto.INT32, "int32"),
        (TensorProto.INT64, "int64"),
        (TensorProto.BOOL, "bool"),
    ],
)
def test_dtypes_have_numpy_names(tmp_path: Path, dtype: int, name: str) -> None:
    nodes = [helper.make_node("Concat", ["x", "x"], ["y"], axis=0)]
    ends = [value("x", [1, 4], dtype)], [value("y", [2, 4], dtype)]
    engine = build(save(tmp_path / "model.onnx", nodes, *ends), [FIXED], "auto")
    assert {tensor["dtype"] for tensor in (*engine.inputs, *engine.outputs)} == {name}


def test_tf32_is_cleared_unless_it_is_the_precision(tmp_path: Path) -> None:
    graph = linear(tmp_path, "batch")
    plans = {name: bytes(build(graph, [MANY], name).plan) for name in ("fp32", "tf32", "auto")}
    assert plans["fp32"] == plans["auto"]
    assert plans["fp32"] != plans["tf32"]


def test_target_compute_capabilities_reach_the_plan(tmp_path: Path) -> None:
    graph = linear(tmp_path, "batch")
    targets: list[list[str]] = [[], ["sm86"], ["sm89"], ["sm86", "sm89"]]
    plans = {bytes(build(graph, [MANY], compute_capabilities=some).plan) for some in targets}
    assert len(plans) == len(targets)


def test_same_order_gives_the_same_bytes(tmp_path: Path) -> None:
    graph = linear(tmp_path, "batch")
    assert bytes(build(graph, [MANY]).plan) == bytes(build(graph, [MANY]).plan)


def test_all_refused_nodes_are_named_in_order(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="fine"),
        helper.make_node("Unique", ["a"], ["b"], name="uni:que"),
        helper.make_node("Scramble", ["a"], ["c"], name="odd", domain="acme"),
        helper.make_node(
            "MaxPool", ["i"], ["d"], name="pool", kernel_shape=[2, 2], dilations=[2, 2]
        ),
    ]
    inputs = [value("x", [4, 4]), value("i", [1, 1, 8, 8])]
    outputs = [value(name, []) for name in "bcd"]
    graph = save(tmp_path / "model.onnx", nodes, inputs, outputs)
    with pytest.raises(errors.UnsupportedError, match=r"refuses .*model\.onnx") as caught:
        build(graph, [])
    lines = [line for line in caught.value.what.splitlines() if line.startswith("node ")]
    assert lines == [
        "node 1 'uni:que' (Unique): TensorRT does not have this operator [UNSUPPORTED_NODE]",
        (
            "node 2 'odd' (Scramble): Plugin not found, are the plugin name, version, and"
            " namespace correct? [INVALID_NODE]"
        ),
        (
            "node 3 'pool' (MaxPool): This version of TensorRT does not support dilations other"
            " than 1. [UNSUPPORTED_NODE]"
        ),
    ]


def test_a_node_that_only_the_import_refuses_has_its_reason(tmp_path: Path) -> None:
    nodes = [helper.make_node("Squeeze", ["x", "axes"], ["y"], name="squeeze")]
    inputs = [value("x", [1, 4]), value("axes", [1], TensorProto.INT64)]
    graph = save(tmp_path / "model.onnx", nodes, inputs, [value("y", [])])
    reason = r"node 0 'squeeze' \(Squeeze\): .*squeeze axis is not a constant\) \[INVALID_NODE\]"
    with pytest.raises(errors.UnsupportedError, match=reason) as caught:
        build(graph, [])
    assert "cudaError" not in caught.value.what
    assert "/_src/" not in caught.value.what


def test_a_tensor_type_that_tensorrt_lacks_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    ends = [value("x", [1], TensorProto.STRING)], [value("y", [1], TensorProto.STRING)]
    graph = save(tmp_path / "model.onnx", nodes, *ends)
    with pytest.raises(errors.UnsupportedError, match=r"an input or initializer .*data type"):
        build(graph, [])


@pytest.mark.parametrize("content", [b"", b"no model\n", b"\x08\x0a\x3a\xff\xff\x01"])
def test_a_file_that_is_no_graph(tmp_path: Path, content: bytes) -> None:
    graph = tmp_path / "model.onnx"
    graph.write_bytes(content)
    with pytest.raises(errors.GraphError, match="TensorRT cannot read"):
        build(graph, [])


def test_weights_that_are_missing(tmp_path: Path) -> None:
    graph = linear(tmp_path, 1, external=True)
    (tmp_path / "w.data").unlink()
    with pytest.raises(errors.GraphError, match=r"cannot read(.|\n)*initializer: w"):
        build(graph, [FIXED])


def test_a_profile_that_the_builder_would_drop_in_silence(tmp_path: Path) -> None:
    wrong = {"x": {"min": [1, 4], "opt": [8, 4], "max": [2, 4]}}
    told = r"profile 1 is invalid: x min \[1, 4\] opt \[8, 4\] max \[2, 4\](.|\n)*MIN<=OPT<=MAX"
    with pytest.raises(errors.BuildError, match=told) as caught:
        build(linear(tmp_path, "batch"), [MANY, wrong])
    assert "cudaError" not in caught.value.what


def test_a_profile_for_an_input_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(errors.BuildError, match="profile 0 names 'z'; the graph's inputs are: x"):
        build(linear(tmp_path, "batch"), [{**MANY, "z": MANY["x"]}])


@pytest.mark.parametrize(
    ("profiles", "told"),
    [
        ([], "no optimization profile has been defined"),
        ([{}], "x is missing dimensions in profile 0"),
        ([{"x": {"min": [1, 5], "opt": [1, 5], "max": [1, 5]}}], "mismatch for tensor x"),
    ],
)
def test_what_the_builder_says_of_other_profiles(
    tmp_path: Path, profiles: list[Any], told: str
) -> None:
    with pytest.raises(errors.BuildError, match=rf"gave no engine(.|\n)*{told}"):
        build(linear(tmp_path, "batch"), profiles)


def test_a_target_that_needs_a_gpu_fails_with_the_reason(tmp_path: Path) -> None:
    if any(path.exists() for path in (Path("/dev/nvidia0"), Path("/dev/dxg"))):
        pytest.skip("this machine has a GPU")
    with pytest.raises(errors.BuildError, match=r"gave no engine(.|\n)*CUDA driver"):
        build(linear(tmp_path, "batch"), [MANY], compute_capabilities=["current"])


def test_an_error_keeps_none_of_tensorrts_objects(tmp_path: Path) -> None:
    wrong = {"x": {"min": [1, 4], "opt": [8, 4], "max": [2, 4]}}
    with pytest.raises(errors.BuildError, match="profile 0 is invalid") as caught:
        build(linear(tmp_path, "batch"), [wrong])
    error: BaseException | None = caught.value
    held = []
    while error is not None:
        frames = traceback.walk_tb(error.__traceback__)
        held += [type(local).__module__ for frame, _ in frames for local in frame.f_locals.values()]
        error = error.__context__
    assert held
    assert not [module for module in held if module.startswith("tensorrt")]


def test_the_echo_of_a_missing_driver_is_told_when_it_stands_alone() -> None:
    echo = "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (cudaError 35)"
    assert "cudaError 35" in refusals.failure("it failed", [echo]).what
    assert "cudaError 35" not in refusals.failure("it failed", [echo, "reason"]).what


def test_command_line(tmp_path: Path) -> None:
    assert build(linear(tmp_path, "batch"), [MANY]).command == (
        "tensorrt_rtx --onnx=model.onnx --saveEngine=model.plan --skipInference"
        " --memPoolSize=workspace:256 --builderOptimizationLevel=3 --computeCapabilities=86,89"
        " --minShapes=x:1x4 --optShapes=x:8x4 --maxShapes=x:64x4"
    )


def test_command_line_of_several_profiles_and_odd_names() -> None:
    bounds: Any = {"min": [1, 4], "opt": [2, 4], "max": [3, 4]}
    scalar: Any = {"min": [], "opt": [], "max": []}
    profiles: list[Any] = [{"in:0": bounds, "s": scalar}, {"in $x:0": bounds}]
    order = Order(graph=Path("g"), precision="fp32", profiles=profiles, builder=SETTINGS)
    words = commands.line("trtexec", order, ["--noTF32"])
    assert words.split(" --noTF32 ")[1] == (
        "--profile=0"
        " \"--minShapes='in:0':1x4,s:scalar\""
        " \"--optShapes='in:0':2x4,s:scalar\""
        " \"--maxShapes='in:0':3x4,s:scalar\""
        " --profile=1"
        " \"--minShapes='in \\$x:0':1x4\""
        " \"--optShapes='in \\$x:0':2x4\""
        " \"--maxShapes='in \\$x:0':3x4\""
    )


def test_no_target_leaves_the_flag_out(tmp_path: Path) -> None:
    engine = build(linear(tmp_path, "batch"), [MANY], compute_capabilities=[])
    assert "--computeCapabilities" not in engine.command


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> Iterator[BuildBackend]:
    """The backend `tensorrt`, on the bindings of its sibling, which have this part of its API."""
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_rtx)
    sys.modules.pop("stages.backends.tensorrt.build", None)
    yield plugins.load("stages.backends", "tensorrt.build")
    sys.modules.pop("stages.backends.tensorrt.build")


TENSORRT = {
    "workspace_mib": 64,
    "optimization_level": 2,
    "sparsity": False,
    "hardware_compatibility": "none",
    "version_compatible": False,
    "strip_plan": False,
    "refit": False,
    "max_aux_streams": None,
    "profiling_verbosity": "layer_names_only",
    "timing_cache": "none",
}


@pytest.mark.parametrize("verbosity", ["none", "layer_names_only", "detailed"])
def test_the_plan_says_as_much_of_its_layers_as_was_asked(tensorrt: Any, verbosity: str) -> None:
    """`device` reads precisions from it: only of a detailed plan."""
    trt = tensorrt.trt
    config = trt.Builder(trt.Logger()).create_builder_config()
    tensorrt._configure(config, {**TENSORRT, "profiling_verbosity": verbosity})
    assert config.profiling_verbosity.name.lower() == verbosity


def test_tensorrt_sets_what_it_shares_with_its_sibling(
    tensorrt: BuildBackend, tmp_path: Path
) -> None:
    settings = {**TENSORRT, "sparsity": True, "max_aux_streams": 2}
    graph = linear(tmp_path, "batch")
    order = Order(graph=graph, precision="fp32", profiles=[MANY], builder=settings)
    engine = tensorrt.build(order, lambda _: None)
    assert bytes(engine.plan[:4]) == b"vtrt"
    assert engine.command == (
        "trtexec --onnx=model.onnx --saveEngine=model.plan --skipInference"
        " --memPoolSize=workspace:64 --builderOptimizationLevel=2"
        " --noTF32 --sparsity=enable --maxAuxStreams=2"
        " --minShapes=x:1x4 --optShapes=x:8x4 --maxShapes=x:64x4"
    )


@pytest.mark.parametrize(
    ("setting", "flag"),
    [
        ({"version_compatible": True}, "--versionCompatible"),
        ({"strip_plan": True}, "--stripWeights"),
        ({"refit": True}, "--refit"),
        ({"profiling_verbosity": "detailed"}, "--profilingVerbosity=detailed"),
        ({"profiling_verbosity": "none"}, "--profilingVerbosity=none"),
        ({"hardware_compatibility": "ampere_plus"}, "--hardwareCompatibilityLevel=ampere+"),
        (
            {"hardware_compatibility": "same_compute_capability"},
            "--hardwareCompatibilityLevel=sameComputeCapability",
        ),
        ({"timing_cache": "record"}, "--timingCacheFile=a.cache --noCompilationCache"),
        (
            {"timing_cache": "replay"},
            "--timingCacheFile=a.cache --noCompilationCache --errorOnTimingCacheMiss",
        ),
    ],
)
def test_flags_of_trtexec(tensorrt: Any, setting: dict[str, Any], flag: str) -> None:
    order = Order(
        graph=Path("g"),
        precision="tf32",
        profiles=[],
        builder={**TENSORRT, **setting},
        timing_cache="/some/where/a.cache",
    )
    assert tensorrt._flags(order) == flag.split()


def test_tensorrt_10_must_be_told_to_type_strongly(
    tensorrt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = Order(graph=Path("g"), precision="tf32", profiles=[], builder=TENSORRT)
    monkeypatch.setattr(tensorrt_rtx, "__version__", "10.16.1.11")
    assert tensorrt._flags(order) == ["--stronglyTyped"]
    monkeypatch.setattr(tensorrt_rtx, "__version__", "11.4.0.106")
    assert tensorrt._flags(order) == []


def test_tensorrt_that_is_not_installed_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    sys.modules.pop("stages.backends.tensorrt.build", None)
    with pytest.raises(errors.PinError, match="NVIDIA's own index"):
        plugins.load("stages.backends", "tensorrt.build")
