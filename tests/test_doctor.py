# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The command `doctor`, run for real: as this machine is, and with other pins."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stages.lib import errors, machine

if TYPE_CHECKING:
    from tests.conftest import Project

ROOT = Path(__file__).parents[1]
SITE = Path(next(entry for entry in sys.path if entry.endswith("site-packages")))


def doctor(project: Project, **variables: str) -> subprocess.CompletedProcess[str]:
    return project.run("doctor", **{"CUDA_VISIBLE_DEVICES": "", **variables})


def row(shown: str, pin: str) -> str:
    [line] = [line for line in shown.splitlines() if line.startswith(f"{pin}  ")]
    return " ".join(line.split())


def test_this_machine_can_build_every_engine_of_params_yaml() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stages.doctor"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = (ROOT / "params.yaml").read_text().splitlines()
    for found in re.finditer(r"^(\S+) +\S+ +(\S+) +([\d,]+) +ok$", done.stdout, re.MULTILINE):
        package, version, places = found.groups()
        for place in places.split(","):
            assert re.fullmatch(rf' +{package}: "?{version}"?', lines[int(place) - 1]), found[0]
    assert done.stdout.count(" ok\n") > 10
    assert len(re.findall(r"^digits-\S+ .* yes$", done.stdout, re.MULTILINE)) == 11


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("python", "3.99", r"python 3\.11 3\.99 \d+ differs"),
        ("platform", "linux-riscv64", r"platform \S+ linux-riscv64 \d+ differs"),
        ("precision.ml-dtypes", "0.0.1", r"ml-dtypes \S+ 0\.0\.1 \d+ differs"),
        (
            "tensorrt_rtx.packages.tensorrt-rtx",
            "1.6.0.1",
            r"tensorrt-rtx \S+ 1\.6\.0\.1 \d+ differs",
        ),
    ],
)
def test_another_pin_stops_every_engine(project: Project, key: str, value: str, shown: str) -> None:
    project.set(f"toolchain.{key}", value)
    done = doctor(project)
    assert done.returncode == errors.PinError.exit_code
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert any(re.fullmatch(shown, line) for line in lines)
    assert "4 of 4 engines cannot be built here: tiny-" in done.stderr
    assert "To mend it: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pin_that_no_engine_needs_stops_none(project: Project) -> None:
    project.set("toolchain.export-pytorch.torch", "1.0")  # the model is an ONNX file
    project.set("toolchain.tensorrt.packages.tensorrt", "1.0")
    done = doctor(project)
    assert (done.returncode, done.stderr) == (0, "")
    assert row(done.stdout, "torch").endswith("differs; no engine needs it")


def test_a_graph_that_is_newer_than_the_pin_is_found_before_any_build(built: Project) -> None:
    built.set("toolchain.tensorrt_rtx.onnx_opset", 12)
    done = doctor(built)
    assert done.returncode == errors.PinError.exit_code
    shown = row(done.stdout, "onnx opset, tensorrt_rtx")
    assert re.fullmatch(r"onnx opset, tensorrt_rtx \d+ up to 12 \d+ differs", shown)
    stopped = built.run("build", "tiny-fp32")
    assert stopped.returncode == errors.PinError.exit_code
    assert (
        "toolchain.tensorrt_rtx.onnx_opset in params.yaml pins 12 as the newest" in stopped.stderr
    )


def test_an_environment_that_is_not_made_stops_nothing(project: Project, tmp_path: Path) -> None:
    done = doctor(project, XDG_CACHE_HOME=str(tmp_path / "empty"))
    assert (done.returncode, done.stderr) == (0, "")
    pins = project.params()["toolchain"]["export-mindspore"]
    shown = row(done.stdout, "numpy (mindspore)")
    words = rf"numpy \(mindspore\) - {pins['numpy']} \d+ not checked here: made on first use"
    assert re.fullmatch(words, shown)
    assert not (tmp_path / "empty").exists()


def test_an_interpreter_of_params_yaml_is_asked(project: Project, tmp_path: Path) -> None:
    project.set("interpreters", {"mindspore": sys.executable, "tensorflow": str(tmp_path / "gone")})
    done = doctor(project)
    assert (done.returncode, done.stderr) == (0, "")  # no engine here needs them
    shown = row(done.stdout, "numpy (mindspore)")
    assert shown.endswith("differs; no engine needs it")
    assert f"numpy (mindspore) {project.params()['toolchain']['observe']['numpy']} 1.26.4" in shown
    assert row(done.stdout, "keras (tensorflow)").startswith("keras (tensorflow) not installed ")


