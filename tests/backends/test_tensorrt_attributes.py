# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Every attribute of `tensorrt` that the sources use is in the wheels of TensorRT 10 and 11.

TensorRT needs a GPU, so nothing here loads it: its bindings are C++, and each name they register
is a C string of the extension module. A linker may keep a string as the tail of a longer one, so
an attribute counts as there when its name ends at a NUL byte.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from stages.lib import marked

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements/tensorrt-bindings.txt"
SOURCES = sorted(
    [
        *(ROOT / "stages/backends" / name for name in ("builder.py", "refusals.py", "gpu.py")),
        *(ROOT / "stages/backends/tensorrt").glob("*.py"),
    ]
)
# What the sources call the objects that come out of the bindings.
OBJECTS = {
    "trt": "the module",
    "severity": "ILogger.Severity",
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "tensor": "ITensor",
    "error": "ParserError",
    "runtime": "Runtime",
    "cache": "ITimingCache",
    "entry": "TimingCacheValue",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
}


def attributes(source: str) -> set[str]:
    """Names after the dots of each `trt.a.b`, `config.c` and so on, and enum members in quotes."""
    tree = ast.parse(source)
    modules = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            chain, value = [node.attr], node.value
            while isinstance(value, ast.Attribute | ast.Call):
                if isinstance(value, ast.Attribute):
                    chain.append(value.attr)
                value = value.func if isinstance(value, ast.Call) else value.value
            if isinstance(value, ast.Name) and value.id in OBJECTS and value.id not in modules:
                # Behind the version there are methods of `str`.
                found.update({"__version__"} if "__version__" in chain else chain)
    return found


def members(source: str) -> set[str]:
    """String constants that name members of enumerations, as `getattr` takes them."""
    constants = (n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant))
    return {c for c in constants if isinstance(c, str) and re.fullmatch(r"[A-Z][A-Z0-9_]+", c)}


def wanted() -> list[str]:
    sources = {path: path.read_text(encoding="utf-8") for path in SOURCES}
    names = set[str]().union(*(attributes(text) for text in sources.values()))
    enums = members(sources[ROOT / "stages/backends/tensorrt/build.py"])
    return sorted(names | enums)


def requirements() -> list[str]:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def wheel(requirement: str, folder: Path) -> Path:
    """Path of the wheel in the cache, downloaded by pip if it is not there yet."""
    name, version = requirement.replace("-", "_").split("==")
    pattern = f"{name}-{version}-*.whl"
    if not list(folder.glob(pattern)):
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            download(requirement, temporary)
            found = next(Path(temporary).glob(pattern))
            found.replace(folder / found.name)  # whole, though other workers look for it too
    return next(folder.glob(pattern))


def download(requirement: str, folder: str) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    only = ["--no-deps", "--only-binary=:all:", "--dest", folder]
    command = [*pip, "download", *only, requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(
            f"pip could not download {requirement}, whose symbols this test reads (is there a"
            f" package index in reach?):\n{done.stderr.strip()}",
            pytrace=False,
        )


@pytest.fixture(scope="module", params=requirements())
def symbols(request: pytest.FixtureRequest) -> bytes:
    """The extension module of one wheel, and the Python beside it."""
    requirement = str(request.param)
    folder = request.config.cache.mkdir("tensorrt-bindings")
    with zipfile.ZipFile(wheel(requirement, folder)) as archive:
        names = [n for n in archive.namelist() if n.endswith((".so", "bindings/__init__.py"))]
        return b"\0".join(archive.read(name) for name in names)


def holds(symbols: bytes, name: str) -> bool:
    text = name.encode()
    return text + b"\0" in symbols or b"\n" + text + b" = " in symbols


def test_sources_use_what_the_collector_must_see() -> None:
    names = wanted()
    assert {"STRONGLY_TYPED", "set_memory_pool_limit", "deserialize_cuda_engine"} <= set(names)
    assert {"ERROR_ON_TIMING_CACHE_MISS", "queryKeys", "update", "tacticHash"} <= set(names)
    assert {"AMPERE_PLUS", "node_operator", "SPARSE_WEIGHTS", "VERBOSE", "__version__"} <= set(
        names
    )
    assert {"create_engine_inspector", "get_engine_information", "IProfiler"} <= set(names)
    assert {"execution_context", "enqueue_emits_profile", "execute_async_v3"} <= set(names)
    assert attributes("trt.A.b(config.c).d\nother.e\nconfig.f().g") == set("Abcdfg")
    assert attributes("from x import builder\nbuilder.build(1)") == set()


def test_every_attribute_is_in_the_wheel(symbols: bytes) -> None:
    assert [name for name in wanted() if not holds(symbols, name)] == []


@pytest.mark.parametrize(
    "name",
    [
        "set_calibration_folder",  # invented
        "STRONGLY_TYPED_MAYBE",  # invented
        "ComputeCapability",  # of TensorRT-RTX alone
        "get_engine_validity",  # of TensorRT-RTX alone
    ],
)
def test_what_does_not_exist_is_not_found(symbols: bytes, name: str) -> None:
    assert not holds(symbols, name)


def test_a_flag_that_tensorrt_11_dropped_tells_the_wheels_apart(
    request: pytest.FixtureRequest,
) -> None:
    folder = request.config.cache.mkdir("tensorrt-bindings")
    found = {}
    for requirement in requirements():
        with zipfile.ZipFile(wheel(requirement, folder)) as archive:
            name = next(n for n in archive.namelist() if n.endswith(".so"))
            found[requirement.partition("==")[2]] = holds(archive.read(name), "FP16")
    assert found == {"10.16.1.11": True, "11.4.0.106": False}


def test_the_newer_wheel_is_the_pin() -> None:
    document = marked.parse((ROOT / "params.yaml").read_text(encoding="utf-8"))
    pin = document.data["toolchain"]["tensorrt"]["packages"]["tensorrt"]
    assert f"tensorrt-cu13-bindings=={pin}" in requirements()
