# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""config.pbtxt, read back by Triton's own protobuf definitions."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import assume, given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from stages.bundle import batching, rules, triton
from stages.lib import errors

TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "int8": "TYPE_INT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
}


def tensor(name: str, *shape: int, dtype: str = "float32") -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": list(shape)}


def span(low: int, high: int, *rest: int) -> dict[str, list[int]]:
    return {"min": [low, *rest], "opt": [high, *rest], "max": [high, *rest]}


def parsed(
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    profiles: list[Any],
    *,
    magic: str = "vtrt",
    name: str = "digits-b1",
    parameters: dict[str, str] | None = None,
    symbols: dict[str, str | None] | None = None,
    **serving: Any,
) -> Any:
    text = triton.config(
        name,
        magic,
        inputs=inputs,
        outputs=outputs,
        profiles=profiles,
        axes=axes(*inputs, *outputs) if symbols is None else symbols,
        serving=SERVING | serving,
        parameters=parameters or {},
    )
    return text_format.Parse(text, model_config_pb2.ModelConfig())


SERVING = {
    "runtime": "plan",
    "version": 1,
    "version_policy": {"latest": 1},
    "dynamic_batching": None,
    "instances": 1,
    "warmup": False,
    "cuda_graphs": False,
}
BATCHES = {"preferred_batch_size": [16, 4], "max_queue_delay_microseconds": 100}
ANSWERS = {"answers": "the plan"}


def axes(*tensors: dict[str, Any]) -> dict[str, str | None]:
    """A typed graph that calls each dynamic first axis the batch."""
    return {t["name"]: "batch" if t["shape"][:1] == [-1] else None for t in tensors}


IMAGE, LOGITS = tensor("image", -1, 1, 8, 8), tensor("logits", -1, 10)


def largest(inputs: list[Any], outputs: list[Any], profiles: list[Any]) -> int:
    return batching.find(inputs, outputs, profiles, axes(*inputs, *outputs)).size


def test_rtx_plan_is_served_by_python() -> None:
    parameters = {
        "runtime": "tensorrt_rtx",
        "runtime_version": "1.7.1.116",
        "device_run": "not run",
    }
    config = parsed([IMAGE], [LOGITS], [{"image": span(1, 1, 1, 8, 8)}], parameters=parameters)
    assert (config.name, config.backend, config.max_batch_size) == ("digits-b1", "python", 1)
    assert config.default_model_filename == ""
    assert [tuple(entry.dims) for entry in (*config.input, *config.output)] == [(1, 8, 8), (10,)]
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_AUTO
    found = {key: value.string_value for key, value in config.parameters.items()}
    assert found == parameters | ANSWERS | {"FORCE_CPU_ONLY_INPUT_TENSORS": "yes"}


def test_tensorrt_plan_is_served_by_tensorrt() -> None:
    config = parsed([IMAGE], [LOGITS], [{"image": span(1, 64, 1, 8, 8)}], magic="ftrt")
    assert (config.backend, config.max_batch_size) == ("tensorrt", 64)
    assert config.default_model_filename == "model.plan"
    assert list(config.instance_group[0].profile) == []
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert {key: value.string_value for key, value in config.parameters.items()} == ANSWERS


def test_tensorrt_is_told_to_use_every_profile() -> None:
    profiles = [{"image": span(1, 4, 1, 8, 8)}, {"image": span(4, 64, 1, 8, 8)}]
    config = parsed([IMAGE], [LOGITS], profiles, magic="ftrt")
    assert list(config.instance_group[0].profile) == ["0", "1"]
    assert config.max_batch_size == 64


def test_plan_of_another_kind_is_refused() -> None:
    with pytest.raises(errors.GraphError, match="begins with 'PK"):
        parsed([IMAGE], [LOGITS], [], magic="PK\x03\x04")


