# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Triton's config.pbtxt, from what `build` recorded about the plan and `serving` of params.yaml.

Format: protobuf text of inference.ModelConfig (triton-inference-server/common,
protobuf/model_config.proto); what the server itself refuses is refused here, with its reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.bundle import batching, rules
from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from stages.bundle.batching import Profiles, Tensors

_TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "int8": "TYPE_INT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "bfloat16": "TYPE_BF16",
    "float32": "TYPE_FP32",
}
# NumPy has no bfloat16, and the Python backend hands tensors over as NumPy arrays.
_NOT_IN_PYTHON = ("bfloat16",)

# What answers, for people who look at a server; and as the manifest has it.
ANSWERS = {
    "plan": "the plan",
    "onnxruntime": "the typed graph on ONNX Runtime, on the CPU: never a test of the plan",
}


def config(
    name: str,
    magic: str,
    *,
    inputs: Tensors,
    outputs: Tensors,
    profiles: Profiles,
    axes: Mapping[str, str | None],
    serving: Mapping[str, Any],
    parameters: Mapping[str, str],
) -> str:
    """The text of config.pbtxt.

    Args:
        name: Triton's model name: the engine's key.
        magic: first four bytes of the plan.
        inputs: {"name", "dtype" (numpy's name), "shape" (-1 where dynamic)}, in order.
        outputs: likewise.
        profiles: by input name, {"min", "opt", "max"}.
        axes: what the typed graph calls first axes, see `batching.first_axes`.
        serving: `engines.<engine>.serving`.
        parameters: what people shall find under `parameters`.

    Raises:
        GraphError: Triton cannot take a name, dtype or shape.
        ServingError: the plan cannot be served as `serving` says.
    """
    served_by = rules.backend(magic, serving["runtime"])
    python = served_by == "python"
    rules.check_names([*inputs, *outputs])
    batch = batching.find(inputs, outputs, profiles, axes)
    rules.check_serving(name, batch, serving)
    parameters = {**parameters, "answers": ANSWERS[serving["runtime"]]}
    if python:
        # model.py reads NumPy arrays, which exist on the host alone.
        parameters |= {"FORCE_CPU_ONLY_INPUT_TENSORS": "yes"}
    lines = [
        "# From what `build` recorded of the plan, and `serving` of params.yaml.",
        f"name: {quoted(name)}",
        f'backend: "{served_by}"',
        f"max_batch_size: {batch.size}",
    ]
    if batch.why_not:
        lines.append(f"# No batches: {_comment(batch.why_not)}.")
    if not python:
        lines.append('default_model_filename: "model.plan"')
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for tensor in tensors:
            lines += _tensor(kind, tensor, batched=batch.size > 0, python=python)
    lines += [_version_policy(serving["version_policy"]), *_batches(serving["dynamic_batching"])]
    lines += _instances(serving, python=python, profiles=len(profiles))
    if serving["cuda_graphs"]:
        lines.append("optimization { cuda { graphs: true } }")
    if serving["warmup"]:
        for index, profile in enumerate(profiles):
            lines += _warmup(index, profile, inputs, batched=batch.size > 0)
    return "\n".join([*lines, *_parameters(parameters), ""])


def quoted(text: str) -> str:
    """Protobuf text of a string: quotes, backslashes and control characters are escaped."""
    escapes = {"\\": "\\\\", '"': '\\"'}
    return '"' + "".join(escapes.get(char, _printable(char)) for char in text) + '"'


def _printable(char: str) -> str:
    if char >= " " and char != "\x7f":
        return char
    return f"\\{ord(char):03o}"


