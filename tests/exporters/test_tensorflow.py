# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""TensorFlow sources: names, layouts, the transposes that they bring, and what is refused."""

from __future__ import annotations

import collections
import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from stages.lib import environments, errors, graphs, layout
from stages.lib import params as params_file
from tests import conftest
from tests import graphs_zoo as zoo

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DIGITS = ROOT / "models" / "digits-tensorflow"
IMAGE = {"image": {"dtype": "float32", "shape": ["batch", 3, 12, 12]}}
VECTOR = {"x": {"dtype": "float32", "shape": ["batch", 4]}}
SERIES = {"x": {"dtype": "float32", "shape": ["batch", 5, 4]}}
PAIR = dict.fromkeys(("left", "right"), VECTOR["x"])


def run(*words: str | Path, seed: str = "0") -> None:
    """Run a script with the exporter's interpreter."""
    python = environments.interpreter("tensorflow", {})
    variables = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": seed, "HOME": str(words[-1])}
    variables["TF_ENABLE_ONEDNN_OPTS"] = "0"  # as in the exporter: oneDNN has kernels for NCHW
    done = subprocess.run(
        [python, "-s", "-B", *words], env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]


def image(*sizes: int | str) -> dict[str, Any]:
    return {"image": {"dtype": "float32", "shape": list(sizes)}}


def case(entry: str, inputs: dict[str, Any], outputs: list[str], **changes: Any) -> dict[str, Any]:
    """An order, and where `refused` or `counts` says so what must come of it."""
    kept = {"weights": None, "opset": 17, "channels_first": ["image"] if "image" in inputs else []}
    return {"entry": entry, "inputs": inputs, "outputs": outputs, **kept, **changes}


def net(name: str, opset: int) -> dict[str, Any]:
    both = ["image", "y"] if name == "upsample" else ["image"]
    return case(name, IMAGE, ["y"], opset=opset, channels_first=both)


