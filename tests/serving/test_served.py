# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Packages that `package` made, in a real Triton server on 127.0.0.1, asked by Triton's clients."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tritonclient import grpc

from stages import serve
from stages.lib import errors, files, layout
from stages.serving import clients, server
from tests.conftest import MODEL, ROOT, make, why_no_gpu

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCHES = {"preferred_batch_size": [4, 8], "max_queue_delay_microseconds": 5000}
# BF16 has no kernels on a CPU, and FP16 no arithmetic of its own: both are written out.
ON_CPU = [f"{MODEL}-{kind}" for kind in ("fp32", "fp16", "bf16", "int8")]
PLAN = f"{MODEL}-plan"
NO_GATES = ("max_accuracy_drop", "min_sqnr_db", "min_cosine", "max_out_of_range")


# All in one process, and in the project's own code, so that the facts can name it.
CHAIN = f"""
from stages import build, calibrate, export, gate, observe, package, precision, sanitize, validate
for stage in (export, sanitize, observe, calibrate):
    stage.main({MODEL!r})
for engine in {[*ON_CPU, PLAN]!r}:
    for stage in (precision, build, validate, gate, package):
        stage.main(engine)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with packages: a graph for each precision, and the plan of int8."""
    root = tmp_path_factory.mktemp("served")
    project = make(root)
    (root / "stages").unlink()
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "stages", root / "stages", ignore=ignored)
    project.set("build.prove", False)
    project.set(f"engines.{PLAN}", project.params()["engines"][f"{MODEL}-int8"])
    for engine in (*ON_CPU, PLAN):
        runtime = "plan" if engine == PLAN else "onnxruntime"
        project.set(f"engines.{engine}.serving.runtime", runtime)
        project.set(f"engines.{engine}.serving.dynamic_batching", BATCHES)
        for name in NO_GATES:
            project.set(f"engines.{engine}.gates.{name}", None)
    done = subprocess.run(
        [sys.executable, "-B", "-c", CHAIN], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(autouse=True)
def _here(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)


@pytest.fixture(scope="module")
def running(root: Path) -> Iterator[server.Server]:
    with server.serving([root / layout.package(engine) for engine in (*ON_CPU, PLAN)]) as started:
        yield started


def lines(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What was asked and what came of it, as the command prints it."""
    printed = capsys.readouterr().out.splitlines()
    rows = [re.fullmatch(r"  (\S.*?)\s\s+(\S.*)", line) for line in printed]
    return {row[1]: row[2] for row in rows if row}


@pytest.mark.parametrize("engine", ON_CPU)
def test_graph_answers_as_validated(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = layout.package(engine)
    before = files.digests(folder)
    serve.main(engine)
    found = lines(capsys)
    for protocol in ("http", "grpc"):
        for size in (1, 4, 8, 64):
            assert found[f"{protocol} batch {size}"].startswith("as validated: off by ")
        assert "batch-size must be <= 64" in found[f"{protocol} batch 65"]
    crowd = re.fullmatch(r"as validated, in (\d+) runs .*", found["8 clients, 128 requests"])
    assert crowd
    assert int(crowd[1]) < 128
    assert files.digests(folder) == before


def test_plan_is_loaded_up_to_the_missing_gpu() -> None:
    if not why_no_gpu():
        pytest.skip("there is a GPU here: tests/gpu serves the plan")
    with pytest.raises(errors.NoDeviceError, match="needs an NVIDIA GPU, and here is no driver"):
        serve.main(PLAN)


@pytest.mark.parametrize(
    "why",
    [
        "the server does not say why",  # as of a config.pbtxt that it cannot parse
        "Internal: failed to run warmup: cuMemAlloc_v2 says out of memory (2)",
    ],
)
def test_what_no_gpu_would_mend_is_not_taken_for_its_absence(why: str) -> None:
    for magic in ("ftrt", "vtrt"):
        told = {"engine": PLAN, "plan": {"magic": magic}}
        with pytest.raises(errors.AnswerError, match=re.escape(f"does not load {PLAN}: {why}")):
            serve._not_served(told, why, alone=False)


def test_the_server_has_no_tensorrt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = shutil.copytree(layout.package(PLAN), tmp_path / PLAN)
    config = (package / "config.pbtxt").read_text()
    (package / "config.pbtxt").write_text(config.replace('"python"', '"tensorrt"'))
    (package / "1/model.py").unlink()
    with server.serving([package]) as alone, clients.Client(alone, "grpc") as client:
        why = client.why_not_ready(PLAN)
    assert why
    told = {"engine": PLAN, "plan": {"magic": "ftrt"}}
    serve._not_served(told, why, alone=False)
    assert "not run: " in capsys.readouterr().out


def test_what_is_no_test_of_the_plan_says_so(running: server.Server) -> None:
    client: Any = grpc.InferenceServerClient(running.grpc)
    config = client.get_model_config(ON_CPU[0]).config
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    assert parameters["answers"].endswith("never a test of the plan")
    assert parameters["device_run"] == "not run"
    client.close()
    told = files.read_json(layout.package(ON_CPU[0]) / "manifest.json")
    assert (told["serving"]["answers"], told["device"]) == (parameters["answers"], "not run")


def test_error_of_a_request_is_its_own(running: server.Server) -> None:
    """A wrong request between right ones fails alone."""
    right, wrong = np.zeros((1, 3, 8, 8), np.float32), np.zeros((1, 3, 8, 9), np.float32)
    for protocol in clients.PROTOCOLS:
        with clients.Client(running, protocol) as client:
            for array in (right, wrong, right):
                if array is right:
                    assert client.infer(ON_CPU[0], {"x": array}, ["logits"])["logits"].shape
                    continue
                with pytest.raises(clients.RefusedError, match="unexpected shape for input 'x'"):
                    client.infer(ON_CPU[0], {"x": array}, ["logits"])


@pytest.mark.parametrize("name", ["model.onnx", "model.plan"])
def test_altered_file_is_not_served(name: str, tmp_path: Path) -> None:
    engine = ON_CPU[0] if name == "model.onnx" else PLAN
    folder = tmp_path / engine
    shutil.copytree(layout.package(engine), folder)
    with (folder / "1" / name).open("ab") as stream:
        stream.write(b"\0")
    with server.serving([folder]) as started, clients.Client(started, "http") as client:
        assert f"{name} is not what was packed" in str(client.why_not_ready(engine))


def test_wrong_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(*arguments: Any, **options: Any) -> Any:
        found = infer(*arguments, **options)
        return {name: array + np.float32(0.01) for name, array in found.items()}

    infer = clients.Client.infer
    monkeypatch.setattr(clients.Client, "infer", moved)
    with pytest.raises(errors.AnswerError, match="answered otherwise than validated: off by"):
        serve.main(ON_CPU[0])


def test_altered_package_is_not_even_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "project"
    shutil.copytree(Path.cwd(), copy, symlinks=True)
    monkeypatch.chdir(copy)
    (layout.package(PLAN) / "config.pbtxt").write_text("", encoding="utf-8")
    with pytest.raises(errors.IntegrityError, match=r"config.pbtxt: is truncated"):
        serve.main(PLAN)


def test_server_that_is_not_installed_comes_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_HOME", tmp_path)
    with pytest.raises(errors.PinError, match="no Triton server here") as caught:
        serve.main(ON_CPU[0])
    assert "make serve-check" in caught.value.mend