def _comment(text: str) -> str:
    """A comment ends with its line, and a tensor's name may hold anything."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _version_policy(policy: Any) -> str:
    if policy == "all":
        return "version_policy { all { } }"
    if "latest" in policy:
        return f"version_policy {{ latest {{ num_versions: {policy['latest']} }} }}"
    versions = ", ".join(map(str, sorted(policy["specific"])))
    return f"version_policy {{ specific {{ versions: [ {versions} ] }} }}"


def _batches(asked: Mapping[str, Any] | None) -> Iterator[str]:
    if asked is None:
        return
    yield "dynamic_batching {"
    if sizes := sorted(asked["preferred_batch_size"]):
        yield f"  preferred_batch_size: [ {', '.join(map(str, sizes))} ]"
    yield f"  max_queue_delay_microseconds: {asked['max_queue_delay_microseconds']}"
    yield "}"


def _instances(serving: Mapping[str, Any], *, python: bool, profiles: int) -> list[str]:
    lines = ["instance_group {", f"  count: {serving['instances']}"]
    if serving["runtime"] == "onnxruntime":
        lines.append("  kind: KIND_CPU")
    elif python:
        # KIND_GPU is refused without a GPU before model.py can say what is missing.
        lines += ["  # On every GPU; without one on the CPU, where model.py says so.", _AUTO]
    else:
        lines.append("  kind: KIND_GPU")
        if profiles > 1:
            # Without names Triton uses the first profile alone; model.py chooses by itself.
            names = ", ".join(f'"{index}"' for index in range(profiles))
            lines.append(f"  profile: [ {names} ]")
    return [*lines, "}"]


_AUTO = "  kind: KIND_AUTO"


def _warmup(
    index: int,
    profile: Mapping[str, Mapping[str, Sequence[int]]],
    inputs: Tensors,
    *,
    batched: bool,
) -> Iterator[str]:
    """Zeros, since they are an index into anything; at the opt shapes, which the profile takes."""
    shapes = {tensor["name"]: list(profile[tensor["name"]]["opt"]) for tensor in inputs}
    size = min((shape[0] for shape in shapes.values()), default=1) if batched else 1
    yield "model_warmup {"
    yield f'  name: "profile {index}"'
    yield f"  batch_size: {size}"
    for tensor in inputs:
        shape = shapes[tensor["name"]]
        dims = (shape[1:] if batched else shape) or [1]
        value = f"data_type: {_TYPES[tensor['dtype']]} dims: [ {', '.join(map(str, dims))} ]"
        yield f"  inputs {{ key: {quoted(tensor['name'])} value {{ {value} zero_data: true }} }}"
    yield "}"


def _parameters(parameters: Mapping[str, str]) -> Iterator[str]:
    for key, value in sorted(parameters.items()):
        yield "parameters {"
        yield f"  key: {quoted(key)}"
        yield f"  value {{ string_value: {quoted(value)} }}"
        yield "}"


def _tensor(kind: str, tensor: Mapping[str, Any], *, batched: bool, python: bool) -> list[str]:
    name, dtype = tensor["name"], tensor["dtype"]
    if dtype not in _TYPES or (python and dtype in _NOT_IN_PYTHON):
        where = "Triton's Python backend" if dtype in _TYPES else "Triton"
        msg = f"{where} has no type for {dtype}, which {kind} {name!r} has"
        raise errors.GraphError(msg, mend=rules.MEND)
    dims = tensor["shape"][1:] if batched else tensor["shape"]
    if 0 in dims:
        msg = f"Triton refuses {kind} {name!r}: a dimension of its shape {tensor['shape']} is 0"
        raise errors.GraphError(msg, mend=rules.MEND)
    if not dims and not batched:
        msg = f"Triton has no scalars, and {kind} {name!r} is one: its shape is []"
        raise errors.GraphError(msg, mend=rules.MEND)
    lines = [
        f"{kind} {{",
        f"  name: {quoted(name)}",
        f"  data_type: {_TYPES[dtype]}",
        f"  dims: [ {', '.join(map(str, dims or [1]))} ]",
    ]
    if not dims:
        # One number for each sample: clients see [batch, 1], the plan sees [batch].
        lines.append("  reshape { shape: [ ] }")
    return [*lines, "}"]
