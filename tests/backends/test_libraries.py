# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Plugin libraries: loaded in the building process, if they are what params.yaml names."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import pytest
from onnx import helper

from stages import build
from stages.backends import isolation, libraries, processors
from stages.backends.build_api import Order
from stages.lib import errors, files, layout
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Project

ROOT = Path(__file__).parents[2]
BUILDER = {"workspace_mib": 256, "optimization_level": 3, "compute_capabilities": ["sm86"]}
# A plugin's creator by the layout of NvInferRuntimePlugin.h, of which the wheel has no copy. It is
# found by its name, and makes nothing.
SOURCE = """
#include <cstdint>
struct InterfaceInfo { char const* kind; int32_t major; int32_t minor; };
struct Fields { int32_t count; void const* fields; };
class Versioned {
public:
    virtual int32_t getAPILanguage() const noexcept { return 0; }
    virtual InterfaceInfo getInterfaceInfo() const noexcept = 0;
    virtual ~Versioned() noexcept = default;
};
class Creator : public Versioned {
public:
    InterfaceInfo getInterfaceInfo() const noexcept override {
        return {"PLUGIN CREATOR_V3ONE", 1, 0};
    }
    virtual void* createPlugin(char const*, Fields const*, int32_t) noexcept { return nullptr; }
    virtual Fields const* getFieldNames() noexcept { return &none; }
    virtual char const* getPluginName() const noexcept { return "Mine"; }
    virtual char const* getPluginVersion() const noexcept { return "1"; }
    virtual char const* getPluginNamespace() const noexcept { return ""; }
    Fields none{0, nullptr};
};
static Creator creator;
static Versioned* const list[] = {&creator};
extern "C" Versioned* const* getCreators(int32_t& count) { count = 1; return list; }
extern "C" void setLoggerFinder(void*) {}
"""


def entry(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def order(folder: Path, *plugins: Path) -> Order:
    """A graph with an op of nobody's."""
    proto = helper.make_model(
        helper.make_graph(
            [zoo.node("Mine", ["x"], ["y"], domain="my.ops", name="own")],
            "g",
            [zoo.face("x", 1, 4)],
            [zoo.face("y", 1, 4)],
        ),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("my.ops", 1)],
        ir_version=10,
    )
    onnx.save(proto, folder / "model.onnx")
    shapes = {bound: [1, 4] for bound in ("min", "opt", "max")}
    named = libraries.named({"plugins": [entry(file) for file in plugins]}, folder)
    return Order(
        graph=folder / "model.onnx",
        precision="fp32",
        profiles=[{"x": shapes}],
        builder=BUILDER,
        plugins=named,
    )


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Order], isolation.Built]:
    monkeypatch.chdir(ROOT)
    return lambda wanted: isolation.build("tensorrt_rtx", wanted, lambda _: None, tmp_path / "plan")


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library that has no plugin to offer."""
    functions = ("getCreators", "getPluginCreators", "setLoggerFinder")
    monkeypatch.setattr(processors, "SYMBOLS", functions)
    library = tmp_path / "libempty.so"
    library.write_bytes(processors.library(0))
    return library


def test_a_plugin_is_found_in_its_library(
    tmp_path: Path, attempt: Callable[[Order], isolation.Built]
) -> None:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("not run: no g++ here")
    (tmp_path / "mine.cpp").write_text(SOURCE)
    library = tmp_path / "libmine.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "mine.cpp"], check=True)
    with pytest.raises(errors.UnsupportedError, match="Plugin not found"):
        attempt(order(tmp_path))
    with pytest.raises(errors.UnsupportedError, match="Could not create the plugin"):
        attempt(order(tmp_path, library))


def test_a_library_without_plugins_is_told(
    tmp_path: Path,
    empty: Path,
    monkeypatch: pytest.MonkeyPatch,
    attempt: Callable[[Order], isolation.Built],
) -> None:
    wanted = order(tmp_path, empty)
    monkeypatch.undo()  # the child needs the real list of symbols
    monkeypatch.chdir(ROOT)
    with pytest.raises(errors.BuildError, match=r"library libempty\.so[^~]*No creator returned"):
        attempt(wanted)


def test_what_is_no_library_is_told(
    tmp_path: Path, attempt: Callable[[Order], isolation.Built]
) -> None:
    (tmp_path / "libtext.so").write_text("text")
    with pytest.raises(errors.BuildError, match=r"does not load the plugin library libtext\.so"):
        attempt(order(tmp_path, tmp_path / "libtext.so"))


def test_another_library_is_not_loaded(
    tmp_path: Path, attempt: Callable[[Order], isolation.Built]
) -> None:
    library = tmp_path / "libtext.so"
    library.write_text("text")
    wanted = order(tmp_path, library)
    with pytest.raises(errors.PinError, match=r"libtext\.so has the SHA-256 \w+; params\.yaml"):
        libraries.named({"plugins": [entry(library) | {"sha256": "0" * 64}]}, tmp_path)
    # What is loaded is a copy that was checked itself: nobody can exchange it in between.
    library.write_text("other")
    with pytest.raises(errors.PinError, match=r"params\.yaml names 982d9e3eb996f559"):
        attempt(wanted)


def test_a_missing_library(tmp_path: Path) -> None:
    settings = {"plugins": [{"file": "libnone.so", "sha256": "0" * 64}]}
    with pytest.raises(errors.PinError, match=r"libnone\.so is not there"):
        libraries.named(settings, tmp_path)


def test_the_stage_refuses_it_and_keeps_the_last_plan(built: Project) -> None:
    folder = built.root / layout.plugins("tiny")
    folder.mkdir()
    library = folder / "libmine.so"
    library.write_bytes(b"not what was meant")
    built.set("engines.tiny-fp32.builder.plugins", [{"file": library.name, "sha256": "0" * 64}])
    before = files.sha256(layout.plan("tiny-fp32"))
    with pytest.raises(errors.PinError, match=r"models/tiny/plugins/libmine\.so has the SHA-256"):
        build.main("tiny-fp32")
    assert files.sha256(layout.plan("tiny-fp32")) == before


def test_no_plugins_are_no_work(tmp_path: Path) -> None:
    assert libraries.named({"plugins": []}, tmp_path) == []
    assert libraries.copies([], tmp_path) == []
    assert not list(tmp_path.iterdir())
