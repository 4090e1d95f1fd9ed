# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The command `device`, as far as it goes without a GPU; tests/gpu runs the rest."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from jsonschema import Draft202012Validator
from onnx import helper
from polygraphy.exception import PolygraphyException

from stages import device
from stages.backends import gpu
from stages.backends.onnxruntime import run as onnxruntime
from stages.lib import errors, files, layout, machine, plugins

ROOT = Path(__file__).parents[1]
ENGINE = "digits-fp32-b64"
MANY: Any = {"image": {"min": [1, 1, 8, 8], "opt": [16, 1, 8, 8], "max": [64, 1, 8, 8]}}


def feeds(*shape: int) -> dict[str, np.ndarray[Any, Any]]:
    return {"image": np.zeros(shape, np.float32)}


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """For processes that this test starts: the sources are found, and no GPU is."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.usefixtures("elsewhere")
def test_without_a_gpu_it_says_not_run_and_writes_nothing(tmp_path: Path) -> None:
    for name in ("params.yaml", "schemas"):
        (tmp_path / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "stages.device", ENGINE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 14
    assert f"device {ENGINE}: not run: " in done.stderr
    assert "libcuda.so.1" in done.stderr or "GPU" in done.stderr
    assert "To mend it: run the same command on a machine with an NVIDIA GPU" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yaml", "schemas"]


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt_rtx"])
def test_runners_of_both_backends_need_a_gpu(backend: str, tmp_path: Path) -> None:
    code = (
        "import pathlib, sys\n"
        "from stages.lib import errors, plugins\n"
        f"run = plugins.load('stages.backends', '{backend}.run')\n"
        "try: run.runner(pathlib.Path('model.plan'))\n"
        "except errors.NoDeviceError as error: sys.exit(error.exit_code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (14, b"")


@pytest.mark.usefixtures("elsewhere")
def test_runners_bind_polygraphy_to_their_own_bindings() -> None:
    for backend, bindings in (("tensorrt_rtx", "tensorrt_rtx>=1.0"), ("tensorrt", "tensorrt>=8.5")):
        code = (
            "from stages.lib import plugins\n"
            f"plugins.load('stages.backends', '{backend}.run')\n"
            "from polygraphy.mod import trt_importer\n"
            "print(trt_importer.tensorrt_module_and_version_string())\n"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == bindings


@pytest.mark.usefixtures("elsewhere")
def test_the_command_loads_the_runner_before_the_rest_of_polygraphy() -> None:
    code = (
        "import sys\nfrom stages import device\n"
        "print([name for name in sys.modules if name.startswith('polygraphy.')])\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("shape", "index"),
    [
        ((1, 1, 8, 8), 0),
        ((2, 1, 8, 8), 1),
        ((64, 1, 8, 8), 1),
        ((65, 1, 8, 8), None),
        ((2, 1, 8), None),
        ((2, 1, 8, 9), None),
    ],
)
def test_the_first_profile_that_allows_the_shapes(
    shape: tuple[int, ...], index: int | None
) -> None:
    one: Any = {"image": {bound: [1, 1, 8, 8] for bound in ("min", "opt", "max")}}
    assert device.fitting([one, MANY], feeds(*shape)) == index


def test_a_plan_that_is_not_the_one_of_its_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = layout.plan(ENGINE)
    files.write_bytes(plan, b"vtrt")
    facts = {"details": {"plan": {"sha256": files.sha256(plan)}}}
    files.write_json(layout.facts("build", ENGINE), facts)
    assert device._checked(ENGINE)[1]["sha256"] == files.sha256(plan)
    files.write_bytes(plan, b"vtrT")
    with pytest.raises(errors.ArtifactError, match="is not the plan that the facts"):
        device._checked(ENGINE)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Params, schemas, samples, a plan with its facts, and an exported graph."""
    for name in ("params.yaml", "schemas"):
        (tmp_path / name).symlink_to(ROOT / name)
    samples = tmp_path / layout.samples("digits", "validation")
    shutil.copytree(ROOT / layout.samples("digits", "validation"), samples)
    monkeypatch.chdir(tmp_path)
    write_graph(layout.exported("digits"), scale=False)
    write_graph(layout.typed(ENGINE), scale=True)
    files.write_bytes(layout.plan(ENGINE), b"vtrt")
    details = {"plan": {"sha256": files.sha256(layout.plan(ENGINE))}, "profiles": [MANY]}
    settings = {"compute_capabilities": ["sm86", "sm89"]}
    facts = {"details": details, "params": {f"engines.{ENGINE}.builder": settings}}
    files.write_json(layout.facts("build", ENGINE), facts)
    return tmp_path


def write_graph(folder: Path, *, scale: bool) -> None:
    shape: list[int | str] = ["batch", 1, 8, 8]
    nodes = [
        helper.make_node("Constant", [], ["s"], value_float=1.01 if scale else 1.0),
        helper.make_node("Mul", ["image", "s"], ["m"], name="mul"),
        helper.make_node("Flatten", ["m"], ["logits"], name="flatten"),
    ]
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "graph", [image], [logits])
    folder.mkdir(parents=True)
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.save(model, folder / layout.GRAPH_FILE)


