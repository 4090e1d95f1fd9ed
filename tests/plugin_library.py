# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A plugin library of TensorRT in source: the op Own_TRT, whose output is like its input.

By the layout of NvInferRuntimePlugin.h and NvInferRuntime.h (TensorRT 10 and later), of which the
wheel has no copy. It is complete for a build; its `enqueue` runs nothing.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
#include <cstddef>
#include <cstdint>
using Int = int32_t;
using Text = char const*;
struct InterfaceInfo { Text kind; Int major; Int minor; };
struct Fields { Int count; void const* fields; };
struct Dims { Int rank; int64_t sizes[8]; };
struct Tensor { Dims dims; Int type; Int format; float scale; };
struct Dynamic { Tensor tensor; Dims least, most, best; };
struct Shape { Int rank; void const* sizes[8]; };
static Fields const none{0, nullptr};
class Versioned {
public:
    virtual Int getAPILanguage() const noexcept { return 0; }
    virtual InterfaceInfo getInterfaceInfo() const noexcept = 0;
    virtual ~Versioned() noexcept = default;
};
class Core : public Versioned {
public:
    InterfaceInfo getInterfaceInfo() const noexcept override {
        return {"PLUGIN_V3ONE_CORE", 1, 0};
    }
    virtual Text getPluginName() const noexcept { return "Own_TRT"; }
    virtual Text getPluginVersion() const noexcept { return "1"; }
    virtual Text getPluginNamespace() const noexcept { return ""; }
};
class Build : public Versioned {
public:
    InterfaceInfo getInterfaceInfo() const noexcept override {
        return {"PLUGIN_V3ONE_BUILD", 1, 0};
    }
    virtual Int configurePlugin(Dynamic const*, Int, Dynamic const*, Int) noexcept { return 0; }
    virtual Int getOutputDataTypes(Int* made, Int, Int const* given, Int) const noexcept {
        made[0] = given[0];
        return 0;
    }
    virtual Int getOutputShapes(
        Shape const* given, Int, Shape const*, Int, Shape* made, Int, void*) noexcept {
        made[0] = given[0];
        return 0;
    }
    virtual bool supportsFormatCombination(Int at, Dynamic const* all, Int, Int) noexcept {
        return all[at].tensor.type == 0 && all[at].tensor.format == 0;  // float32, rows
    }
    virtual Int getNbOutputs() const noexcept { return 1; }
    virtual size_t getWorkspaceSize(Dynamic const*, Int, Dynamic const*, Int) const noexcept {
        return 0;
    }
    virtual Int getValidTactics(Int*, Int) noexcept { return 0; }
    virtual Int getNbTactics() noexcept { return 0; }
    virtual Text getTimingCacheID() noexcept { return nullptr; }
    virtual Int getFormatCombinationLimit() noexcept { return 100; }
    virtual Text getMetadataString() noexcept { return nullptr; }
};
class Run : public Versioned {
public:
    InterfaceInfo getInterfaceInfo() const noexcept override {
        return {"PLUGIN_V3ONE_RUNTIME", 1, 0};
    }
    virtual Int setTactic(Int) noexcept { return 0; }
    virtual Int onShapeChange(Tensor const*, Int, Tensor const*, Int) noexcept { return 0; }
    virtual Int enqueue(Tensor const*, Tensor const*, void const* const*, void* const*, void*,
        void*) noexcept { return 1; }
    virtual Versioned* attachToContext(void*) noexcept { return nullptr; }
    virtual Fields const* getFieldsToSerialize() noexcept { return &none; }
};
class Plugin : public Versioned {
public:
    InterfaceInfo getInterfaceInfo() const noexcept override { return {"PLUGIN", 1, 0}; }
    virtual Versioned* getCapabilityInterface(Int kind) noexcept {
        Versioned* const all[] = {&core, &build, &run};
        return all[kind];
    }
    virtual Plugin* clone() noexcept { return new Plugin; }
    Core core;
    Build build;
    Run run;
};
class Creator : public Versioned {
public:
    InterfaceInfo getInterfaceInfo() const noexcept override {
        return {"PLUGIN CREATOR_V3ONE", 1, 0};
    }
    virtual Plugin* createPlugin(Text, Fields const*, Int) noexcept { return new Plugin; }
    virtual Fields const* getFieldNames() noexcept { return &none; }
    virtual Text getPluginName() const noexcept { return "Own_TRT"; }
    virtual Text getPluginVersion() const noexcept { return "1"; }
    virtual Text getPluginNamespace() const noexcept { return ""; }
};
static Creator creator;
static Versioned* const list[] = {&creator};
extern "C" Versioned* const* getCreators(Int& count) { count = 1; return list; }
extern "C" void setLoggerFinder(void*) {}
"""


def compiled(path: Path, source: str = SOURCE) -> None:
    """Compile it to `path`, or skip the test where there is no compiler."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("not run: no g++ here")
    text = path.with_suffix(".cpp")
    text.write_text(source)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", path, text], check=True)
    text.unlink()
