# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The stage `package` on hand-written facts: what it makes, and what it refuses to pack."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from stages import package
from stages.bundle import integrity, triton
from stages.lib import errors, files, layout, schema
from tests.packages_zoo import ENGINE, NAMES, PLAN, TYPED, example, run, write

ROOT = Path(__file__).parents[1]
TENSORRT_BUILDER = {
    "sparsity": "false",
    "hardware_compatibility": "none",
    "version_compatible": "false",
    "strip_plan": "false",
    "refit": "false",
    "max_aux_streams": "null",
    "profiling_verbosity": "detailed",
    "timing_cache": "record",
    "gpu": '{name: NVIDIA L4, compute_capability: "8.9"}',
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which all stages before `package` have run, as far as the facts say."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "schemas", tmp_path / "schemas")
    monkeypatch.chdir(tmp_path)
    write()
    return tmp_path


def packed(project: Path) -> dict[str, bytes]:
    folder = project / layout.package(ENGINE)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def package_files(project: Path) -> dict[str, bytes]:
    done = run(project)
    assert done.returncode == 0, done.stderr
    return packed(project)


def test_package_is_an_entry_of_a_model_repository(package_files: dict[str, bytes]) -> None:
    assert sorted(package_files) == [
        "1/model.plan",
        "1/model.py",
        "1/runtime.py",
        "config.pbtxt",
        "manifest.json",
        "provenance.json",
        "report.json",
        "verdict.json",
    ]
    assert package_files["1/model.plan"] == PLAN
    for packed_as, name in (("model", "model"), ("runtime", "tensorrt_rtx")):
        source = ROOT / f"stages/bundle/triton_{name}.py"
        assert package_files[f"1/{packed_as}.py"] == source.read_bytes()
    assert package_files["report.json"] == layout.report(ENGINE).read_bytes()
    assert package_files["verdict.json"] == layout.verdict(ENGINE).read_bytes()


def test_config_is_triton_s_and_says_what_was_not_run(package_files: dict[str, bytes]) -> None:
    text = package_files["config.pbtxt"].decode()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == (ENGINE, "python", 1)
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    assert parameters["runtime"] == "tensorrt_rtx"
    assert parameters["runtime_version"] == "1.7.1.116"
    assert parameters["device_run"] == "not run"


def test_manifest_accounts_for_every_file(package_files: dict[str, bytes]) -> None:
    made = json.loads(package_files["manifest.json"])
    assert schema.problems(made, schema.read(layout.schema("manifest"))) == []
    folder = layout.package(ENGINE)
    others = [path for path in package_files if path != "manifest.json"]
    assert made["files"] == {
        path: {"sha256": files.sha256(folder / path), "bytes": len(package_files[path])}
        for path in others
    }
    assert made["plan"]["sha256"] == made["files"]["1/model.plan"]["sha256"]
    assert made["plan"]["bytes"] == len(PLAN)


def test_manifest_names_the_code_that_packed(package_files: dict[str, bytes]) -> None:
    code = json.loads(package_files["manifest.json"])["code"]["package"]
    wanted = {"stages/package.py", "stages/bundle/manifest.py", "stages/bundle/triton.py"}
    assert wanted <= set(code)
    assert code["stages/package.py"] == files.sha256(ROOT / "stages/package.py")


def test_nothing_in_a_package_depends_on_place_or_time(
    package_files: dict[str, bytes], project: Path
) -> None:
    for name, data in package_files.items():
        assert project.as_posix().encode() not in data, name
    assert run(project).returncode == 0
    assert packed(project) == package_files
    assert sorted(path.name for path in layout.package(ENGINE).parent.iterdir()) == [ENGINE]


def test_tensorrt_plan_needs_no_python(project: Path) -> None:
    params = Path("params.yaml").read_text(encoding="utf-8")
    head, mark, tail = params.partition(f"  {ENGINE}:\n")
    tail = tail.replace("backend: tensorrt_rtx", "backend: tensorrt", 1)
    start, end = tail.index("      compute_capabilities:"), tail.index("    gates:")
    lines = [f"      {key}: {value}\n" for key, value in TENSORRT_BUILDER.items()]
    text = "".join([head, mark, tail[:start], *lines, tail[end:]])
    Path("params.yaml").write_text(text, encoding="utf-8")

    def change(facts: dict[str, Any]) -> None:
        for stage in ("build", "validate"):
            facts[stage]["params"][f"engines.{ENGINE}.backend"] = "tensorrt"
        facts["build"]["versions"] = {"python": "3.11", "tensorrt": "11.4.0.106"}

    report = example("report-int8") | {"backend": "tensorrt"}
    report["measurements"][1]["value"].update(magic="ftrt")
    write(change, report)
    done = run(project)
    assert done.returncode == 0, done.stderr
    found = packed(project)
    assert "1/model.py" not in found
    assert b'backend: "tensorrt"\n' in found["config.pbtxt"]
    assert b'value { string_value: "not run" }' in found["config.pbtxt"]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("path", "mend"),
    [
        (layout.plan(ENGINE), "dvc checkout"),
        (layout.report(ENGINE), "gate@"),
        (layout.verdict(ENGINE), "dvc checkout"),
        (TYPED, "dvc checkout"),
    ],
)
def test_altered_file_is_refused(path: Path, mend: str) -> None:
    path.write_bytes(path.read_bytes() + b"\n")
    name = "the report" if "report" in path.name else path.as_posix()
    with pytest.raises(errors.ArtifactError, match=name) as caught:
        package.main(ENGINE)
    assert mend in caught.value.mend
    assert not layout.package(ENGINE).exists()


