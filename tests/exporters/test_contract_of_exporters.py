# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What every exporter must be and do, whatever its framework: one run over all of their folders.

The model is the demo of that framework, `models/digits-<framework>`, as params.frameworks.yaml has
it. A new folder in stages/exporters/ is found by itself, and fails here until it has one.
"""

from __future__ import annotations

import ast
import getpass
import inspect
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from ruamel.yaml import YAML

from stages.exporters.api import Exporter
from stages.lib import environments, files, layout, pins
from tests import test_dag
from tests.conftest import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent for path in ROOT.glob("stages/exporters/*/exporter.py"))
TOOLCHAIN = YAML(typ="safe").load(ROOT / layout.PARAMS)["toolchain"]
DEMOS = YAML(typ="safe").load(ROOT / "params.frameworks.yaml")
# Of ours, what an exporter may import in an environment of its own: numpy is all that these need.
FREE = {"stages.exporters.api", "stages.lib.errors", "stages.lib.plugins"}
PLACE = re.compile(rb"/(?:home|root|tmp|usr|opt|Users)/[\w./-]+")


@dataclass(frozen=True)
class Twice:
    """One model, exported in two projects that lie in different folders."""

    model: str
    spec: Any
    projects: tuple[Project, Project]
    before: dict[str, str]

    def graph(self, number: int = 0) -> Path:
        return self.projects[number].root / layout.exported(self.model)

    def facts(self) -> Any:
        return files.read_json(self.projects[0].root / layout.facts("export", self.model))


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda path: path.name)
def folder(request: pytest.FixtureRequest) -> Path:
    """An exporter's folder."""
    path: Path = request.param
    return path


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def model_of(framework: str) -> str:
    return f"digits-{framework}"


def parsed(folder: Path) -> dict[str, ast.Module]:
    return {file.name: ast.parse(file.read_text()) for file in sorted(folder.glob("*.py"))}


