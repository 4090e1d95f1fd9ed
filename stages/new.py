# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Adds a model of your own to params.yaml: `make new MODEL=mine`.

Reads what lies in models/<model>/ (source/ with a model of any framework, told by its file names,
and samples/), and takes every value that the files do not tell from another model of params.yaml.
Only ONNX files are opened; other models' inputs are those of the samples, and their output is
called `output`. The result is ordinary text: edit it at will.
"""

from __future__ import annotations

import copy
import io
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from stages.lib import (
    confined,
    console,
    errors,
    files,
    graphs,
    layout,
    model_files,
    params,
    samples,
)

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

_LABELS = "label"
_PRECISIONS = ("fp32", "fp16", "int8")
# To begin with; schemas/params.schema.json says what each exporter writes.
_OPSETS = {"onnx": None, "pytorch": 22, "tensorflow": 18, "paddlepaddle": 19, "mindspore": None}


def main(model: str, like: str) -> None:
    """Write `models.<model>`, a profile and engines, with the values of `models.<like>`."""
    document = params.load()
    document.param(f"models.{like}")
    if model in document.param("models"):
        msg = f"params.yaml has a model {model!r} already"
        raise errors.ParamsError(msg, mend="edit it there, or take another name")
    yaml = _yaml()
    tree = yaml.load(layout.PARAMS.read_text(encoding="utf-8"))
    engines = {e["precision"]: e for e in tree["engines"].values() if e["model"] == like}
    added = [precision for precision in _PRECISIONS if precision in engines]
    if not added:
        msg = f"models.{like} has no engine in {', '.join(_PRECISIONS)} to take values from"
        raise errors.ParamsError(msg, mend="LIKE=<model> names another model of params.yaml")
    spec = _model(_copy(tree["models"][like]), model, like)
    # Of the largest batches, which the settings of all of them fit.
    template = max(
        (engines[precision] for precision in added),
        key=lambda engine: _largest(tree["profiles"][engine["profile"]]),
    )
    profile = _profile(spec, model, tree["profiles"][template["profile"]])
    for precision in reversed(added):
        engine = _engine(_copy(engines[precision]), model, template, spec)
        tree["engines"].insert(0, f"{model}-{precision}", engine)
    # In front: ruamel.yaml hangs the comment above a block on the block before it.
    tree["models"].insert(0, model, spec)
    tree["profiles"].insert(0, model, profile)

    for folder in (
        layout.rewrites(model),
        layout.metric(model),
        layout.timing(model),
        layout.latency(model),
        layout.caches(model),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitkeep").touch()
    text = io.StringIO()
    yaml.dump(tree, text)
    files.write_bytes(layout.PARAMS, text.getvalue().encode())
    params.load()
    _register([f"{model}-{precision}" for precision in added])
    console.say(
        f"params.yaml: models.{model}, profiles.{model}, "
        + ", ".join(f"engines.{model}-{precision}" for precision in added)
    )
    framework = spec["source"]["framework"]
    if framework != "onnx":
        console.say(
            f"inputs are those of the samples: see that {framework} takes them in this order"
        )
    console.say("look it over, then: make repro")


def _register(engines: list[str]) -> None:
    """Add packages to `artifacts:` of dvc.yaml, which DVC cannot make from params.yaml."""
    text = layout.FLOW.read_text(encoding="utf-8")
    entries = "".join(
        f"  {engine}:\n    path: {layout.package(engine)}\n    type: model\n"
        "    desc: Triton model repository entry\n"
        for engine in engines
    )
    text = text.replace("\nartifacts:\n", f"\nartifacts:\n{entries}", 1)
    files.write_bytes(layout.FLOW, text.encode())


def _yaml() -> YAML:
    """A round trip that keeps comments and layout."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(
        type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def _copy(block: Any) -> Any:
    """A deep copy, without the comment that follows the block's last value."""
    copied = copy.deepcopy(block)
    last = copied
    while isinstance(last[list(last)[-1]], CommentedMap):
        last = last[list(last)[-1]]
    last.ca.items.pop(list(last)[-1], None)
    return copied


