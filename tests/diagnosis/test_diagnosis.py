# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Machines that do not exist against the real pins: what differs, and which engines that stops."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from stages.diagnosis import engines, rows
from stages.lib import errors
from stages.lib.machine import Gpu

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
L4 = Gpu(name="NVIDIA L4", compute_capability="8.9", driver="580.65.06", memory_mib=23034)
ISOLATED = ("tensorflow", "paddlepaddle", "mindspore")
RTX, TRT = "digits-fp32-b1", "on-gpu"


def _params() -> dict[str, Any]:
    """The real file with one TensorRT-RTX engine and one of TensorRT."""
    document = YAML(typ="safe").load(ROOT / "params.yaml")
    engine = document["engines"][RTX]
    gpu = {"name": "NVIDIA L4", "compute_capability": "8.9"}
    builder = {"gpu": gpu, "hardware_compatibility": "none"}
    document["engines"] = {RTX: engine, TRT: engine | {"backend": "tensorrt", "builder": builder}}
    return dict(document)


PARAMS = _params()


def _ideal() -> rows.Here:
    toolchain = PARAMS["toolchain"]
    groups = {name: group for name, group in toolchain.items() if isinstance(group, dict)}
    own = {name: rows.Environment(groups.pop(f"export-{name}")) for name in ISOLATED}
    packages = {p: v for group in groups.values() for p, v in group.get("packages", group).items()}
    return rows.Here(
        python=toolchain["python"],
        platform=toolchain["platform"],
        packages=packages,
        environments=own,
        gpu=L4,
        no_gpu="",
        cuda_runtime={"tensorrt": toolchain["tensorrt"]["cuda_runtime"]},
        opsets={RTX: 22, TRT: 22},
    )


IDEAL = _ideal()