@pytest.mark.parametrize(
    ("spans", "size"),
    [
        ([(1, 1)], 1),
        ([(1, 64)], 64),
        ([(1, 8), (8, 64)], 64),
        ([(9, 64), (1, 8)], 64),
        ([(1, 64), (2, 4)], 64),
        ([(1, 1), (8, 8)], 0),  # Triton could send 2
        ([(4, 64)], 0),  # Triton could send 1
        ([(1, 4), (6, 8)], 0),  # Triton could send 5
        ([], 0),
    ],
)
def test_largest_batch_is_one_that_triton_can_fill_up_to(
    spans: list[tuple[int, int]], size: int
) -> None:
    profiles = [{"image": span(*pair, 1, 8, 8)} for pair in spans]
    assert largest([IMAGE], [LOGITS], profiles) == size


def test_inputs_of_one_profile_must_agree_on_the_batch() -> None:
    inputs = [tensor("a", -1, 4), tensor("b", -1, 4)]
    same = {"a": span(1, 8, 4), "b": span(1, 8, 4)}
    other = {"a": span(1, 8, 4), "b": span(1, 4, 4)}
    assert largest(inputs, [LOGITS], [same]) == 8
    assert largest(inputs, [LOGITS], [other]) == 0


@pytest.mark.parametrize(
    ("image", "logits"),
    [
        (tensor("image", 1, 1, 8, 8), tensor("logits", 1, 10)),
        (tensor("image", 1, 1, 8, 8), LOGITS),
        (IMAGE, tensor("logits", 1, 10)),
        (IMAGE, tensor("count", 10)),
    ],
)
def test_fixed_first_axis_is_part_of_the_shape(
    image: dict[str, Any], logits: dict[str, Any]
) -> None:
    config = parsed([image], [logits], [{"image": span(1, 1, 1, 8, 8)}])
    assert config.max_batch_size == 0
    assert list(config.input[0].dims) == image["shape"]
    assert list(config.output[0].dims) == logits["shape"]


def test_other_dynamic_axes_stay_dynamic() -> None:
    ids = tensor("ids", -1, -1, dtype="int64")
    shapes = {"ids": {"min": [1, 1], "opt": [8, 128], "max": [16, 512]}}
    config = parsed([ids], [tensor("mask", -1, -1, 4, dtype="bool")], [shapes])
    assert (config.max_batch_size, list(config.input[0].dims)) == (16, [-1])
    assert list(config.output[0].dims) == [-1, 4]


def test_one_number_for_each_sample_is_reshaped() -> None:
    config = parsed([IMAGE], [tensor("score", -1)], [{"image": span(1, 8, 1, 8, 8)}])
    assert list(config.output[0].dims) == [1]
    assert config.output[0].HasField("reshape")
    assert list(config.output[0].reshape.shape) == []
    assert not config.input[0].HasField("reshape")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (tensor("loss"), "Triton has no scalars, and output 'loss' is one"),
        (tensor("none", -1, 0), r"a dimension of its shape \[-1, 0\] is 0"),
        (tensor("x", -1, dtype="float8_e4m3fn"), "Triton has no type for float8_e4m3fn"),
        (tensor("x", -1, dtype="bfloat16"), "Python backend has no type for bfloat16"),
        (tensor("", -1, 10), "cannot take the tensor name ''"),
        (tensor("a\0b", -1, 10), "cannot take the tensor name"),
        (tensor("\ud800", -1, 10), "cannot take the tensor name"),
        (tensor("image", -1, 10), "two inputs or outputs are called 'image'"),
    ],
)
def test_what_triton_cannot_take(output: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.GraphError, match=message):
        parsed([IMAGE], [output], [{"image": span(1, 8, 1, 8, 8)}])


def test_bfloat16_is_for_the_tensorrt_backend() -> None:
    output = tensor("x", -1, 4, dtype="bfloat16")
    config = parsed([IMAGE], [output], [{"image": span(1, 8, 1, 8, 8)}], magic="ftrt")
    assert config.output[0].data_type == model_config_pb2.TYPE_BF16


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_string_survives(text: str) -> None:
    assume(text not in ("key", "answers", "FORCE_CPU_ONLY_INPUT_TENSORS"))
    config = parsed(
        [IMAGE], [LOGITS], [{"image": span(1, 1, 1, 8, 8)}], parameters={"key": text, text: "value"}
    )
    expected = ANSWERS | {"key": text, text: "value", "FORCE_CPU_ONLY_INPUT_TENSORS": "yes"}
    assert {key: value.string_value for key, value in config.parameters.items()} == expected