def on_gpu(project: Project) -> None:
    """Give one engine the backend tensorrt."""
    document: Any = project.params()
    engine = document["engines"]["tiny-fp16"]
    schema = (ROOT / "schemas/examples/good/params-tensorrt.yaml").read_text()
    assert "gpu: {name: NVIDIA L4" in schema
    from ruamel.yaml import YAML

    example = YAML(typ="safe").load(schema)
    engine["backend"] = "tensorrt"
    engine["builder"] = example["engines"]["digits-tf32"]["builder"] | {"timing_cache": "none"}
    project.write(document)


def test_an_engine_that_lacks_its_gpu_alone(project: Project, tmp_path: Path) -> None:
    on_gpu(project)
    project.set("toolchain.tensorrt.cuda_runtime", None)
    pin = project.params()["toolchain"]["tensorrt"]["packages"]["tensorrt"]
    site = tmp_path / "site" / f"tensorrt-{pin}.dist-info"
    site.mkdir(parents=True)
    (site / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tensorrt\nVersion: {pin}\n")
    done = doctor(project, PYTHONPATH=str(site.parent))
    assert done.returncode == errors.NoDeviceError.exit_code
    assert "1 of 4 engines cannot be built here: tiny-fp16. Only a GPU is lacking" in done.stderr
    assert row(done.stdout, "gpu, tiny-fp16").endswith("no GPU")
    # The stage says the same before it opens TensorRT.
    typed = project.root / "artifacts/onnx/tiny-fp16/typed"
    typed.mkdir(parents=True)
    source = project.root / "models/tiny/source/net.onnx"
    (typed / "model.onnx").write_bytes(source.read_bytes())
    stopped = project.run(
        "build", "tiny-fp16", PYTHONPATH=str(site.parent), CUDA_VISIBLE_DEVICES=""
    )
    assert stopped.returncode == errors.NoDeviceError.exit_code
    assert "tensorrt builds on the GPU itself, and here is none: " in stopped.stderr
    assert "engines.tiny-fp16.builder.gpu pins NVIDIA L4" in stopped.stderr


def test_a_package_that_is_lacking_outweighs_the_gpu(project: Project) -> None:
    on_gpu(project)
    done = doctor(project)
    assert done.returncode == errors.PinError.exit_code
    assert "1 of 4 engines cannot be built here: tiny-fp16" in done.stderr
    assert "--extra-index-url https://pypi.nvidia.com tensorrt==" in done.stderr


def bare(folder: Path, *names: str) -> list[str]:
    """A command that runs Python with a few modules of this environment and no others."""
    folder.mkdir()
    for name in names:
        for found in SITE.glob(f"{name}*"):
            if not found.name.endswith(".dist-info"):
                (folder / found.name).symlink_to(found)
    code = f"import sys, runpy; sys.path[:0] = ['.', {str(folder)!r}]; sys.argv[1:] = []; "
    code += "runpy.run_module('stages.doctor', run_name='__main__', alter_sys=True)"
    return [sys.executable, "-I", "-S", "-c", code]


def run_bare(command: list[str], project: Project) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=project.root,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_any_package_there_is_a_message(project: Project, tmp_path: Path) -> None:
    done = run_bare(bare(tmp_path / "none"), project)
    assert done.returncode == errors.PinError.exit_code
    assert "params.yaml cannot be read: No module named 'ruamel'" in done.stderr
    assert "`make check` makes .venv" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_packages_are_rows(project: Project, tmp_path: Path) -> None:
    names = ("ruamel", "jsonschema", "attr", "referencing", "rpds", "typing_extensions")
    done = run_bare(bare(tmp_path / "few", *names), project)
    assert done.returncode == errors.PinError.exit_code
    assert row(done.stdout, "numpy").startswith("numpy not installed ")
    assert row(done.stdout, "tensorrt-rtx").startswith("tensorrt-rtx not installed ")
    assert re.search(r"`python -m pip install .*\bnumpy==.*\btensorrt-rtx==", done.stderr)
    assert "Traceback" not in done.stderr
    assert machine.platform_name() in done.stdout
