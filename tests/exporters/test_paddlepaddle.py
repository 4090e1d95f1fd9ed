# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""PaddlePaddle sources of both forms, exported in their own environment."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest

from stages import export, sanitize
from stages.lib import environments, errors, layout
from tests import graphs_zoo as zoo
from tests.conftest import MODEL, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Project

HERE = ROOT / "tests" / "paddle_zoo.py"
X = {"dtype": "float32", "shape": ["batch", 3, 8, 8]}
FIXED = {"dtype": "float32", "shape": [4, 5]}
FORMS = {"new": ".json", "old": ".pdmodel"}
_BOTH = ["pad", "group-norm", "leaky-relu", "nearest", "bilinear", "full", "layer-norm"]
OPERATIONS = {"new": [*_BOTH, "softplus"], "old": _BOTH}


def paddle(*words: str | Path, **variables: str) -> None:
    interpreter = environments.interpreter("paddlepaddle", {})
    done = subprocess.run(
        [interpreter, "-s", "-B", HERE, *words],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of tests/paddle_zoo.py, in folders `new` and `old`, and damaged ones in `bad`."""
    root, before = tmp_path_factory.mktemp("paddle"), Path.cwd()
    os.chdir(ROOT)  # where the locks of the environments are
    try:
        for form, flag in (("new", "1"), ("old", "0")):
            (root / form).mkdir()
            paddle("make", root / form, FLAGS_enable_pir_api=flag, HOME=str(root))
    finally:
        os.chdir(before)
    _damage(root)
    _enlarge(root)
    return root


def _damage(root: Path) -> None:
    (bad := root / "bad").mkdir()
    new, weights = (root / "new" / "net.json").read_bytes(), root / "new" / "net.pdiparams"
    old, data = (root / "old" / "net.pdmodel").read_bytes(), weights.read_bytes()
    other = (root / "new" / "fixed.pdiparams").read_bytes()
    for name, program, parameters in (
        ("cut.json", new[:3000], data),
        ("empty.json", b"", data),
        ("config.json", b'{"layers": []}', data),
        ("old.json", old, data),
        ("unknown.json", new.replace(b'"1.relu"', b'"1.nosuch"'), data),
        ("onnx.pdmodel", zoo.tiny().SerializeToString(), data),
        ("new.pdmodel", new, data),
        ("cut.pdmodel", old[:5000], data),
        ("empty.pdmodel", b"", data),
        ("keras.pdmodel", b"PK\x03\x04" + bytes(100), data),
        ("short.json", new, data[:-100]),
        ("short.pdmodel", old, data[:-100]),
        ("long.json", new, data + other),
        ("fewer.json", new, data[: data.rindex(data[:16])]),
        ("noise.json", new, np.random.default_rng(0).bytes(len(data))),
        ("shape.json", new.replace(b"[4,10]", b"[4,11]"), data),
        ("missing.json", new, None),
        ("missing.pdmodel", old, None),
    ):
        folder = bad / name
        folder.mkdir()
        (folder / name).write_bytes(program)
        if parameters is not None:
            (folder / name).with_suffix(".pdiparams").write_bytes(parameters)


def _enlarge(root: Path) -> None:
    """A program whose last parameter, [4, 10], has 3.2 GB, all of them holes of the file."""
    (folder := root / "bad" / "large.json").mkdir()
    new = (root / "new" / "net.json").read_bytes()
    (folder / "large.json").write_bytes(new.replace(b"[4,10]", b"[4,200000000]"))
    data = (root / "new" / "net.pdiparams").read_bytes()
    begin = data.rindex(b"\x08\x05\x10\x04\x10\x0a")
    described = b"\x08\x05\x10\x04\x10\x80\x84\xaf\x5f"  # a TensorDesc: float32 [4, 200000000]
    with (folder / "large.pdiparams").open("wb") as stream:
        stream.write(data[: begin - 4] + len(described).to_bytes(4, "little") + described)
        stream.truncate(stream.tell() + 4 * 4 * 200_000_000)


def order(path: Path, **changes: Any) -> dict[str, Any]:
    told = {"inputs": {"x": X}, "outputs": ["y"], "opset": 17, "weights": None}
    return {"source": str(path.parent), "entry": path.name, **told, **changes}


@pytest.fixture(scope="session")
def trials(models: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Many exports in one process: folder of what came out, and what was said by name."""
    to = tmp_path_factory.mktemp("trials")
    np.savez(feeds := to / "feeds.npz", x=zoo.values(3, 3, 8, 8))
    told: dict[str, Any] = {}
    for path in sorted((models / "bad").iterdir()):
        told[path.name] = {"order": order(path / path.name)}
    for form, suffix in FORMS.items():
        folder = models / form
        for name in OPERATIONS[form]:
            path = folder / f"{name}{suffix}"
            told[f"{form}-{name}"] = {"order": order(path), "feeds": str(feeds)}
        many = {"outputs": [f"y{n}" for n in range(12)]}
        told |= {
            f"{form}-{name}": {"order": order(folder / f"{stem}{suffix}", **changes)}
            for name, stem, changes in (
                ("svd", "svd", {}),
                ("lacking", "lacking", {}),
                ("feature", "feature", {}),
                ("opset", "net", {"opset": 10}),
                ("name", "net", {"inputs": {"image": X}}),
                ("dtype", "net", {"inputs": {"x": X | {"dtype": "float16"}}}),
                ("rank", "net", {"inputs": {"x": X | {"shape": ["batch", 3, 64]}}}),
                ("batch", "fixed", {}),
                ("static", "net", {"inputs": {"x": X | {"shape": [1, 3, 8, 8]}}}),
                ("outputs", "two", {"inputs": {"a": FIXED, "b": FIXED}}),
                ("elsewhere", "net", {"weights": "other/w.pdiparams"}),
            )
        }
        told[f"{form}-many"] = {
            "order": order(folder / f"many{suffix}", **many),
            "feeds": str(feeds),
        }
    told["branch"] = {"order": order(models / "new" / "branch.json")}
    np.savez(rows := to / "rows.npz", x=zoo.values(2, 3, 8))
    states = {"inputs": {"x": X | {"shape": ["batch", 3, 8]}}, "outputs": ["y", "h", "c"]}
    told["lstm"] = {"order": order(models / "new" / "lstm.json", **states), "feeds": str(rows)}
    (to / "trials.json").write_text(json.dumps(told), encoding="utf-8")
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        paddle("try", to / "trials.json", to, HOME=str(to))
    finally:
        os.chdir(before)
    return to, json.loads((to / "said.json").read_bytes())


@pytest.mark.parametrize(
    ("form", "name"), [(form, name) for form in FORMS for name in [*OPERATIONS[form], "many"]]
)
def test_operations_give_what_paddle_gives(
    trials: tuple[Path, dict[str, Any]], form: str, name: str
) -> None:
    _same(trials, f"{form}-{name}", "feeds.npz")


def test_state_that_is_not_kept_is_no_parameter(trials: tuple[Path, dict[str, Any]]) -> None:
    _same(trials, "lstm", "rows.npz")


def _same(trials: tuple[Path, dict[str, Any]], name: str, feeds: str) -> None:
    to, said = trials
    assert said[name] is None
    session = onnxruntime.InferenceSession(to / name / "model.onnx")
    with np.load(to / feeds) as given, np.load(to / name / "found.npz") as expected:
        for found, wanted in zip(session.run(None, dict(given)), expected.values(), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


PROGRAM = "is not a Paddle program that can be read"


@pytest.mark.parametrize(
    ("name", "what", "mend"),
    [
        ("cut.json", f"cut.json {PROGRAM}: no JSON: .*3000", "copy it again"),
        ("empty.json", f"{PROGRAM}: no JSON", "copy it again"),
        ("config.json", f"{PROGRAM}: JSON, but no program", "paddle.jit.save"),
        ("old.json", "looks like a program of Paddle 2: name it .pdmodel", "source.entry"),
        ("unknown.json", r"\(1.nosuch\) is none that this PaddlePaddle knows", "paddle.jit.save"),
        ("onnx.pdmodel", "it looks like ONNX: framework onnx", "source.framework"),
        ("new.pdmodel", "looks like a program of Paddle 3: name it .json", "source.entry"),
        ("cut.pdmodel", f"{PROGRAM}: no ProgramDesc, or a damaged one", "copy it again"),
        ("empty.pdmodel", f"{PROGRAM}: it has no operations", "copy it again"),
        ("keras.pdmodel", r"a zip archive, as Keras \(framework tensorflow\)", "source.framework"),
        ("short.json", r"short.pdiparams is cut off within \S+ float32", "copy the file again"),
        ("short.pdmodel", r"short.pdiparams is cut off within \S+ float32", "copy the file again"),
        ("long.json", r"long.pdiparams has \d+ bytes more than the 8 parameters", "together"),
        ("fewer.json", r"fewer.pdiparams has 7 parameters, and the program 8", "together"),
        ("noise.json", "noise.pdiparams holds no tensor of Paddle's at byte 0", "together"),
        ("shape.json", r"has float32 \[4, 10\] where the program has .* \[4, 11\]", "together"),
        ("large.json", "has 3.20 GB; paddle2onnx writes no graph above 2 GB", "in parts"),
        ("missing.json", r"missing.pdiparams is missing: the program has 8", "source.weights"),
        ("missing.pdmodel", r"missing.pdiparams is missing: the program has 8", "source.weights"),
    ],
)
def test_damaged_and_wrong_files(
    trials: tuple[Path, dict[str, Any]], name: str, what: str, mend: str
) -> None:
    said = trials[1][name]
    assert re.search(what, said[0]), said[0]
    assert mend in said[1]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "what", "mend"),
    [
        (
            "svd",
            r"2.1.0 cannot convert \S+svd\S+, which .* support: pd_op.svd, which makes %\d \[-1",
            "other operations",
        ),
        ("lacking", r": pd_op.digamma, .*; pd_op.lgamma, which makes %\d", "other operations"),
        (
            "feature",
            r"Cannot support input with NHWC format; .*\(at pd_op.conv2d, which makes %\d \[-1",
            "other operations",
        ),
        ("opset", "to opset 10: pd_op.mean needs opset 11", "opset to 11 or more"),
        ("name", r"program: +x float32 \[-1, 3, 8, 8\]\n.*image float32", "models.<m>.inputs"),
        ("dtype", r"program: +x float32 .*\n.* x float16", "models.<m>.inputs"),
        ("rank", r"program: +x .*\n.* x float32 \['batch', 3, 64\]", "models.<m>.inputs"),
        ("batch", r"program: +x float32 \[4, 3, 8, 8\]", "models.<m>.inputs"),
        ("static", r"program: +x float32 \[-1, 3, 8, 8\]", "word, such as batch, for each -1"),
        ("outputs", r"program: +\S+ float32 \[4, 5\], \S+ float32 \[4, 5\]\n.* y$", "outputs"),
        ("elsewhere", r"other/w.pdiparams is missing: the program has 8", "source.weights"),
    ],
)
def test_what_cannot_be_exported(
    trials: tuple[Path, dict[str, Any]], form: str, name: str, what: str, mend: str
) -> None:
    said = trials[1][f"{form}-{name}"]
    assert re.search(what, said[0]), said[0]
    assert mend in said[1]