# Transposes that tf2onnx 1.17 leaves at opset 17 and at 18; ours leaves none.
NETS = {
    "plain": (0, 1), "residual": (0, 1), "upsample": (2, 2), "depthwise": (0, 1),
    "flatten": (1, 1), "attention": (2, 3), "split": (2, 2), "one": (0, 1), "three": (0, 0),
    "gated": (5, 5), "grouped": (2, 3), "normalized": (1, 1), "enlarged": (2, 2),
    "longer": (2, 2), "longest": (2, 2),
}  # fmt: skip
OPSETS = (17, 18)
SIDES = image("batch", 3, "height", "width")
OTHERS = {
    "enlarged": case("enlarged", SIDES, ["y"], channels_first=["image", "y"]),
    "longer": case("longer", image("batch", 4, 12), ["y"], channels_first=["image", "y"]),
    "longest": case("longest", image("batch", 4, "length"), ["y"], channels_first=["image", "y"]),
    "split": case("split", image("batch", 12, 6, 6), ["out"], channels_first=["image", "out"]),
    "one": case("one", image("batch", 4, 12), ["y"]),
    "three": case("three", image("batch", 2, 8, 8, 8), ["y"], channels_first=["image", "y"]),
}
FOLDED = {
    f"{name}-{opset}{bare}": OTHERS.get(name, net(name, opset)) | {"opset": opset}
    for name in NETS
    for opset in OPSETS
    for bare in ("", "-bare")
}
GOOD = {
    "oldest": net("plain", 13),
    "sides": case("sides", SIDES, ["y"]),
    "tiled": case("tiled", SIDES, ["y"], channels_first=["image", "y"]),
    "skipping": net("skipping", 17),
    "fixed": case("sides", image(2, 3, 10, 14), ["y"]),
    "nhwc": case("plain", image("batch", 12, 12, 3), ["y"], channels_first=[]),
    "keras": case("plain.keras", SIDES, ["y"]),
    "pair": case("pair.keras", PAIR, ["clipped", "total"]),
    "pair-h5": case("pair.h5", PAIR, ["total", "clipped"]),
    "named": case("named.keras", PAIR, ["a", "b"]),
    "scaled": case("scaled.keras", PAIR, ["y"]),
    "chain": case("chain.keras", VECTOR, ["y"]),
    "chain-h5": case("chain.h5", VECTOR, ["y"]),
    "sequence": case("sequence", SERIES, ["y"]),
    "first": case("first", image("batch", 3, 8, 8), ["y"], channels_first=[]),
    "signature": case("several:triple", VECTOR, ["y"]),
    "unread": case("unread", {"unread": VECTOR["x"], **VECTOR}, ["y"]),
    "old": case("old", VECTOR, ["y"]),
    "code": case("code.keras", VECTOR, ["y"], trusted=["code.keras"]),
    "code-h5": case("code.h5", VECTOR, ["y"], trusted=["code.h5"]),
    "writing": case("writing", VECTOR, ["y"], trusted=["writing/saved_model.pb"]),
}
FLAT = image("batch", 12, 12, 3)
WRONG = {"x": {"dtype": "float32", "shape": ["batch", 5]}}
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "absent": (
        case("nothing", VECTOR, ["y"]),
        r"source/nothing is not there",
        "SavedModel's folder",
    ),
    "other-file": (
        case("net.onnx", VECTOR, ["y"]),
        "neither the folder of a SavedModel",
        "framework: onnx",
    ),
    "lite": (
        case("net.tflite", VECTOR, ["y"]),
        "neither the folder of a SavedModel",
        "Lite has lost",
    ),
    "inner-file": (
        case("plain/saved_model.pb", IMAGE, ["y"]),
        "neither the folder",
        "folder that it lies in",
    ),
    "paddle": (case("paddle", VECTOR, ["y"]), "has no saved_model.pb", "paddlepaddle"),
    "checkpoint": (
        case("checkpoint", VECTOR, ["y"]),
        "has no saved_model.pb",
        "a checkpoint has weights",
    ),
    "served": (
        case("served", IMAGE, ["y"]),
        "has no saved_model.pb",
        r"folder below: \S+/source/served/1",
    ),
    "cut-graph": (
        case("cut-graph", VECTOR, ["y"]),
        r"saved_model.pb is no SavedModel, or is truncated \(\d+ bytes\)",
        "again",
    ),
    "cut-keras": (
        case("cut.keras", VECTOR, ["y"]),
        r"cut.keras is not a Keras file, or is truncated",
        "again",
    ),
    "cut-h5": (case("cut.h5", VECTOR, ["y"]), r"could not be loaded by Keras 3\S*: ", "again"),
    "no-index": (
        case("no-index", VECTOR, ["y"]),
        "variables lacks variables.index",
        "whole folder",
    ),
    "no-data": (
        case("no-data", VECTOR, ["y"]),
        r"lacks variables.data-00000-of-00001",
        "whole folder",
    ),
    "cut-data": (
        case("cut-data", VECTOR, ["y"]),
        r"could not be loaded by TensorFlow \S+: ",
        "copy all of",
    ),
    "which": (
        case("several", VECTOR, ["y"]),
        "no signature serving_default; it has: double, triple",
        "entry: several:double",
    ),
    "no-such": (
        case("several:quad", VECTOR, ["y"]),
        "no signature quad; it has: double, triple",
        "several:double",
    ),
    "unsigned": (case("without", VECTOR, ["y"]), "has no signatures", "signatures="),
    "keras-signature": (
        case("plain.keras:a", IMAGE, ["y"]),
        "has no signature 'a'",
        "the file alone",
    ),
    "names": (
        case("pair.keras", VECTOR, ["y"]),
        r"model: +right float32 \[\?, 4\], left float32 \[\?, 4\]\n  params.yaml: x",
        "models.<m>.inputs",
    ),
    "outputs": (
        case("pair.keras", PAIR, ["total", "y"]),
        r"outputs of .*\n  model: +total float32 \[\?, 4\], clipped",
        "models.<m>.outputs",
    ),
    "size": (
        case("unread", {**WRONG, "unread": VECTOR["x"]}, ["y"]),
        r"params.yaml: x float32 \['batch', 5\]",
        "models.<m>.inputs",
    ),
    "fixed-size": (
        case("plain", image("batch", 3, "height", 12), ["y"]),
        r"image float32 \[\?, 12, 12, 3\]",
        "models.<m>.inputs",
    ),
    "dtype": (
        case("old", {"x": VECTOR["x"] | {"dtype": "int32"}}, ["y"]),
        r"x float32 \[\?, 4\]\n.*x int32",
        "models.<m>.inputs",
    ),
    "unturned": (
        case("plain", IMAGE, ["y"], channels_first=[]),
        "are not what params.yaml says",
        r"add image to .*channels-last",
    ),
    "turned": (
        case("plain", FLAT, ["y"]),
        "are not what params.yaml says",
        "take image out of .*channels_first",
    ),
    "no-channels": (
        case("old", VECTOR, ["y"], channels_first=["x"]),
        "x in channels_first has rank 2, not 3 to 5",
        "take x out",
    ),
    "strange": (
        case("old", VECTOR, ["y"], channels_first=["z"]),
        "channels_first names z: neither",
        "takes of: x, y",
    ),
    "text": (
        case("text", {"x": {"dtype": "string", "shape": ["batch"]}}, ["y"]),
        "input x holds text",
        "text preprocessing",
    ),
    "unknown": (
        case("unknown", VECTOR, ["y"]),
        r"tf2onnx 1\.17\.\d, opset 17 does not know:\n  Lgamma at \S+\n  Digamma at \S+",
        "other operators",
    ),
    "unknown-newest": (
        case("unknown", VECTOR, ["y"], opset=18),
        "opset 18 does not know",
        r"those that it knows\)$",  # no higher opset
    ),
    "halved": (
        case("halved", SERIES, ["y"]),
        r"computes in bfloat16, .*\n  \w+ at \S+",
        "save it in float32",
    ),
    "random": (
        case("random", VECTOR, ["y"]),
        r"draws random numbers .*\n  RandomUniform\w* at \S+",
        "no dropout",
    ),
    "older": (
        case("older.h5", PAIR, ["total", "clipped"]),
        r"older.h5 of Keras 2\.15\.0 could not be loaded by Keras 3\S+: .*time_major",
        r"where it was made, and write model.export",
    ),
    "weights-alone": (
        case("alone.weights.h5", VECTOR, ["y"]),
        "could not be loaded by Keras .*No model config",
        "weights alone",
    ),
    "counting": (
        case("counting", VECTOR, ["y"]),
        r"changes variables .*\n  AssignAddVariableOp at",
        "for inference",
    ),
    "failing": (
        case("failing", VECTOR, ["y"]),
        "the model itself failed on the probe samples: InvalidArg",
        "by hand",
    ),
    "untrusted": (
        case("code.keras", VECTOR, ["y"]),
        "brings Python code .* refused",
        r"\{file: code.keras, sha256: [0-9a-f]{64}\}",
    ),
    "untrusted-h5": (
        case("code.h5", VECTOR, ["y"]),
        "brings Python code .* refused",
        r"\{file: code.h5, sha256: [0-9a-f]{64}\}",
    ),
    "untrusted-below": (
        case("deep/code.keras", VECTOR, ["y"]),
        "brings Python code .* refused",
        r"\{file: deep/code.keras, sha256: [0-9a-f]{64}\}",
    ),
    "untrusted-call": (
        case("writing", VECTOR, ["y"]),
        r"more than compute .* is not trusted:\n  WriteFile at \S+",
        r"\{file: writing/saved_model.pb, sha256: [0-9a-f]{64}\}",
    ),
    "untrusted-load": (
        case("beginning", VECTOR, ["y"]),
        r"more than compute .* is not trusted:\n  WriteFile at \S+",
        r"\{file: beginning/saved_model.pb, sha256: [0-9a-f]{64}\}",
    ),
    "other-code": (
        case("code.keras", VECTOR, ["y"], trusted={"code.keras": "0" * 64}),
        r"its SHA-256: +[0-9a-f]{64}\n  in params.yaml: +0{64}",
        "look at the file",
    ),
    "mine": (
        case("mine.keras", VECTOR, ["y"]),
        r"could not be loaded by Keras \S+: [^.]*Could not locate class 'Mine'$",
        r"model.export\(<folder>\) there",
    ),
}


