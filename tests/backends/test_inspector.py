# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What an engine says of its layers, in the forms that NVIDIA documents and trtexec prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import tensorrt_rtx as trt

from stages.backends import inspector
from stages.lib import files, layout

if TYPE_CHECKING:
    from pathlib import Path

# Developer guide, "Engine Inspector": profiling verbosity DETAILED.
INT8 = "Thirty-two wide channel vectorized row major Int8 format."
HALF = "Channel major FP16 format where channel % 4 == 0"
FLOAT = "Row major linear FP32"
MACS = {"conv_1": 900, "relu_1": 0, "conv_2": 100, "softmax": 0}
TYPES = {"conv_1": "int8", "relu_1": "fp16", "conv_2": "fp16", "softmax": "fp16"}


def layer(name: str, kind: str, read: str, written: str, **more: Any) -> dict[str, Any]:
    def tensors(word: str) -> list[dict[str, Any]]:
        return [{"Name": "t", "Location": "Device", "Dimensions": [1], "Format/Datatype": word}]

    return {
        "Name": name,
        "LayerType": kind,
        "Inputs": tensors(read),
        "Outputs": tensors(written),
        **more,
    }


DETAILED = [
    layer("Reformatting CopyNode for Input Tensor 0 to conv_1 + relu_1", "Reformat", FLOAT, INT8),
    layer("conv_1 + relu_1", "CaskConvolution", INT8, HALF, Weights={"Type": "Int8", "Count": 9}),
    layer("__myl_Fc", "gemm", "Half", "Float", Metadata="[ONNX Layer: conv_2]\x1e"),
    layer("__myl_Soft", "kgen", "Int8", "BFloat16", Metadata="x\x1f[ONNX Layer: softmax]"),
]


def test_layers_of_a_detailed_engine_by_precision() -> None:
    listed = inspector.parse(json.dumps({"Layers": DETAILED, "Bindings": ["image", "logits"]}))
    assert inspector.summary(listed, MACS) == {
        "source": "engine inspector",
        "count": 4,
        "layers": {"bf16": 1, "fp32": 1, "int8": 1},
        "inputs": {"fp16": 1, "int8": 2},
        "outputs": {"bf16": 1, "fp16": 1, "fp32": 1},
        "compute": {"fp32": 0.1, "int8": 0.9},
        "reason": None,
    }


def test_control_characters_that_strict_json_forbids_are_read() -> None:
    raw = '{"Layers": [{"Name": "a", "Metadata": "[ONNX Layer: conv_1]\x1e[ONNX Layer: relu_1]"}]}'
    with pytest.raises(ValueError, match="control character"):
        json.loads(raw)
    (found,) = inspector.parse(raw)
    assert inspector.nodes(found, MACS) == ["conv_1", "relu_1"]


def test_names_alone_are_counted_and_no_precision_is_guessed() -> None:
    listed = inspector.parse('{"Layers": ["conv_1 + relu_1"\n,"softmax"\n],\n"Bindings": ["x"]}')
    found = inspector.summary(listed, MACS)
    assert found["count"] == 2
    assert [found[key] for key in ("layers", "inputs", "outputs", "compute")] == [None] * 4
    assert found["reason"].startswith("the engine holds names of layers only")


@pytest.mark.parametrize(
    "told", ["", "no JSON", "[]", "{}", '{"Layers": {}}', '{"Layers": [1, {"name": "a"}]}']
)
def test_what_is_not_understood_is_null_with_a_reason(told: str) -> None:
    found = inspector.summary(inspector.parse(told), MACS)
    assert found["count"] is None
    assert "in a form not known here" in found["reason"]


def test_types_that_are_hidden_or_strange() -> None:
    hidden = [layer("conv_1", "CaskConvolution", *["N/A due to dynamic shapes"] * 2)]
    assert inspector.summary(hidden, MACS)["reason"] == "no layer names a type that is known here"
    broken = [{"Name": "a", "Inputs": "x", "Outputs": [None, {"Format/Datatype": 7}]}]
    assert inspector.summary(broken, MACS)["layers"] is None
    whole = [layer("conv_1", "kgen", "Int32", "Row major Int64"), *DETAILED]
    assert inspector.summary(whole, MACS)["layers"] == {"bf16": 1, "fp32": 1, "int8": 1}


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("conv_1 + relu_1", ["conv_1", "relu_1"]),
        ("conv_1", ["conv_1"]),
        ("Reformatting CopyNode for Output Tensor 0 to conv_1 + relu_1", ["conv_1", "relu_1"]),
        ("MatMul + (Unnamed Layer* 21) [Shuffle] + softmax", ["softmax"]),
        ("conv_1 [ONNX Layer: conv_2]", ["conv_2"]),
        ("{ForeignNode[conv_1...softmax]}", []),
        ("__myl_FcCast", []),
    ],
)
def test_nodes_of_a_layer_by_its_name(name: str, nodes: list[str]) -> None:
    assert inspector.nodes({"Name": name}, MACS) == nodes


def test_times_go_to_nodes_by_their_work_and_precision() -> None:
    times = {
        "conv_1 + relu_1": 0.5,
        "Reformatting CopyNode for Input Tensor 0 to conv_1 + relu_1": 0.25,
        "__myl_Fc": 0.1,
        "relu_1 + softmax": 0.2,
        "nobody": 9.0,
    }
    assert inspector.table(times, DETAILED, TYPES, MACS) == {
        "conv_1": {"int8": 0.75},
        "relu_1": {"fp16": 0.1},
        "conv_2": {"fp16": 0.1},
        "softmax": {"fp16": 0.1},
    }


def test_several_nodes_with_work_share_by_it() -> None:
    found = inspector.table({"conv_1 + conv_2": 1.0}, [], TYPES, MACS)
    assert found == {"conv_1": {"int8": 0.9}, "conv_2": {"fp16": 0.1}}


def test_engines_of_a_model_as_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    engines = {
        "a": {"model": "m", "profile": [1]},
        "b": {"model": "m", "profile": [1]},
        "other-shapes": {"model": "m", "profile": [2]},
        "other-gpu": {"model": "m", "profile": [1]},
    }
    inspector.tabulate("other-shapes", engines, "L4", {"conv": {"fp16": 7.0}})
    inspector.tabulate("other-gpu", engines, "A10", {"conv": {"fp16": 8.0}})
    inspector.tabulate("a", engines, "L4", {"conv": {"int8": 1.0}, "relu": {"fp16": 0.5}})
    inspector.tabulate("b", engines, "L4", {"conv": {"fp16": 2.0}, "relu": {"fp16": 0.25}})
    merged = files.read_json(layout.model_latency("m"))
    assert merged["layers"] == {"conv": {"fp16": 2.0, "int8": 1.0}, "relu": {"fp16": 0.25}}
    assert files.read_json(layout.engine_latency("a"))["layers"]["relu"] == {"fp16": 0.5}
    inspector.tabulate("a", engines, "L4", {})
    assert not layout.engine_latency("a").exists()


def test_tensorrt_rtx_has_what_the_command_calls() -> None:
    for owner, names in (
        (trt.ICudaEngine, ["create_engine_inspector"]),
        (trt.EngineInspector, ["execution_context", "get_engine_information"]),
        (trt.IProfiler, ["report_layer_time"]),
        (trt.IExecutionContext, ["profiler", "enqueue_emits_profile", "execute_async_v3"]),
        (trt.LayerInformationFormat, ["JSON"]),
    ):
        assert [name for name in names if not hasattr(owner, name)] == []
