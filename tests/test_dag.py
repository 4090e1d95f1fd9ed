# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""dvc.yaml against the code: deps are the import closure, params those read, paths layout's.

Without this test the lists rot: an undeclared module makes stale engines, a superfluous one makes
needless rebuilds.
"""

from __future__ import annotations

import ast
import inspect
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from stages import variant
from stages.lib import layout

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
INERT = "stages/lib/"  # moves values and bytes, decides nothing; pinned by tests/lib
# Read as a file, not imported.
PACKED = ("model", "onnxruntime", "tensorrt_rtx")
READ = {"package": {f"stages/bundle/triton_{name}.py" for name in PACKED}}
BOOKKEEPING = re.compile(r"epoch\.\w+")
# Read, and no dependency: what may stop a stage, and changes nothing of what it makes.
GUARDS = {"interpreters", "models.*.limits", "toolchain.*.driver_min"}

FRAMEWORKS = sorted(path.parent.name for path in ROOT.glob("stages/exporters/*/exporter.py"))
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
PARAMS = YAML(typ="safe").load(ROOT / "params.yaml")


def runtime_imports(tree: ast.AST) -> Iterator[str]:
    """Names of modules of ours imported at run time: not those under TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("stages"):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("stages"))
        else:
            yield from runtime_imports(node)


def closure(*entries: str) -> set[str]:
    """All files of ours that the entries run, helpers of lib/ and empty files left out."""
    seen: set[str] = set()
    todo = list(entries)
    while todo:
        file = todo.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in runtime_imports(ast.parse((ROOT / file).read_text())):
            module = name.replace(".", "/") + ".py"
            if (ROOT / module).is_file():
                todo.append(module)
    return {file for file in seen if not file.startswith(INERT)}


def body(name: str) -> dict[str, Any]:
    stage = STAGES[name]
    return dict(stage.get("do", stage))


def flat(items: list[Any]) -> list[str]:
    return [item if isinstance(item, str) else next(iter(item)) for item in items]


def found_by_name(params: Any, name: str, key: str) -> set[str]:
    """Deps on modules that a value of params.yaml names, loaded through lib/plugins.py."""
    items = params["models" if "models" in str(STAGES[name].get("foreach")) else "engines"]

    def value(match: re.Match[str]) -> str:
        found = items[key]
        for part in match[1].split("."):
            found = found[part]
        return str(found)

    named = [dep for dep in body(name)["deps"] if dep.startswith("stages/") and "${" in dep]
    paths = {re.sub(r"\$\{item\.([\w.]+)\}", value, dep) for dep in named}
    return {file for path in paths for file in code(path)}


def code(path: str) -> set[str]:
    """The file, or those of an exporter's folder, empty ones left out."""
    found = [ROOT / path] if path.endswith(".py") else [*(ROOT / path).glob("*.py")]
    return {file.relative_to(ROOT).as_posix() for file in found if file.stat().st_size}


@pytest.fixture(scope="module", params=["params.yaml", "params.frameworks.yaml"])
def resolved(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, list[Any]]:
    """Values of a params file, and the stages that dvc.yaml makes of them."""
    folder = tmp_path_factory.mktemp("clone")
    variant.clone(ROOT, folder)
    shutil.copy(ROOT / request.param, folder / layout.PARAMS)
    return YAML(typ="safe").load(ROOT / request.param), list(Repo(str(folder)).index.stages)


def test_every_stage_of_the_design_is_there() -> None:
    assert list(STAGES) == [
        "check", "export", "sanitize", "observe", "calibrate",
        "precision", "build", "validate", "gate", "package",
    ]  # fmt: skip


def test_code_deps_are_the_import_closure(resolved: tuple[Any, list[Any]]) -> None:
    params, made = resolved
    assert len(made) == 1 + 4 * len(params["models"]) + 5 * len(params["engines"])
    for stage in made:
        name, _, key = stage.name.partition("@")
        deps = [dep.def_path for dep in stage.deps if dep.def_path.startswith("stages/")]
        listed = {file for dep in deps for file in code(dep)}
        plugins = found_by_name(params, name, key)
        wanted = closure(f"stages/{name}.py", *plugins) | READ.get(name, set())
        assert listed == wanted, stage.addressing


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt_rtx"])
def test_builds_by_each_backend_run_the_same_files_but_one(backend: str) -> None:
    own = f"stages/backends/{backend}/build.py"
    listed = {dep for dep in body("build")["deps"] if dep.startswith("stages/")}
    shared = {dep for dep in listed if "${" not in dep}
    assert closure("stages/build.py", own) == shared | {own}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_exports_by_each_framework_run_the_same_files_but_its_own(framework: str) -> None:
    own = code(f"stages/exporters/{framework}")
    listed = {dep for dep in body("export")["deps"] if dep.startswith("stages/")}
    shared = {dep for dep in listed if "${" not in dep}
    assert closure("stages/export.py", *own) == shared | own
    # Nothing that lies in the folder and does not run makes a graph stale.
    assert closure(f"stages/exporters/{framework}/exporter.py") - shared == own


