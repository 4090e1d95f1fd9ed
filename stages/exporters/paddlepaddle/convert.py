# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""From a program to a graph by paddle2onnx, and what its refusals mean.

It does not say which operations it lacks, nor where they are: version 2.1.0 ends its sentence
before the names. So a refused program is tried again in parts.

It reads no attribute of type double where it expects a float, and takes whatever its stack holds
(https://github.com/PaddlePaddle/Paddle2ONNX/issues/1646): padding, epsilon and slope of Paddle 3.3
would be random. So they are floats in the copy that it gets.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paddle2onnx
from paddle.base import core

from stages.exporters.paddlepaddle import attempt
from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNSUPPORTED = "unsupported operators"
_NEEDED = re.compile(r"Please set the opset_version to (\d+)")
_NEEDY = re.compile(r"Due to the operator: (\S+) requires opset_version")
_INPUTS = ("1.data", "1.feed")
_DIALECTS = {"0": "builtin", "1": "pd_op", "2": "cf"}
_DOUBLE, _FLOAT = "0.a_f64", "0.a_f32"
# Scalars, of pd_op.full and the like, which it reads of any type.
_SCALARS = ("value", "values")
_MEND = "compute it by other operations in forward(), and export the Paddle model again"


def convert(pir: Any, weights: Path | None, opset: int, folder: Path, name: str) -> None:
    """Write a graph into `folder`, as `attempt.run` does.

    Args:
        pir: Paddle's program.
        weights: its parameters; None for none.
        opset: the exact opset.
        folder: is there.
        name: what messages call the program.

    Raises:
        SourceModelError: paddle2onnx refuses it; the message names operations where it can.
        MemoryError: it needs more memory than it may have.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "program.json"
        core.serialize_pir_program(pir, str(path))
        document = json.loads(path.read_bytes())
        for op in _within(_main(document)):
            _narrow(op)
        path.write_text(json.dumps(document), encoding="utf-8")
        refusal = attempt.run(path, weights, opset, folder)
    if refusal is not None:
        raise _refused(document, weights, opset, name, refusal)


def _narrow(op: dict[str, Any]) -> None:
    for attribute in op["A"]:
        if attribute["N"] not in _SCALARS:
            held = attribute["AT"]
            for one in held["D"] if isinstance(held.get("D"), list) else [held]:
                if isinstance(one, dict) and one.get("#") == _DOUBLE:
                    one["#"] = _FLOAT


def _refused(
    document: dict[str, Any], weights: Path | None, opset: int, name: str, refusal: attempt.Refusal
) -> errors.SourceModelError:
    said = f"paddle2onnx {paddle2onnx.__version__} cannot convert {name}"
    if needed := _NEEDED.search(refusal.text):
        by = ", ".join(sorted(set(_NEEDY.findall(refusal.text)))) or "an operation"
        msg = f"{said} to opset {opset}: {by} needs opset {needed[1]}"
        return errors.SourceModelError(msg, mend=f"set models.<m>.opset to {needed[1]} or more")
    if _UNSUPPORTED in refusal.reasons[-1]:
        lacking = "; ".join(_unsupported(document, opset)) or "it does not say which"
        msg = f"{said}, which has operations that it does not support: {lacking}"
    else:
        place = _culprit(document, weights, opset, refusal)
        msg = f"{said}: {'; '.join(refusal.reasons)}{place}"
    return errors.SourceModelError(msg, mend=_MEND)


def _unsupported(document: dict[str, Any], opset: int) -> Iterator[str]:
    """Each kind of operation that is refused alone, and where the program has it first."""
    main, seen = _main(document), set(_INPUTS)
    feed = next(op for op in main if op["#"] in _INPUTS)
    for op in _within(main):
        if op["#"] in seen or "regions" in op:
            continue
        seen.add(op["#"])
        # Whatever it takes is this input here, which its name's check does not look at.
        taken = [{"%": feed["O"][0]["%"]} for _ in op["I"]]
        refusal = _try([feed, op | {"I": taken}], document, None, opset)
        if refusal is not None and _UNSUPPORTED in refusal.reasons[-1]:
            yield _shown(op)


def _culprit(
    document: dict[str, Any], weights: Path | None, opset: int, refusal: attempt.Refusal
) -> str:
    """The operation up to which the program must go to be refused for that reason."""
    ops = _main(document)
    least, most = 0, len(ops)
    while most - least > 1:
        middle = (least + most) // 2
        found = _try(ops[:middle], document, weights, opset)
        if found is not None and found.reasons[-1] == refusal.reasons[-1]:
            most = middle
        else:
            least = middle
    if "I" not in ops[most - 1]:  # a parameter: it is nothing in the program
        return ""
    return f" (at {_shown(ops[most - 1])})"


def _try(
    ops: list[Any], document: dict[str, Any], weights: Path | None, opset: int
) -> attempt.Refusal | None:
    block = document["program"]["regions"][0]["blocks"][0] | {"ops": ops}
    region = document["program"]["regions"][0] | {"blocks": [block]}
    part = document | {"program": document["program"] | {"regions": [region]}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.json"
        path.write_text(json.dumps(part), encoding="utf-8")
        return attempt.run(path, weights, opset, Path(folder))


def _main(document: dict[str, Any]) -> list[Any]:
    ops: list[Any] = document["program"]["regions"][0]["blocks"][0]["ops"]
    return [op for op in ops if op]


def _within(ops: list[Any]) -> Iterator[Any]:
    """Every operation, those of branches and loops included; parameters have no inputs."""
    for op in ops:
        if "I" in op:
            yield op
        for region in op.get("regions", []):
            for block in region["blocks"]:
                yield from _within(block["ops"])


def _shown(op: dict[str, Any]) -> str:
    dialect, _, name = op["#"].partition(".")
    layer = next((one["AT"]["D"] for one in op.get("A", []) if _is_layer(one)), None)
    values = ", ".join(f"%{out['%']} {_sizes(out)}".strip() for out in op.get("O", []))
    within = f" of the layer {layer}" if layer else ""
    return f"{_DIALECTS.get(dialect, dialect)}.{name}{within}, which makes {values or 'nothing'}"


def _is_layer(attribute: Any) -> bool:
    return isinstance(attribute, dict) and attribute.get("N") == "struct_name"


def _sizes(out: dict[str, Any]) -> str:
    described = out.get("TT", {}).get("D")
    return str(described[1]) if isinstance(described, list) and len(described) > 1 else ""