def _model(spec: Any, model: str, like: str) -> Any:
    source = layout.model_source(model)
    found = model_files.find(source)
    if len(found) != 1:
        there = ", ".join(map(str, found)) or "none of these"
        msg = f"{source}/ must hold one model: {model_files.KINDS}. There is: {there}"
        mend = (
            f"`ls {source}`; or write models.{model} by hand, after one of params.frameworks.yaml"
        )
        raise errors.SourceModelError(msg, mend=mend)
    arrays, one = _arrays(model), found[0]
    spec["source"].update(framework=one.framework, entry=one.entry, weights=one.weights)
    for key in ("channels_first", "trusted"):
        spec["source"][key] = CommentedSeq()
    spec["opset"] = _OPSETS[one.framework]
    spec["inputs"], spec["outputs"] = CommentedMap(), CommentedSeq()
    if one.framework == "onnx":
        _from_graph(spec, source / one.entry, f"models.{like}.limits")
    else:
        for name, (shape, dtype) in arrays.items():
            if name != _LABELS:
                spec["inputs"][name] = _input(dtype, ["batch", *shape[1:]])
        spec["outputs"].append("output")
    batch = next(iter(spec["inputs"].values()))["shape"][0] if spec["inputs"] else "batch"
    if isinstance(batch, int):
        spec["observe"]["batch"] = batch  # the graph takes no other
    spec["calibrate"]["import"] = None  # the other's ranges are of another graph
    has_labels = _LABELS in arrays
    kind, output, labels = (
        ("top1", spec["outputs"][0], _LABELS) if has_labels else ("none", None, None)
    )
    spec["metric"].update(kind=kind, output=output, labels=labels, entry=None)
    return spec


def _arrays(model: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of each array of the first validation file."""
    split = samples.Split(folder=layout.samples(model, "validation"), inputs={})
    _, headers = next(iter(split.headers()))
    return headers


def _from_graph(spec: Any, path: Path, key: str) -> None:
    what = path.as_posix()
    faces = confined.run(
        lambda: _faces(path), spec["limits"], what=what, key=key, label=f"new {what}"
    )
    for name, dtype, shape in faces["inputs"]:
        spec["inputs"][name] = _input(dtype, shape)
    spec["outputs"].extend(faces["outputs"])


def _faces(path: Path) -> dict[str, Any]:
    graph = graphs.load_file(path).graph
    constant = set(graph.initializers)
    inputs = [
        (
            value.name,
            _dtype(value),
            [d if isinstance(d, int) else str(d.value) for d in value.shape],
        )
        for value in graph.inputs
        if value.name not in constant and value.dtype is not None and value.shape is not None
    ]
    return {"inputs": inputs, "outputs": [value.name for value in graph.outputs]}


def _dtype(value: ir.Value) -> str:
    try:
        return str(value.dtype.numpy()) if value.dtype is not None else "unknown"
    except TypeError:
        msg = f"the input {value.name!r} has the type {value.dtype}, which no sample can have"
        raise errors.SourceModelError(
            msg, mend="export the model with inputs of another type"
        ) from None


def _input(dtype: str, shape: list[int | str]) -> Any:
    return CommentedMap(dtype=dtype, shape=CommentedSeq(shape))


def _largest(profile: Any) -> int:
    """The largest batch of its first set of shapes."""
    return int(next(iter(profile[0].values()))["max"][0])


def _profile(spec: Any, model: str, like: Any) -> Any:
    """One set of shapes: the batch as in the other model, other open dimensions as sampled."""
    batch = {bound: next(iter(like[0].values()))[bound][0] for bound in ("min", "opt", "max")}
    arrays = _arrays(model)
    shapes = CommentedMap()
    for name, entry in spec["inputs"].items():
        sampled = arrays.get(name, ((), ""))[0]
        shapes[name] = CommentedMap()
        for bound, size in batch.items():
            dims = [
                d if isinstance(d, int) else (size if axis == 0 else sampled[axis])
                for axis, d in enumerate(entry["shape"])
            ]
            shapes[name][bound] = CommentedSeq(dims)
            shapes[name][bound].fa.set_flow_style()
    return CommentedSeq([shapes])


def _engine(engine: Any, model: str, template: Any, spec: Any) -> Any:
    first = next(iter(spec["inputs"].values()))["shape"][0]
    batch = first if isinstance(first, int) else template["validation_batch"]
    engine["overrides"].clear()  # patterns over the other's names
    engine.update(model=model, profile=model, validation_batch=batch)
    if "timing_cache" in engine["builder"]:
        engine["builder"]["timing_cache"] = "none"  # the other's tactics are of another graph
    engine["builder"]["plugins"].clear()
    engine["serving"].update(runtime="plan", version=1)
    if isinstance(first, int):
        engine["serving"]["dynamic_batching"] = None
    if spec["metric"]["kind"] == "none":
        engine["gates"]["max_accuracy_drop"] = None
    return engine


if __name__ == "__main__":
    console.run("new", main, "model", "like")