def test_each_framework_has_a_model_that_make_repro_builds() -> None:
    models = YAML(typ="safe").load(ROOT / "params.frameworks.yaml")["models"]
    found = {model["source"]["framework"] for model in models.values()}
    assert sorted(found) == FRAMEWORKS


def test_the_framework_and_the_backend_choose_the_plugin() -> None:
    assert "stages/exporters/${item.source.framework}" in body("export")["deps"]
    assert "stages/backends/${item.backend}/build.py" in body("build")["deps"]


@pytest.mark.parametrize("name", STAGES)
def test_commands_carry_names_only(name: str) -> None:
    key = "" if name == "check" else " ${key}"
    assert body(name)["cmd"] == f"python -m stages.{name}{key}"


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_says_what_it_does(name: str) -> None:
    assert body(name)["desc"].strip().endswith(".")


def pattern(key: str) -> str:
    """A key with its interpolated parts made equal: `engines.*.model`."""
    return re.sub(r"\$?\{[^}]*\}", "*", key)


def keys_read(file: str) -> set[str]:
    """First arguments of all `.param(...)` calls, and pin groups, of a stage."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr == "param":
            found.add(pattern(literal(node.args[0])))
        elif node.func.attr == "toolchain":
            found |= {f"toolchain.{pattern(literal(arg))}" for arg in node.args[1:]}
            found |= {"toolchain.platform", "toolchain.python"}
    return found


def literal(node: ast.expr) -> str:
    """A string or f-string literal with its holes as `{}`; anything else is one hole."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = (v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
        return "".join(map(str, parts))
    return "{}"


@pytest.mark.parametrize("name", [name for name in STAGES if name != "check"])
def test_params_declared_are_the_params_read(name: str) -> None:
    declared = {pattern(key) for key in flat(body(name)["params"])}
    epoch = {key for key in declared if BOOKKEEPING.fullmatch(key)}
    assert epoch == {f"epoch.{name}"}
    assert declared - epoch == keys_read(f"stages/{name}.py") - GUARDS


def test_check_depends_on_all_it_reads() -> None:
    assert {"params.yaml", "models", str(layout.PARAMS_SCHEMA)} <= set(body("check")["deps"])


@pytest.mark.parametrize("name", [name for name in STAGES if name != "check"])
def test_every_stage_waits_for_check(name: str) -> None:
    assert str(layout.PARAMS_OK) in body(name)["deps"]


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_has_a_dep_and_only_cached_outputs(name: str) -> None:
    stage = body(name)
    assert stage["deps"]
    for kind in ("outs", "metrics", "plots"):
        assert all(isinstance(item, str) for item in stage.get(kind, [])), "options mean no cache"


def layout_paths() -> set[str]:
    """Every path that layout can give, holes made equal."""
    found = {path.as_posix() for path in vars(layout).values() if isinstance(path, Path)}
    for function in vars(layout).values():
        if inspect.isfunction(function) and function.__module__ == layout.__name__:
            holes = ["*"] * len(inspect.signature(function).parameters)
            if function is layout.facts:
                stages = (
                    "export",
                    "sanitize",
                    "observe",
                    "calibrate",
                    "precision",
                    "build",
                    "validate",
                    "gate",
                )
                found |= {function(stage, "*").as_posix() for stage in stages}
            elif function is layout.samples:
                found |= {function("*", split).as_posix() for split in layout.SPLITS}
            else:
                found.add(function(*holes).as_posix())
    return found


def test_paths_of_dvc_yaml_are_those_of_layout() -> None:
    known = layout_paths() | {"models"}
    methods = ("none", "minmax", "entropy", "percentile", "mse", "imported")
    known |= {f"artifacts/calibration/*/{method}.cache" for method in methods}
    for name in STAGES:
        stage = body(name)
        paths = [p for kind in ("deps", "outs", "metrics", "plots") for p in stage.get(kind, [])]
        unknown = {pattern(p) for p in paths if not p.startswith("stages/")} - known
        assert not unknown, name


def test_only_package_depends_on_facts() -> None:
    for name in STAGES:
        facts = [dep for dep in body(name)["deps"] if dep.endswith("facts.json")]
        assert bool(facts) == (name == "package"), name


def test_package_depends_on_the_facts_of_every_stage_before_it() -> None:
    made = {
        out for name in STAGES for out in body(name).get("outs", []) if out.endswith("facts.json")
    }
    needed = {dep for dep in body("package")["deps"] if dep.endswith("facts.json")}
    assert {pattern(p) for p in made} == {pattern(p) for p in needed}


def test_init_files_are_empty() -> None:
    assert not [file for file in (ROOT / "stages").rglob("__init__.py") if file.stat().st_size]


def test_importlib_stays_in_plugins() -> None:
    users = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "stages").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import)
        and any(a.name.partition(".")[0] == "importlib" for a in node.names)
    }
    assert users == {"stages/lib/plugins.py"}


def test_artifacts_are_the_engines_packages() -> None:
    """GTO's tags, and `dvc artifacts get`, know an engine's package by the engine's name."""
    found = {name: item.path for name, item in Repo(str(ROOT)).artifacts.read()["dvc.yaml"].items()}
    assert found == {name: layout.package(name).as_posix() for name in PARAMS["engines"]}