def test_an_operation_within_a_branch_is_named(trials: tuple[Path, dict[str, Any]]) -> None:
    assert "support: pd_op.digamma, which makes" in trials[1]["branch"][0]


@pytest.fixture
def paddled(project: Project, models: Path) -> Iterator[Project]:
    """The project with a Paddle model; whatever happens, nothing is written beside the source."""
    source = layout.model_source(MODEL)
    for form in FORMS:
        for path in (models / form).iterdir():
            shutil.copy(path, source)
    before = _digests(source)
    yield project
    assert _digests(source) == before


def _digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def use(
    project: Project,
    entry: str,
    *,
    weights: str | None = None,
    inputs: dict[str, Any] | None = None,
    outputs: list[str] | None = None,
    opset: int = 17,
) -> None:
    """Make params.yaml say so; a fixed batch is of 4."""
    document = project.params()
    spec, engine = document["models"][MODEL], document["engines"][f"{MODEL}-fp32"]
    document["engines"] = {f"{MODEL}-fp32": engine}
    spec["source"] |= {"framework": "paddlepaddle", "entry": entry, "weights": weights}
    spec["opset"] = opset
    if inputs is not None:
        spec["inputs"] = inputs
        spec["observe"]["batch"] = 4
        shapes = {name: [4, *face["shape"][1:]] for name, face in inputs.items()}
        bounds = {n: {"min": one, "opt": one, "max": one} for n, one in shapes.items()}
        document["profiles"] = {MODEL: [bounds]}
        engine["validation_batch"] = 4
        engine["serving"]["dynamic_batching"] = None
    if outputs is not None:
        spec["outputs"] = outputs
        engine["gates"]["max_accuracy_drop"] = None
        spec["metric"] = {"kind": "none", "output": None, "labels": None, "entry": None}
    project.write(document)