def test_serving_of_params_is_what_triton_reads() -> None:
    config = parsed(
        [IMAGE],
        [LOGITS],
        [{"image": span(1, 64, 1, 8, 8)}],
        version=3,
        version_policy={"specific": [3, 2]},
        dynamic_batching=BATCHES,
        instances=2,
        cuda_graphs=True,
    )
    batches = config.dynamic_batching
    assert list(batches.preferred_batch_size) == [4, 16]
    assert batches.max_queue_delay_microseconds == 100
    assert config.instance_group[0].count == 2
    assert config.optimization.cuda.graphs
    assert list(config.version_policy.specific.versions) == [2, 3]
    assert not config.model_warmup


def test_other_version_policies() -> None:
    profiles = [{"image": span(1, 1, 1, 8, 8)}]
    assert parsed([IMAGE], [LOGITS], profiles).version_policy.latest.num_versions == 1
    every = parsed([IMAGE], [LOGITS], profiles, version_policy="all")
    assert every.version_policy.HasField("all")
    assert not every.HasField("dynamic_batching")


def test_warm_up_has_the_opt_shapes_of_each_profile() -> None:
    profiles = [
        {"ids": {"min": [1, 1], "opt": [2, 16], "max": [4, 32]}},
        {"ids": {"min": [1, 1], "opt": [8, 128], "max": [16, 512]}},
    ]
    ids, mask = tensor("ids", -1, -1, dtype="int64"), tensor("mask", -1, -1)
    warm = parsed([ids], [mask], profiles, warmup=True).model_warmup
    found = [(w.batch_size, list(w.inputs["ids"].dims), w.inputs["ids"].zero_data) for w in warm]
    assert found == [(2, [16], True), (8, [128], True)]
    assert warm[0].inputs["ids"].data_type == model_config_pb2.TYPE_INT64
    fixed = tensor("ids", 4, 7, dtype="int64")
    whole = parsed([fixed], [mask], [{"ids": span(4, 4, 7)}], warmup=True).model_warmup
    assert (whole[0].batch_size, list(whole[0].inputs["ids"].dims)) == (1, [4, 7])


def test_onnxruntime_says_that_it_is_no_test_of_the_plan() -> None:
    config = parsed(
        [IMAGE], [LOGITS], [{"image": span(1, 8, 1, 8, 8)}], magic="ftrt", runtime="onnxruntime"
    )
    assert config.backend == "python"
    assert config.default_model_filename == ""
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_CPU
    assert "never a test of the plan" in config.parameters["answers"].string_value


def test_length_that_depends_on_the_data_is_no_batch() -> None:
    """What is not zero, say: the plan calls its length -1, as it calls the batch."""
    found = tensor("found", -1, 2, dtype="int64")
    profiles = [{"image": span(1, 8, 1, 8, 8)}]
    for symbol in ("unk__0", None):
        symbols = {"image": "batch", "found": symbol}
        config = parsed([IMAGE], [found], profiles, symbols=symbols)
        assert config.max_batch_size == 0
        assert list(config.output[0].dims) == [-1, 2]
        with pytest.raises(errors.ServingError, match="first axis of output 'found' is no batch"):
            parsed([IMAGE], [found], profiles, symbols=symbols, dynamic_batching=BATCHES)