class InPlaceOfAGpu:
    """Stands where stages/backends/<backend>/run.py does: the typed graph on the CPU."""

    @staticmethod
    def runner(plan: Path) -> Any:
        assert plan == layout.plan(ENGINE)
        graph = layout.typed(ENGINE) / layout.GRAPH_FILE
        return onnxruntime.runner(graph, threads=1, name="typed")


def test_evidence_is_bound_to_the_plan_and_fits_its_schema(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = machine.Gpu(name="a GPU", compute_capability="8.9", driver="580.65.06", memory_mib=1)
    monkeypatch.setattr(gpu, "device_info", lambda: found)
    monkeypatch.setattr(plugins, "load", lambda *_: InPlaceOfAGpu)
    timed: list[tuple[int, tuple[int, ...]]] = []

    def latency(_: Any, profile: int, arrays: Any) -> list[float]:
        timed.append((profile, arrays["image"].shape))
        return [1.0, 2.0, 3.0]

    monkeypatch.setattr(gpu, "latency", latency)
    told = '{"Layers": ["mul", "flatten"], "Bindings": []}'
    monkeypatch.setattr(gpu, "layers", lambda *_: (told, {"flatten": 0.5, "copy": 0.25}))
    device.main(ENGINE)

    evidence = json.loads((project / layout.device_evidence(ENGINE)).read_bytes())
    schema = json.loads((ROOT / "schemas/device.schema.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(evidence)
    assert evidence["plan"]["sha256"] == files.sha256(layout.plan(ENGINE))
    assert evidence["errors"]["logits"]["relative_l2"] == pytest.approx(0.01, rel=1e-3)
    assert timed == [(0, (16, 1, 8, 8))]
    entry = evidence["latency"]["profiles"][0]
    assert (entry["median_ms"], entry["runs"]) == (2.0, 3)
    assert entry["shapes"] == {"image": [16, 1, 8, 8]}
    assert evidence["layers"]["count"] == 2
    assert "names of layers only" in evidence["layers"]["reason"]
    assert [evidence["layer_times"][key] for key in ("total_ms", "named_ms")] == [0.75, 0.5]
    for path in (layout.engine_latency(ENGINE), layout.model_latency("digits")):
        table = json.loads(path.read_bytes())
        assert table == {
            "schema_version": 1,
            "device": "a GPU",
            "layers": {"flatten": {"fp32": 0.5}},
        }
    with np.load(next(layout.samples("digits", "validation").glob("*.npz"))) as arrays:
        total = len(arrays["image"])
    assert evidence["samples"] == {"batch": 64, "profile": 0, "used": total, "left_out": 0}

    evidence["gpu"]["serial"] = "0"
    assert not Draft202012Validator(schema).is_valid(evidence)


def test_a_plan_for_other_gpus_names_its_targets(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        @staticmethod
        def runner(plan: Path) -> Any:
            msg = f"{plan} does not load"
            raise errors.DeviceError(msg, mend="build for this GPU")

    found = machine.Gpu(name="a GPU", compute_capability="9.0", driver="580.65.06", memory_mib=1)
    monkeypatch.setattr(gpu, "device_info", lambda: found)
    monkeypatch.setattr(plugins, "load", lambda *_: Refusing)
    with pytest.raises(
        errors.DeviceError, match=r"does not load(.|\n)*built for sm86, sm89; the GPU here is a GPU"
    ):
        device.main(ENGINE)
    assert not (project / "evidence").exists()


def test_a_driver_that_is_too_old_runs_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = machine.Gpu(name="a GPU", compute_capability="8.9", driver="570.1", memory_mib=1)
    monkeypatch.setattr(gpu, "device_info", lambda: found)
    with pytest.raises(errors.PinError, match=r"driver here is 570\.1; .* 580\.65\.06 or newer"):
        device.main(ENGINE)
    assert not (project / "evidence").exists()


def test_a_plan_that_fails_while_it_runs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)

    def fail(*_: Any) -> None:
        msg = "execute_async_v3() failed"
        raise PolygraphyException(msg)

    monkeypatch.setattr(device, "_compare", fail)
    with pytest.raises(errors.DeviceError, match=r"failed when it ran: execute_async_v3"):
        device._measure(None, None, [MANY], [])


def test_a_last_batch_that_the_profile_excludes_is_left_out(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    only: Any = {"image": {bound: [64, 1, 8, 8] for bound in ("min", "opt", "max")}}
    reference, runner = device._reference("digits", 1), InPlaceOfAGpu.runner(layout.plan(ENGINE))
    batches = [feeds(64, 1, 8, 8), feeds(3, 1, 8, 8)]
    compared = device._compare(reference, runner, [only], batches)
    assert compared["samples"] == {"batch": 64, "profile": 0, "used": 64, "left_out": 3}


def test_a_validation_batch_that_no_profile_allows(project: Path) -> None:
    reference = device._reference("digits", 1)
    assert project.is_dir()
    with pytest.raises(errors.ParamsError, match=r"no profile of the engine allows .* of 65"):
        device._compare(reference, None, [MANY], [feeds(65, 1, 8, 8)])