@pytest.mark.parametrize("suffix", FORMS.values())
def test_a_model_is_exported_and_compared(
    paddled: Project, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    use(paddled, f"net{suffix}")
    export.main(MODEL)
    path = layout.exported(MODEL) / "model.onnx"
    first = path.read_bytes()
    assert re.search(r"parity passed within \d", capsys.readouterr().out)
    model = onnx.load(path)
    assert model.opset_import[0].version == 17
    assert [dim.dim_param or dim.dim_value for dim in _dims(model)] == ["batch", 3, 8, 8]
    assert model.graph.output[0].name == "logits"
    assert len(model.graph.initializer) == 8  # weights, not nodes
    assert str(Path.cwd()).encode() not in first
    export.main(MODEL)
    assert path.read_bytes() == first
    facts = json.loads(layout.facts("export", MODEL).read_bytes())
    files = {file for file in facts["code"] if "paddlepaddle" in file}
    assert {Path(file).name for file in files} >= {"exporter.py", "convert.py", "weights.py"}
    sanitize.main(MODEL)
    clean = onnx.load(layout.clean(MODEL) / "model.onnx")
    assert "Identity" not in [node.op_type for node in clean.graph.node]
    assert [dim.dim_param for dim in _dims(clean, output=True)] == ["", ""]  # no made-up name


def _dims(model: onnx.ModelProto, *, output: bool = False) -> list[Any]:
    values = model.graph.output if output else model.graph.input
    return list(values[0].type.tensor_type.shape.dim)


@pytest.mark.parametrize("suffix", FORMS.values())
def test_a_program_without_parameters(paddled: Project, suffix: str) -> None:
    use(paddled, f"none{suffix}", outputs=["twice"])
    export.main(MODEL)
    assert not onnx.load(layout.exported(MODEL) / "model.onnx").graph.initializer


def test_a_fixed_batch_at_a_low_opset(paddled: Project) -> None:
    use(paddled, "fixed.json", inputs={"x": X | {"shape": [4, 3, 8, 8]}}, opset=11)
    export.main(MODEL)
    model = onnx.load(layout.exported(MODEL) / "model.onnx")
    assert [dim.dim_value for dim in _dims(model)] == [4, 3, 8, 8]


def test_the_parameters_may_lie_elsewhere(paddled: Project) -> None:
    source = layout.model_source(MODEL)
    (source / "sub").mkdir()
    (source / "net.pdiparams").rename(source / "sub" / "w.pdiparams")
    use(paddled, "net.json", weights="sub/w.pdiparams")
    export.main(MODEL)
    (source / "sub" / "w.pdiparams").rename(source / "net.pdiparams")


def test_inputs_come_in_the_declared_order(paddled: Project) -> None:
    rng = np.random.default_rng(0)
    for path in layout.samples(MODEL, "probe").iterdir():
        a, b = rng.normal(size=(2, 4, 5)).astype(np.float32)
        np.savez(path, a=a, b=b)
    use(paddled, "two.json", inputs={"b": FIXED, "a": FIXED}, outputs=["difference", "sum"])
    export.main(MODEL)
    session = onnxruntime.InferenceSession(layout.exported(MODEL) / "model.onnx")
    assert [value.name for value in session.get_inputs()] == ["a", "b"]
    a, b = np.full((4, 5), 1, np.float32), np.full((4, 5), 2, np.float32)
    difference, total = session.run(None, {"a": a, "b": b})
    assert (difference[0, 0], total[0, 0]) == (-1, 5)


def test_what_the_converter_lacks_is_told_by_the_stage(paddled: Project) -> None:
    use(paddled, "svd.json")
    with pytest.raises(errors.SourceModelError, match=r"svd.json, .*: pd_op.svd") as caught:
        export.main(MODEL)
    assert caught.value.what.startswith("paddle2onnx 2.1.0 cannot convert models/tiny/source/svd")
    assert not layout.exported(MODEL).exists()
    log = layout.log("export", MODEL).read_text(encoding="utf-8")
    assert "Due to the unsupported operators" in log