@pytest.mark.parametrize(
    ("inputs", "outputs", "profiles", "message"),
    [
        ([tensor("a", 1, 4)], [LOGITS], [{"a": span(1, 1, 4)}], "input 'a' has no dynamic first"),
        ([tensor("a", -1, 4)], [tensor("y", 1)], [{"a": span(1, 8, 4)}], "output 'y' has no dyn"),
        ([tensor("a", -1, 4)], [LOGITS], [{"a": span(4, 8, 4)}], "no profile takes a batch of 1,"),
        (
            [tensor("a", -1, 4)],
            [LOGITS],
            [{"a": span(1, 4, 4)}, {"a": span(6, 8, 4)}],
            "no profile takes a batch of 5,",
        ),
        (
            [tensor("a", -1, 4), tensor("b", -1, 4)],
            [LOGITS],
            [{"a": span(1, 8, 4), "b": span(1, 4, 4)}],
            "profile 0 takes other batches for each input: 1 to 4, 1 to 8",
        ),
        ([tensor("a", -1, 4)], [LOGITS], [], "the plan has no profile"),
    ],
)
def test_why_a_plan_cannot_be_batched(
    inputs: list[Any], outputs: list[Any], profiles: list[Any], message: str
) -> None:
    with pytest.raises(errors.ServingError, match=message):
        parsed(inputs, outputs, profiles, dynamic_batching=BATCHES)
    assert parsed(inputs, outputs, profiles).max_batch_size == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"dynamic_batching": BATCHES | {"preferred_batch_size": [4, 9]}},
            "preferred_batch_size has 9, but the largest batch of the plan's profiles is 8",
        ),
        (
            {"version": 2, "version_policy": {"specific": [1, 3]}},
            r"serves versions \[1, 3\] alone, and this one is 2",
        ),
    ],
)
def test_serving_that_the_plan_cannot_do(change: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.ServingError, match=message) as caught:
        parsed([IMAGE], [LOGITS], [{"image": span(1, 8, 1, 8, 8)}], **change)
    assert "engines.digits-b1.serving" in caught.value.what


def test_plan_without_weights_cannot_be_served() -> None:
    with pytest.raises(errors.ServingError, match="has no weights"):
        rules.check_builder("digits", {"strip_plan": True}, "plan")
    assert rules.check_builder("digits", {"strip_plan": True}, "onnxruntime") == {}


def test_version_compatible_plan_needs_a_flag_of_the_server() -> None:
    flags = rules.check_builder("digits", {"version_compatible": True}, "plan")
    assert flags == {"server_flags": "--backend-config=tensorrt,version-compatible=true"}


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
dims = st.lists(st.one_of(st.just(-1), st.integers(1, 2**40)), max_size=6)


@st.composite
def networks(draw: st.DrawFn) -> tuple[list[Any], list[Any], list[Any]]:
    """Inputs, outputs and one or two profiles, with a batch axis in front or fixed shapes."""
    known = draw(st.lists(names, min_size=2, max_size=6, unique=True))
    front = draw(st.sampled_from([[-1], [3]]))
    made = [
        tensor(name, *front, *draw(dims), dtype=draw(st.sampled_from(sorted(TYPES))))
        for name in known
    ]
    count = draw(st.integers(1, len(made) - 1))
    profiles = []
    for _ in range(draw(st.integers(1, 2))):
        low = draw(st.integers(1, 3))
        high = draw(st.integers(low, 64))
        profiles.append(
            {entry["name"]: span(low, high, *entry["shape"][1:]) for entry in made[:count]}
        )
    return made[:count], made[count:], profiles


@given(networks())
def test_every_network_is_read_back_as_recorded(
    network: tuple[list[Any], list[Any], list[Any]],
) -> None:
    inputs, outputs, profiles = network
    config = parsed(inputs, outputs, profiles)
    size = config.max_batch_size
    assert size == largest(inputs, outputs, profiles)
    for recorded, found in zip([*inputs, *outputs], [*config.input, *config.output], strict=True):
        assert found.name == recorded["name"]
        assert model_config_pb2.DataType.Name(found.data_type) == TYPES[recorded["dtype"]]
        axes = list(found.reshape.shape) if found.HasField("reshape") else list(found.dims)
        assert ([-1, *axes] if size else axes) == recorded["shape"]
        assert found.dims
    if size:
        taken = {
            batch
            for profile in profiles
            for batch in range(*(next(iter(profile.values()))[end][0] for end in ("min", "max")))
        } | {next(iter(profile.values()))["max"][0] for profile in profiles}
        assert set(range(1, size + 1)) <= taken