def test_version_is_the_folder_of_params_yaml(project: Path) -> None:
    text = Path("params.yaml").read_text(encoding="utf-8")
    head, mark, tail = text.partition(f"  {ENGINE}:\n")
    tail = tail.replace("      version: 1\n", "      version: 7\n", 1)
    Path("params.yaml").write_text(head + mark + tail, encoding="utf-8")
    assert run(project).returncode == 0
    folder = layout.package(ENGINE)
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["7"]
    told = integrity.check(folder)
    assert told["plan"]["file"] == "7/model.plan"
    assert told["serving"]["version"] == told["params"][f"engines.{ENGINE}.serving"]["version"] == 7


def test_manifest_that_contradicts_itself_on_what_answers_is_found(project: Path) -> None:
    assert run(project).returncode == 0
    path = layout.package(ENGINE) / "manifest.json"
    told = files.read_json(path)
    serving = told["serving"]
    serving["answers"] = triton.ANSWERS["onnxruntime"]
    files.write_json(path, told)
    with pytest.raises(errors.IntegrityError, match=r"serving.answers is the typed graph on ONNX"):
        integrity.check(layout.package(ENGINE))
    told["serving"] = serving | {"answers": "the plan", "version": 2}
    files.write_json(path, told)
    with pytest.raises(errors.IntegrityError, match=r"1/model.plan is not of version 2"):
        integrity.check(layout.package(ENGINE))


@pytest.mark.usefixtures("project")
def test_refusal_leaves_the_earlier_package_whole() -> None:
    layout.package(ENGINE).mkdir(parents=True)
    (layout.package(ENGINE) / "config.pbtxt").write_text("earlier", encoding="utf-8")
    layout.plan(ENGINE).write_bytes(b"vtrt")
    with pytest.raises(errors.ArtifactError, match=r"model.plan is not the file"):
        package.main(ENGINE)
    assert [path.name for path in layout.package(ENGINE).parent.iterdir()] == [ENGINE]
    assert (layout.package(ENGINE) / "config.pbtxt").read_text(encoding="utf-8") == "earlier"


@pytest.mark.usefixtures("project")
def test_engine_that_failed_its_gates_is_not_packed() -> None:
    report = example("report-int8")
    report["measurements"][2]["value"]["outputs"]["logits"]["sqnr_db"] = 1.0
    write(report=report)
    with pytest.raises(errors.GateError, match="did not pass its gates"):
        package.main(ENGINE)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plan_sha256": "0" * 64}, "disagree about the plan"),
        ({"report_sha256": "0" * 64}, "disagree about the report"),
        ({"engine": "digits-int8-b64"}, "disagree about the engine"),
    ],
)
def test_verdict_on_something_else_is_refused(change: dict[str, str], message: str) -> None:
    verdict = files.read_json(layout.verdict(ENGINE)) | change
    write(verdict=verdict)
    with pytest.raises(errors.ArtifactError, match=message):
        package.main(ENGINE)


@pytest.mark.usefixtures("project")
def test_facts_of_another_backend_are_refused() -> None:
    write(lambda facts: facts["build"]["details"].update(backend="tensorrt"))
    with pytest.raises(errors.ArtifactError, match="backend: tensorrt_rtx, tensorrt"):
        package.main(ENGINE)


@pytest.mark.usefixtures("project")
def test_broken_chain_is_refused() -> None:
    typed = f"artifacts/onnx/{ENGINE}/typed/model.onnx"
    write(lambda facts: facts["build"]["inputs"].update({typed: "0" * 64}))
    with pytest.raises(errors.ArtifactError, match=f"disagree about the file {typed}"):
        package.main(ENGINE)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("stage", NAMES)
def test_missing_facts_are_named(stage: str) -> None:
    layout.facts(stage, NAMES[stage]).unlink()
    with pytest.raises(errors.ArtifactError, match=f"{stage}.facts.json is not there"):
        package.main(ENGINE)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("stage", NAMES)
def test_facts_that_fit_no_schema_are_refused(stage: str) -> None:
    write(lambda facts: facts[stage].update(host="builder-7"))
    with pytest.raises(errors.ArtifactError, match=rf"{stage}.facts.json: .*unknown key 'host'"):
        package.main(ENGINE)


@pytest.mark.usefixtures("project")
def test_output_that_triton_cannot_name_is_refused() -> None:
    write(lambda facts: facts["build"]["details"]["outputs"][0].update(name="image"))
    with pytest.raises(errors.GraphError, match="two inputs or outputs are called 'image'"):
        package.main(ENGINE)
    assert not layout.package(ENGINE).exists()
