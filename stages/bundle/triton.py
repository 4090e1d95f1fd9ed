# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Triton's config.pbtxt, from what `build` recorded about the plan.

Format: protobuf text of inference.ModelConfig (triton-inference-server/common,
protobuf/model_config.proto); what the server itself refuses is refused here, with its reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Tensors = Sequence[Mapping[str, Any]]
    Profiles = Sequence[Mapping[str, Mapping[str, Sequence[int]]]]

# Triton's TensorRT backend loads TensorRT's own plans alone; tensorrt_rtx is run from Python.
_BACKENDS = {"ftrt": "tensorrt", "vtrt": "python"}

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

_MEND = "change the source model or `outputs` and `inputs` in params.yaml, then `dvc repro`"


def backend(magic: str) -> str:
    """Triton's backend for a plan, by the plan's first four bytes.

    Raises:
        GraphError: Triton has none.
    """
    if magic not in _BACKENDS:
        msg = f"Triton has no backend for a plan that begins with {magic!r}"
        raise errors.GraphError(
            msg, mend="set engines.<engine>.backend to tensorrt_rtx or tensorrt"
        )
    return _BACKENDS[magic]


def max_batch_size(inputs: Tensors, outputs: Tensors, profiles: Profiles) -> int:
    """Largest batch that Triton may send, or 0 if Triton shall not batch.

    With a size above 0 Triton adds a leading axis to every input and output, sends any size from 1
    on, and counts samples by it. So it is above 0 only if

    - every input and output has a dynamic leading axis: a fixed one cannot take another size;
    - in each profile that axis runs over the same sizes for all inputs;
    - together the profiles take every size from 1 to the largest.

    Otherwise clients send whole shapes, and the plan's own profiles are what is checked. A
    one-shape profile of batch 1 over a dynamic axis gives 1.
    """
    if any(tensor["shape"][:1] != [-1] for tensor in [*inputs, *outputs]):
        return 0
    reach = 0
    spans = [_span(profile) for profile in profiles]
    for span in sorted(span or (0, 0) for span in spans):
        if span == (0, 0) or span[0] > reach + 1:
            return 0
        reach = max(reach, span[1])
    return reach


def _span(profile: Mapping[str, Mapping[str, Sequence[int]]]) -> tuple[int, int] | None:
    spans = {(shapes["min"][0], shapes["max"][0]) for shapes in profile.values()}
    return spans.pop() if len(spans) == 1 else None


def config(
    name: str,
    magic: str,
    *,
    inputs: Tensors,
    outputs: Tensors,
    profiles: Profiles,
    parameters: Mapping[str, str],
) -> str:
    """The text of config.pbtxt.

    Args:
        name: Triton's model name: the engine's key.
        magic: first four bytes of the plan.
        inputs: {"name", "dtype" (numpy's name), "shape" (-1 where dynamic)}, in order.
        outputs: likewise.
        profiles: by input name, {"min", "opt", "max"}.
        parameters: what people and model.py shall find under `parameters`.

    Raises:
        GraphError: Triton cannot take a name, dtype or shape.
    """
    served_by = backend(magic)
    _check_names([*inputs, *outputs])
    size = max_batch_size(inputs, outputs, profiles)
    if served_by == "python":
        # model.py reads NumPy arrays, which exist on the host alone.
        parameters = {**parameters, "FORCE_CPU_ONLY_INPUT_TENSORS": "yes"}
    lines = [
        "# Made from the inputs, outputs and profiles that `build` recorded.",
        f"name: {quoted(name)}",
        f'backend: "{served_by}"',
        f"max_batch_size: {size}",
    ]
    if served_by == "tensorrt":
        lines.append('default_model_filename: "model.plan"')
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for tensor in tensors:
            lines += _tensor(kind, tensor, batched=size > 0, python=served_by == "python")
    lines += _instances(served_by, len(profiles))
    for key, value in sorted(parameters.items()):
        lines += [
            "parameters {",
            f"  key: {quoted(key)}",
            f"  value {{ string_value: {quoted(value)} }}",
            "}",
        ]
    return "\n".join([*lines, ""])


def quoted(text: str) -> str:
    """Protobuf text of a string: quotes, backslashes and control characters are escaped."""
    escapes = {"\\": "\\\\", '"': '\\"'}
    return '"' + "".join(escapes.get(char, _printable(char)) for char in text) + '"'


def _printable(char: str) -> str:
    if char >= " " and char != "\x7f":
        return char
    return f"\\{ord(char):03o}"


def _instances(served_by: str, profiles: int) -> list[str]:
    lines = ["instance_group {", "  kind: KIND_GPU"]
    if served_by == "tensorrt" and profiles > 1:
        # Without names Triton uses the first profile alone; model.py chooses by itself.
        lines.append("  profile: [ " + ", ".join(f'"{index}"' for index in range(profiles)) + " ]")
    return [*lines, "}"]


def _tensor(kind: str, tensor: Mapping[str, Any], *, batched: bool, python: bool) -> list[str]:
    name, dtype = tensor["name"], tensor["dtype"]
    if dtype not in _TYPES or (python and dtype in _NOT_IN_PYTHON):
        where = "Triton's Python backend" if dtype in _TYPES else "Triton"
        msg = f"{where} has no type for {dtype}, which {kind} {name!r} has"
        raise errors.GraphError(msg, mend=_MEND)
    dims = tensor["shape"][1:] if batched else tensor["shape"]
    if 0 in dims:
        msg = f"Triton refuses {kind} {name!r}: a dimension of its shape {tensor['shape']} is 0"
        raise errors.GraphError(msg, mend=_MEND)
    if not dims and not batched:
        msg = f"Triton has no scalars, and {kind} {name!r} is one: its shape is []"
        raise errors.GraphError(msg, mend=_MEND)
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


def _check_names(tensors: Tensors) -> None:
    names = [tensor["name"] for tensor in tensors]
    for name in names:
        if not name or "\0" in name or any("\ud800" <= char <= "\udfff" for char in name):
            msg = f"Triton cannot take the tensor name {name!r}: empty, or no C string in UTF-8"
            raise errors.GraphError(msg, mend=_MEND)
        if names.count(name) > 1:
            msg = f"two inputs or outputs are called {name!r}: Triton cannot tell them apart"
            raise errors.GraphError(msg, mend=_MEND)