@dataclass(frozen=True)
class Answers:
    """What the exporter made of the orders: folders of graphs, and its complaints."""

    results: Path
    said: dict[str, Any]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Source models, sound ones and damaged ones."""
    folder = tmp_path_factory.mktemp("tensorflow") / "source"
    folder.mkdir()
    run(HERE / "tensorflow_models.py", folder)
    for name in ("net.onnx", "net.tflite"):
        (folder / name).write_bytes(b"x")
    (folder / "paddle").mkdir()
    (folder / "paddle" / "inference.json").write_text("{}")
    shutil.copytree(folder / "plain", folder / "served" / "1")
    (folder / "deep").mkdir()
    shutil.copy(folder / "code.keras", folder / "deep")
    weights = "variables/variables.data-00000-of-00001"
    for name, file in (("no-index", "variables/variables.index"), ("no-data", weights)):
        shutil.copytree(folder / "weights", folder / name)
        (folder / name / file).unlink()
    for name, file in (("cut-graph", "saved_model.pb"), ("cut-data", weights)):
        shutil.copytree(folder / "weights", folder / name)
        cut(folder / name / file)
    for suffix in ("keras", "h5"):
        cut(Path(shutil.copy(folder / f"pair.{suffix}", folder / f"cut.{suffix}")))
    return folder


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.fixture(scope="module")
def answers(sources: Path) -> Answers:
    orders = FOLDED | GOOD | {name: told for name, (told, _, _) in REFUSED.items()}
    return answer(sources, orders)


def answer(sources: Path, orders: dict[str, dict[str, Any]], **how: str) -> Answers:
    results = sources.with_name(f"results-{len(list(sources.parent.iterdir()))}")
    results.mkdir()
    for told in orders.values():
        told["source"] = str(sources)
        if isinstance(told.get("trusted"), list):
            told["trusted"] = {name: digest(sources / name) for name in told["trusted"]}
    (results / "orders.json").write_text(json.dumps(orders))
    run(HERE / "tensorflow_driver.py", ROOT, results / "orders.json", results, **how)
    return Answers(results, json.loads((results / "said.json").read_text()))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def same(answers: Answers, name: str) -> onnx.ModelProto:
    """The graph, which is valid and computes what the source does, at each of several sizes."""
    assert answers.said[name] is None
    folder = answers.results / name
    proto = onnx.load(folder / layout.GRAPH_FILE)
    onnx.checker.check_model(proto, full_check=True)
    files = sorted(folder.glob("inputs-*.npz"))
    assert len(files) > 1
    for file in files:
        outputs = file.with_name(file.name.replace("inputs", "outputs"))
        with np.load(file) as given, np.load(outputs) as wanted:
            places = zip(proto.graph.input, given.values(), strict=True)
            found = zoo.infer(proto, {value.name: array for value, array in places})
            for value, expected in zip(proto.graph.output, wanted.values(), strict=True):
                np.testing.assert_allclose(found[value.name], expected, rtol=1e-4, atol=1e-5)
    return proto


def shape(value: onnx.ValueInfoProto) -> list[int | str]:
    return [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("name", NETS)
def test_transposes_of_channels_last_are_folded(answers: Answers, name: str, opset: int) -> None:
    def count(proto: onnx.ModelProto) -> int:
        return collections.Counter(node.op_type for node in proto.graph.node)["Transpose"]

    proto = same(answers, f"{name}-{opset}")
    bare = onnx.load(answers.results / f"{name}-{opset}-bare" / layout.GRAPH_FILE)
    assert (count(bare), count(proto)) == (NETS[name][OPSETS.index(opset)], 0)
    assert shape(proto.graph.output[0])[0] == "batch"


@pytest.mark.parametrize("name", GOOD)
def test_the_graph_computes_what_the_source_does(answers: Answers, name: str) -> None:
    proto = same(answers, name)
    wanted = [spec["shape"] for spec in GOOD[name]["inputs"].values()]
    assert [shape(value) for value in proto.graph.input] == wanted
    assert shape(proto.graph.output[0])[0] == next(iter(wanted))[0]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported(answers: Answers, name: str) -> None:
    _, what, mend = REFUSED[name]
    said = answers.said[name]
    with pytest.raises(errors.SourceModelError, match=what):
        raise errors.SourceModelError(said["what"], mend=said["mend"])
    with pytest.raises(errors.SourceModelError, match=mend):
        raise errors.SourceModelError(said["mend"], mend="")


def test_only_what_is_trusted_writes_files(sources: Path, answers: Answers) -> None:
    assert answers.said["untrusted-load"] is not None
    assert not (sources / "written-at-load").exists()
    assert (sources / "written-by-call").exists()  # the threat is real


def test_bytes_follow_from_the_model_alone(sources: Path, answers: Answers) -> None:
    names = [name for name in FOLDED if name.endswith("-17")]
    again = answer(sources, {name: FOLDED[name] for name in names}, seed="0")
    for name in names:
        made, other = (one.results / name / layout.GRAPH_FILE for one in (answers, again))
        assert made.read_bytes() == other.read_bytes(), name


@pytest.fixture
def digits(project: conftest.Project) -> conftest.Project:
    """The project, with the demo model of TensorFlow in the place of the tiny one."""
    home = project.root / "models" / conftest.MODEL
    for name in ("source", "samples"):
        shutil.rmtree(home / name)
        shutil.copytree(DIGITS / name, home / name)
    if not (project.root / layout.LOCKS).exists():
        (project.root / layout.LOCKS).symlink_to(ROOT / layout.LOCKS)
    model = f"models.{conftest.MODEL}"
    source = {"framework": "tensorflow", "entry": "saved_model", "channels_first": ["image"]}
    project.set(f"{model}.source", project.params()["models"][conftest.MODEL]["source"] | source)
    project.set(f"{model}.inputs", image("batch", 1, 8, 8))
    project.set(f"{model}.opset", 17)
    profile = {"min": [1, 1, 8, 8], "opt": [16, 1, 8, 8], "max": [64, 1, 8, 8]}
    project.set(f"profiles.{conftest.MODEL}", [{"image": profile}])
    return project


def test_the_demo_model_passes_the_stages(digits: conftest.Project) -> None:
    made = []
    for _ in range(2):
        done = digits.run("export", conftest.MODEL)
        assert done.returncode == 0, done.stderr
        assert "parity passed" in done.stdout + done.stderr
        made.append((layout.exported(conftest.MODEL) / layout.GRAPH_FILE).read_bytes())
    assert made[0] == made[1]
    for trace in (digits.root, ROOT, Path.home(), environments.folder("tensorflow")):
        assert str(trace).encode() not in made[0]
    done = digits.run("sanitize", conftest.MODEL)
    assert done.returncode == 0, done.stderr
    clean = graphs.load(layout.clean(conftest.MODEL))
    assert [node.op_type for node in clean.graph if node.op_type in ("Transpose", "Reshape")] == []
    assert [value.name for value in clean.graph.inputs] == ["image"]
    assert str(clean.graph.outputs[0].shape) == "[batch,10]"


def test_a_refusal_has_no_traceback(digits: conftest.Project) -> None:
    source = layout.model_source(conftest.MODEL)
    shutil.rmtree(source / "saved_model" / "variables")
    done = digits.run("export", conftest.MODEL)
    assert done.returncode == errors.SourceModelError.exit_code
    assert "variables lacks variables.index" in done.stderr
    assert "Traceback" not in done.stderr
    assert str(digits.root) not in done.stderr


@pytest.mark.parametrize(
    ("entry", "good"),
    [
        ("saved_model", True), ("m", True), ("a/b.keras", True), ("saved_model:double", True),
        ("net.h5", True), ("/abs", False), ("../up", False), ("folder/", False), ("a:b:c", False),
        (":b", False), ("a:", False),
    ],
)  # fmt: skip
def test_entries_in_params(digits: conftest.Project, entry: str, good: bool) -> None:
    digits.set(f"models.{conftest.MODEL}.source.entry", entry)
    if good:
        params_file.load()
    else:
        with pytest.raises(errors.ParamsError, match="SavedModel"):
            params_file.load()
