# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What an engine says of its layers, and what they took: precisions, and times by node.

The JSON is that of TensorRT's engine inspector (developer guide, "Engine Inspector", and trtexec's
`--exportLayerInfo`): with profiling verbosity DETAILED a layer is an object, with LAYER_NAMES_ONLY,
the default, its name alone. NVIDIA promises no format, so what is not understood is null with the
reason, never a failure.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from stages.lib import console, files, layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    Table = dict[str, dict[str, float]]

SOURCE = "engine inspector"
_WORDS = {
    **dict.fromkeys(("fp32", "float", "float32"), "fp32"),
    **dict.fromkeys(("fp16", "half", "float16"), "fp16"),
    **dict.fromkeys(("bf16", "bfloat16"), "bf16"),
    **dict.fromkeys(("fp8", "float8", "e4m3"), "fp8"),
    "int8": "int8",
}
_QUANTIZED = frozenset({"int8", "fp8"})
# They move or hold values, and compute nothing.
_MOVES = frozenset({"Constant", "NoOp", "Reformat", "Shuffle"})
_ONNX = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_COPY = re.compile(r"^Reformatting CopyNode for (?:Input|Output) Tensor \d+ to ")
_JOIN = " + "
_FIGURES = ("count", "layers", "inputs", "outputs", "compute")


def parse(text: str) -> list[dict[str, Any]]:
    """The layers that the inspector lists; none where its text is not understood.

    Returns:
        Objects as they are; a name alone becomes {"Name": name}.
    """
    try:
        # Metadata are separated by control characters, which strict JSON forbids.
        document = json.loads(text, strict=False)
    except ValueError:
        return []
    listed = document.get("Layers") if isinstance(document, dict) else None
    found = []
    for entry in listed if isinstance(listed, list) else []:
        layer = entry if isinstance(entry, dict) else {"Name": entry}
        if isinstance(layer.get("Name"), str):
            found.append(layer)
    return found


def summary(layers: list[dict[str, Any]], macs: Mapping[str, int]) -> dict[str, Any]:
    """Layers of an engine by precision.

    A layer that holds a product and reads int8 or fp8 has that precision, any other the one that
    it writes. `inputs` and `outputs` count layers by the type of their first float tensor; layers
    that only move or hold values count in `count` alone.

    Args:
        layers: as `parse` gives them.
        macs: multiply-accumulates by node name.

    Returns:
        {"source", "count", "layers", "inputs", "outputs", "compute": share of multiply-accumulates
        by precision, "reason": why a figure is null, else null}.
    """
    found: dict[str, Any] = {"source": SOURCE, **dict.fromkeys(_FIGURES), "reason": None}
    if not layers:
        return {**found, "reason": "the inspector lists no layers, or in a form not known here"}
    found["count"] = len(layers)
    if all(set(layer) == {"Name"} for layer in layers):
        reason = (
            "the engine holds names of layers only; one of the backend tensorrt holds more where"
            " builder.profiling_verbosity is detailed"
        )
        return {**found, "reason": reason}
    counts: dict[str, Counter[str]] = {key: Counter() for key in ("layers", "inputs", "outputs")}
    work: Counter[str] = Counter()
    for layer in layers:
        read, written = _type(layer.get("Inputs")), _type(layer.get("Outputs"))
        if layer.get("LayerType") in _MOVES:
            continue
        products = sum(macs.get(name, 0) for name in nodes(layer, macs))
        own = read if read in _QUANTIZED and products else written
        for key, precision in (("layers", own), ("inputs", read), ("outputs", written)):
            if precision is not None:
                counts[key][precision] += 1
        if own is not None:
            work[own] += products
    if not counts["layers"]:
        return {**found, "reason": "no layer names a type that is known here"}
    found |= {key: dict(sorted(count.items())) for key, count in counts.items()}
    if total := work.total():
        shares = {name: round(part / total, 6) for name, part in sorted(work.items()) if part}
        return {**found, "compute": shares}
    return {**found, "reason": "compute: no layer names a convolution or product of the graph"}


def _type(tensors: Any) -> str | None:
    """Precision of the first float tensor of a list."""
    for tensor in tensors if isinstance(tensors, list) else []:
        text = tensor.get("Format/Datatype") if isinstance(tensor, dict) else None
        for word in re.findall(r"[a-z]+\d*", str(text).lower()):
            if word in _WORDS:
                return _WORDS[word]
    return None


def nodes(layer: Mapping[str, Any], known: Iterable[str]) -> list[str]:
    """The nodes that a layer runs, by its metadata, else by its name (`a + b`).

    Names that are not in `known` are left out. A reformatting belongs to the layer that it serves.
    """
    metadata, names = layer.get("Metadata"), set(known)
    listed = _ONNX.findall(metadata) if isinstance(metadata, str) else []
    listed = listed or _ONNX.findall(layer["Name"])
    listed = listed or _COPY.sub("", layer["Name"]).split(_JOIN)
    return [name for name in dict.fromkeys(listed) if name in names]


def table(
    times: Mapping[str, float],
    layers: list[dict[str, Any]],
    precisions: Mapping[str, str],
    macs: Mapping[str, int],
) -> Table:
    """Milliseconds by node and precision.

    A layer's time is shared among its nodes by multiply-accumulates, equally where none has any:
    what is fused with a convolution costs nothing.

    Args:
        times: milliseconds by layer name.
        layers: as `parse` gives them; they know the nodes of names that the compiler made up.
        precisions: the precision in which each node of the typed graph computes.
        macs: multiply-accumulates by node name.
    """
    known = {layer["Name"]: layer for layer in layers}
    timed = [name for name, precision in precisions.items() if precision != "fp64"]  # no choice
    found: Table = {}
    for name, milliseconds in times.items():
        members = nodes(known.get(name, {"Name": name}), timed)
        total = sum(macs.get(member, 0) for member in members)
        for member in members:
            share = macs.get(member, 0) / total if total else 1 / len(members)
            row = found.setdefault(member, {})
            precision = precisions[member]
            row[precision] = row.get(precision, 0.0) + milliseconds * share
    return found


def merge(tables: Iterable[Table]) -> Table:
    """Several engines of one model as one table; the smaller time where two tell one."""
    merged: Table = {}
    for one in tables:
        for name, times in one.items():
            row = merged.setdefault(name, {})
            for precision, milliseconds in times.items():
                row[precision] = min(milliseconds, row.get(precision, milliseconds))
    return merged


def tabulate(
    engine: str, engines: Mapping[str, Mapping[str, Any]], device: str, own: Table
) -> None:
    """Write an engine's table, and one of all engines of its model with its profiles.

    An empty table removes what an earlier run left. Tables of other GPUs are not merged.
    """
    layout.engine_latency(engine).unlink(missing_ok=True)
    if not own:
        console.say(f"device {engine}: no latency table, as `layer_times` of the evidence says")
        return
    _write(layout.engine_latency(engine), device, own)
    model, tables = engines[engine]["model"], {}
    for name, other in engines.items():
        path = layout.engine_latency(name)
        same = all(other[key] == engines[engine][key] for key in ("model", "profile"))
        if same and path.exists() and (read := files.read_json(path))["device"] == device:
            tables[name] = read["layers"]
    path = layout.model_latency(model)
    _write(path, device, merge(tables.values()))
    console.say(f"latency table of {', '.join(tables)} -> {path}; for `auto` to use it:")
    console.say(f"cp {path} {layout.latency(model)}/<file>.json, and `objective: <file>.json`")


def _write(path: Path, device: str, layers: Table) -> None:
    files.write_json(path, {"schema_version": 1, "device": device, "layers": layers})