def leaves(value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield path
        return
    for key, inner in value.items():
        yield from leaves(inner, f"{path}.{key}")


def test_every_pin_has_a_row_and_is_right_on_the_right_machine() -> None:
    table = rows.rows(PARAMS, IDEAL)
    shown = {key for row in table for key in row.keys}
    targets = {f"engines.{TRT}.builder.gpu"}
    assert shown == {*leaves(PARAMS["toolchain"], "toolchain"), *targets}
    unchecked = [row.pin for row in table if row.state != rows.OK]
    assert unchecked == ["cuda runtime, tensorrt_rtx"]
    assert engines.failure(PARAMS["engines"], table) is None
    for name, spec in PARAMS["engines"].items():
        assert engines.building(name, table) == "yes"
        assert engines.running(name, spec, "580.65.06", IDEAL) == "yes"


def other(**changes: Any) -> rows.Here:
    return dataclasses.replace(IDEAL, **changes)


def without(package: str) -> rows.Here:
    return other(packages={**IDEAL.packages, package: None})


def gpu(**changes: Any) -> rows.Here:
    return other(gpu=dataclasses.replace(L4, **changes))


@pytest.mark.parametrize(
    ("here", "pin", "found", "stopped"),
    [
        (other(python="3.12"), "python", "3.12", [RTX, TRT]),
        (other(platform="linux-aarch64"), "platform", "linux-aarch64", [RTX, TRT]),
        (without("numpy"), "numpy", "not installed", [RTX, TRT]),
        (without("torch"), "torch", "not installed", [RTX, TRT]),
        (without("ml-dtypes"), "ml-dtypes", "not installed", [RTX, TRT]),
        (without("tensorrt-rtx"), "tensorrt-rtx", "not installed", [RTX]),
        (without("tensorrt"), "tensorrt", "not installed", [TRT]),
        (other(opsets={RTX: 22, TRT: 26}), "onnx opset, tensorrt", "26", [TRT]),
        (other(cuda_runtime={"tensorrt": None}), "cuda runtime, tensorrt", "not installed", [TRT]),
        (gpu(driver="570.1"), "driver, tensorrt", "570.1", [TRT]),
        (gpu(name="NVIDIA L40S"), f"gpu, {TRT}", "NVIDIA L40S (8.9)", [TRT]),
        (gpu(compute_capability="9.0"), f"gpu, {TRT}", "NVIDIA L4 (9.0)", [TRT]),
    ],
)
def test_what_differs_stops_the_engines_that_need_it(
    here: rows.Here, pin: str, found: str, stopped: list[str]
) -> None:
    table = rows.rows(PARAMS, here)
    [row] = [row for row in table if row.pin == pin]
    assert (row.state, row.found) == (rows.DIFFERS, found)
    assert [name for name in PARAMS["engines"] if engines.blocking(name, table)] == stopped
    assert engines.building(stopped[0], table).startswith(f"no: {pin} is {found}, pinned ")
    error = engines.failure(PARAMS["engines"], table)
    assert isinstance(error, errors.PinError)
    assert error.what == (f"{len(stopped)} of 2 engines cannot be built here: {', '.join(stopped)}")
    assert row.mend == error.mend


def test_packages_are_mended_by_one_command() -> None:
    packages = dict.fromkeys(IDEAL.packages)
    error = engines.failure(PARAMS["engines"], rows.rows(PARAMS, other(packages=packages)))
    assert isinstance(error, errors.PinError)
    assert error.mend.count("pip install") == 1
    assert " numpy==" in error.mend
    assert " tensorrt-rtx==" in error.mend


def test_only_a_gpu_is_lacking() -> None:
    here = other(gpu=None, no_gpu="there is none")
    table = rows.rows(PARAMS, here)
    error = engines.failure(PARAMS["engines"], table)
    assert isinstance(error, errors.NoDeviceError)
    assert error.what == f"1 of 2 engines cannot be built here: {TRT}. Only a GPU is lacking"
    assert error.mend == f"build {TRT} on a machine with that GPU"
    assert engines.building(TRT, table) == f"no: gpu, {TRT} is none, pinned NVIDIA L4 (8.9)"
    assert engines.building(RTX, table) == "yes"
    assert engines.running(RTX, PARAMS["engines"][RTX], "580.65.06", here) == "no: no GPU"
    drivers = [row for row in table if row.pin.startswith("driver, ")]
    assert [(row.state, row.reason) for row in drivers] == [(rows.UNCHECKED, rows.ABSENT)] * 2


def test_a_gpu_and_a_package_are_lacking_is_no_mere_lack_of_a_gpu() -> None:
    packages = {**IDEAL.packages, "tensorrt": None}
    error = engines.failure(
        PARAMS["engines"], rows.rows(PARAMS, other(gpu=None, packages=packages))
    )
    assert isinstance(error, errors.PinError)


@pytest.mark.parametrize(
    ("here", "engine", "why"),
    [
        (gpu(driver="570.1"), RTX, "no: the NVIDIA driver here is 570.1"),
        (gpu(compute_capability="9.0"), RTX, f"no: the plan of {RTX} is built for sm86, sm89"),
        (gpu(name="NVIDIA L40S"), TRT, f"no: the plan of {TRT} is built for NVIDIA L4"),
    ],
)
def test_what_cannot_run_says_why_and_can_be_built_all_the_same(
    here: rows.Here, engine: str, why: str
) -> None:
    spec = PARAMS["engines"][engine]
    assert engines.running(engine, spec, "580.65.06", here).startswith(why)
    if engine == RTX:
        assert engines.building(engine, rows.rows(PARAMS, here)) == "yes"


def test_one_package_in_two_versions_has_two_rows() -> None:
    params = copy.deepcopy(PARAMS)
    params["toolchain"]["validate"]["numpy"] = "9.9.9"
    found = {row.pinned: row for row in rows.rows(params, IDEAL) if row.pin == "numpy"}
    assert {version: row.state for version, row in found.items()} == {
        PARAMS["toolchain"]["observe"]["numpy"]: rows.OK,
        "9.9.9": rows.DIFFERS,
    }
    assert found["9.9.9"].keys == ("toolchain.validate.numpy",)


def isolated() -> dict[str, Any]:
    """The real params, with one engine of a MindSpore model beside the others."""
    params = copy.deepcopy(PARAMS)
    params["models"]["sea"] = copy.deepcopy(params["models"]["digits"])
    params["models"]["sea"]["source"]["framework"] = "mindspore"
    params["engines"]["sea"] = params["engines"][RTX] | {"model": "sea"}
    return params


def beside(framework: str, reason: str = "", **packages: str) -> rows.Here:
    found = {**IDEAL.environments[framework].packages, **packages}
    own = rows.Environment(found, reason=reason)
    opsets = {**IDEAL.opsets, "sea": 22}
    return other(environments={**IDEAL.environments, framework: own}, opsets=opsets)


def test_one_package_in_several_environments_has_a_row_in_each() -> None:
    table = rows.rows(isolated(), beside("mindspore"))
    found = {row.pin: (row.found, row.state, row.engines) for row in table if "numpy" in row.pin}
    numpy = PARAMS["toolchain"]["observe"]["numpy"]
    assert found == {
        "numpy": (numpy, rows.OK, (RTX, TRT, "sea")),
        "numpy (mindspore)": ("1.26.4", rows.OK, ("sea",)),
        "numpy (paddlepaddle)": (numpy, rows.OK, ()),
        "numpy (tensorflow)": (numpy, rows.OK, ()),
    }
    [row] = [row for row in table if row.pin == "mindspore (mindspore)"]
    assert row.keys == ("toolchain.export-mindspore.mindspore",)


def test_an_environment_that_is_not_made_yet_stops_no_engine() -> None:
    params, reason = isolated(), "made on first use"
    table = rows.rows(params, beside("mindspore", reason))
    [row] = [row for row in table if row.pin == "numpy (mindspore)"]
    assert (row.found, row.state, row.reason) == ("", rows.UNCHECKED, reason)
    assert engines.building("sea", table) == "yes"
    assert engines.failure(params["engines"], table) is None


@pytest.mark.parametrize("reason", ["", "made on first use"])
def test_an_environment_of_another_version_stops_its_engines(reason: str) -> None:
    params = isolated()
    table = rows.rows(params, beside("mindspore", reason, numpy="1.0.1"))
    assert engines.building("sea", table) == "no: numpy (mindspore) is 1.0.1, pinned 1.26.4"
    assert engines.building(RTX, table) == "yes"
    error = engines.failure(params["engines"], table)
    assert isinstance(error, errors.PinError)
    assert error.what == "1 of 3 engines cannot be built here: sea"
    assert "requirements/export-mindspore.txt together (`make pins`)" in error.mend


def test_a_backend_that_no_engine_uses_stops_nothing() -> None:
    params = copy.deepcopy(PARAMS)
    del params["engines"][TRT]
    table = rows.rows(params, without("tensorrt"))
    assert [row.engines for row in table if row.pin == "tensorrt"] == [()]
    assert engines.failure(params["engines"], table) is None