def imports(tree: ast.AST) -> Iterator[str]:
    """Names of modules imported at run time, wherever in the file."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            assert node.module
            inner = node.module in ("stages", "stages.exporters", "stages.lib")
            inner |= node.module.count(".") == 2 and (ROOT / node.module.replace(".", "/")).is_dir()
            yield from (f"{node.module}.{a.name}" for a in node.names) if inner else [node.module]
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            yield from imports(node)


def test_two_functions_and_no_more_are_public(folder: Path) -> None:
    body = parsed(folder)["exporter.py"].body
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = {node.name: node for node in body if isinstance(node, kinds) and node.name[0] != "_"}
    assert sorted(public) == ["export", "load"]
    for name, node in public.items():
        assert isinstance(node, ast.FunctionDef)
        wanted = list(inspect.signature(getattr(Exporter, name)).parameters)[1:]
        given = node.args
        assert [arg.arg for arg in given.posonlyargs + given.args] == wanted
        others = [given.vararg, given.kwarg, *given.kwonlyargs, *given.defaults]
        assert not any(others), name
    assert (folder / "__init__.py").read_bytes() == b""


def test_it_imports_what_is_there(folder: Path) -> None:
    framework = folder.name
    found = {name for tree in parsed(folder).values() for name in imports(tree)}
    ours = {name for name in found if name.split(".")[0] == "stages"}
    own = {name for name in ours if name.startswith(f"stages.exporters.{framework}.")}
    others = {name.split(".")[0] for name in found - ours} - set(sys.stdlib_module_names)
    if framework in environments.frameworks():
        assert ours - own <= FREE
        assert "importlib" not in {name.split(".")[0] for name in found - ours}
        environments.make(framework)
        site = next(environments.folder(framework).glob("lib/python*/site-packages"))
        known = {path.name.split(".")[0] for path in site.iterdir()}
        assert others <= known, "not in its lock"
    else:
        foreign = [n for n in ours - own if n.startswith("stages.exporters.") and n not in FREE]
        shared = {"canonical", "structure"}
        assert {name.rpartition(".")[2] for name in foreign} <= shared
    assert not own & {f"stages.exporters.{framework}.exporter"}, "the door is not imported"


def test_it_is_pinned(folder: Path) -> None:
    framework = folder.name
    packages = TOOLCHAIN[f"export-{framework}"]
    assert packages
    if framework in environments.frameworks():
        lock = environments.pinned(framework)
        assert {name: lock.get(pins.name(name)) for name in packages} == packages
        assert framework in {path.name for path in FOLDERS}


def test_no_lock_is_left_without_an_exporter() -> None:
    assert set(environments.frameworks()) < {path.name for path in FOLDERS}
    assert [path.name for path in FOLDERS] == test_dag.FRAMEWORKS


@pytest.fixture(scope="module")
def twice(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Twice:
    """The demo model of a framework, exported twice at once."""
    model = model_of(folder.name)
    home = ROOT / "models" / model
    if not (home / "source").is_dir() or model not in DEMOS["models"]:
        pytest.fail(
            f"the exporter {folder.name} has no demo model: add models/{model}/, trained by its"
            " train.py, and models, engines and pins to params.frameworks.yaml"
        )
    places = [tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("another-place") / "deeper"]
    projects = (prepared(places[0], model), prepared(places[1], model))
    before = files.digests(projects[0].root / layout.model_source(model))
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "stages.export", model],
            cwd=project.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for project in projects
    ]
    said = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(said)
    return Twice(model=model, spec=DEMOS["models"][model], projects=projects, before=before)


def prepared(root: Path, model: str) -> Project:
    """A project with that model alone; its files are copies, so that a write to them is seen."""
    root.mkdir(exist_ok=True)
    for name in (layout.LOCKS, "schemas", "stages"):
        (root / name).symlink_to(ROOT / name)
    for name in ("source", "samples"):
        shutil.copytree(ROOT / "models" / model / name, root / "models" / model / name)
    engines = {name: spec for name, spec in DEMOS["engines"].items() if spec["model"] == model}
    profiles = {spec["profile"] for spec in engines.values()}
    project = Project(root)
    project.write(
        DEMOS
        | {"models": {model: DEMOS["models"][model]}, "engines": engines}
        | {"profiles": {name: DEMOS["profiles"][name] for name in profiles}}
    )
    return project


def test_the_demo_is_of_that_framework(folder: Path, twice: Twice) -> None:
    assert twice.spec["source"]["framework"] == folder.name
    told = twice.facts()
    wanted = TOOLCHAIN[f"export-{folder.name}"]
    isolated = folder.name in environments.frameworks()
    assert told["details"]["environment"] == (wanted if isolated else None)
    if not isolated:
        assert told["versions"].items() >= wanted.items()
    ran = {path for path in told["code"] if path.startswith(f"stages/exporters/{folder.name}/")}
    assert ran == test_dag.code(f"stages/exporters/{folder.name}"), "each file of the folder runs"


def test_twice_gives_the_same_bytes(twice: Twice) -> None:
    one, other = (
        {path.relative_to(twice.graph(n)): path.read_bytes() for path in twice.graph(n).iterdir()}
        for n in (0, 1)
    )
    assert one == other
    assert layout.GRAPH_FILE in map(str, one)


def test_parity_passed(folder: Path, twice: Twice) -> None:
    parity = twice.facts()["details"]["parity"]
    assert parity["state"] == ("not applicable" if folder.name == "onnx" else "passed")


def test_the_batch_is_free(twice: Twice) -> None:
    session = onnxruntime.InferenceSession(
        str(twice.graph() / layout.GRAPH_FILE), providers=["CPUExecutionProvider"]
    )
    assert {one.name: one.shape[0] for one in session.get_inputs()} == {
        name: spec["shape"][0] for name, spec in twice.spec["inputs"].items()
    }
    samples = ROOT / layout.samples(twice.model, "validation")
    with np.load(next(samples.glob("*.npz"))) as file:
        arrays = {name: file[name][:8] for name in twice.spec["inputs"]}
    outputs = twice.spec["outputs"]
    seven = session.run(outputs, {name: value[:7] for name, value in arrays.items()})
    assert {len(out) for out in seven} == {7}
    for index in range(7):
        one = session.run(outputs, {n: value[index : index + 1] for n, value in arrays.items()})
        for alone, among in zip(one, seven, strict=True):
            assert len(alone) == 1
            np.testing.assert_allclose(alone[0], among[index], rtol=1e-3, atol=1e-4)


def test_the_graph_is_of_the_declared_opset(twice: Twice) -> None:
    model = onnx.load(twice.graph() / layout.GRAPH_FILE, load_external_data=False)
    if (wanted := twice.spec["opset"]) is not None:
        assert {one.version for one in model.opset_import if not one.domain} == {wanted}
    onnx.checker.check_model(str(twice.graph() / layout.GRAPH_FILE), full_check=True)


def test_nothing_in_the_graph_is_of_this_machine(twice: Twice) -> None:
    model = onnx.load(twice.graph() / layout.GRAPH_FILE, load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")  # any three letters are in some weights
    text = model.SerializeToString()
    places = [str(ROOT), str(twice.projects[0].root), str(twice.projects[1].root)]
    words = [*places, ".enginery-scratch", socket.gethostname(), f"/{getpass.getuser()}/"]
    assert [word for word in words if word.encode() in text] == []
    assert PLACE.findall(text) == []


def test_the_source_is_left_as_it_was(twice: Twice) -> None:
    assert files.digests(twice.projects[0].root / layout.model_source(twice.model)) == twice.before
    left = {path.name for path in twice.projects[0].root.iterdir()}
    expected = {"models", "params.yaml", "requirements", "schemas", "stages", "artifacts", ".logs"}
    assert left <= expected
    models = twice.projects[0].root / "models"
    assert [path.name for path in models.iterdir()] == [twice.model]
