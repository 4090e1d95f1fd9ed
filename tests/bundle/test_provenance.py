# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The statement: what in-toto and SLSA ask for, and the same that facts and manifest say."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

from stages.bundle import manifest, provenance, statement
from stages.lib import errors, files, layout, schema
from tests.packages_zoo import ENGINE, MODEL, NAMES, ROOT, example

if TYPE_CHECKING:
    from pathlib import Path

RULES = schema.read(ROOT / layout.schema("provenance"))
DIGEST = st.text("0123456789abcdef", min_size=64, max_size=64)
CODE = st.dictionaries(st.from_regex(r"stages/[a-c]\.py", fullmatch=True), DIGEST, min_size=1)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


SERVING = f"engines.{ENGINE}.serving"


def facts() -> dict[str, Any]:
    return {stage: example(f"facts-{stage}") for stage in NAMES}


def both(told: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest and statement of these facts, the statement as a consumer reads it."""
    good = example("manifest-rtx")
    made = manifest.make(
        ENGINE,
        MODEL,
        facts=told,
        report=example("report-int8"),
        verdict=example("verdict-passed"),
        code=good["code"]["package"],
        versions=good["toolchain"]["package"],
        params={SERVING: good["params"][SERVING]},
        serving=good["serving"],
        files=good["files"],
    )
    said = json.loads(files.canonical_json(provenance.make(made)))
    assert schema.problems(said, RULES) == []
    return made, said


def agree(made: dict[str, Any], said: dict[str, Any]) -> None:
    """Assert that each field of the statement is what the manifest says."""
    plan, graph = said["subject"]
    assert plan == {"name": made["plan"]["file"], "digest": {"sha256": made["plan"]["sha256"]}}
    assert graph["name"] == f"artifacts/onnx/{made['engine']}/typed"
    rows = [
        f"{digest}  {path.removeprefix(graph['name'] + '/')}\n"
        for path, digest in sorted(made["digests"]["typed_graph"].items())
    ]
    assert set(graph["digest"].values()) == {hashlib.sha256("".join(rows).encode()).hexdigest()}

    build = said["predicate"]["buildDefinition"]
    assert build["externalParameters"] == {"engine": made["engine"], "params": made["params"]}
    found: dict[str, set[tuple[str, ...]]] = {}
    for item in build["resolvedDependencies"]:
        role, stages = item["annotations"]["role"], item["annotations"].get("stages", [""])
        entry = {(item["name"], item["digest"]["sha256"], stage) for stage in stages}
        found.setdefault(role, set()).update(entry)
    params = found.pop("`params` of manifest.json, as canonical JSON")
    digest = hashlib.sha256(files.canonical_json(made["params"])).hexdigest()
    assert params == {("params", digest, "")}
    assert found.pop("code") == {
        (path, digest, stage)
        for stage, code in made["code"].items()
        for path, digest in code.items()
    }
    came = {
        "source", "probe_samples", "rewrites", "calibration_samples", "calibration_cache",
        "timing_cache", "validation_samples", "metric",
    }  # fmt: skip
    assert found == {
        role: {(path, digest, "") for path, digest in made["digests"][role].items()}
        for role in came
        if made["digests"][role]
    }

    builder = said["predicate"]["runDetails"]["builder"]
    pins = {
        (f"pkg:{'generic' if package == 'python' else 'pypi'}/{package}@{version}", stage)
        for stage, versions in made["toolchain"].items()
        for package, version in versions.items()
    }
    assert pins == {
        (item["uri"], stage)
        for item in builder["builderDependencies"]
        for stage in item["annotations"]["stages"]
    }
    versions = {
        (package, one) for package, text in builder["version"].items() for one in text.split(", ")
    }
    assert versions == {pin for told in made["toolchain"].values() for pin in told.items()}
    kept = [path for path in made["files"] if path not in (provenance.FILE, "1/model.plan")]
    found_files = {
        item["name"]: item["digest"]["sha256"]
        for item in said["predicate"]["runDetails"]["byproducts"]
    }
    del found_files["manifest"]
    assert found_files == {path: made["files"][path]["sha256"] for path in kept}


@pytest.mark.parametrize("name", ["rtx", "tensorrt"])
def test_statement_of_the_example_manifest(name: str) -> None:
    made, said = example(f"manifest-{name}"), example(f"provenance-{name}")
    assert provenance.make(made) == said
    data = files.canonical_json(said)
    digest = hashlib.sha256(data).hexdigest()
    assert made["files"][provenance.FILE] == {"sha256": digest, "bytes": len(data)}
    agree(made, said)


def test_in_toto_and_slsa_take_it() -> None:
    """By their own classes, without ours."""
    parsed = json_format.ParseDict(example("provenance-rtx"), statement_pb2.Statement())
    Statement.copy_from_pb(parsed).validate()
    predicate = json_format.MessageToDict(parsed.predicate)
    read = json_format.ParseDict(predicate, provenance_pb2.Provenance())
    assert json_format.MessageToDict(read) == predicate
    assert not read.run_details.HasField("metadata")
    assert all(entry.digest for entry in read.build_definition.resolved_dependencies)


def test_subjects_and_dependencies_are_those_of_the_facts() -> None:
    told = facts()
    made, said = both(told)
    agree(made, said)
    plan, graph = said["subject"]
    assert plan["digest"]["sha256"] == told["build"]["details"]["plan"]["sha256"]
    model = told["precision"]["outputs"][f"{layout.typed(ENGINE)}/model.onnx"]
    listing = f"{model}  model.onnx\n".encode()
    assert graph["digest"]["dirHash"] == hashlib.sha256(listing).hexdigest()
    named = {
        (entry["name"], entry["digest"]["sha256"])
        for entry in said["predicate"]["buildDefinition"]["resolvedDependencies"]
    }
    read = {item for one in told.values() for item in one["inputs"].items()}
    assert {(path, digest) for path, digest in read if path.startswith("models/")} <= named
    assert {item for one in told.values() for item in one["code"].items()} <= named


@given(st.lists(CODE, min_size=9, max_size=9), st.dictionaries(st.text(min_size=1), VALUE), DIGEST)
def test_manifest_and_statement_agree_whatever_the_facts_say(
    code: list[dict[str, str]], params: dict[str, Any], digest: str
) -> None:
    told = facts()
    for one, ran in zip(told.values(), code[1:], strict=True):
        one["code"] = ran
    told["calibrate"]["params"] = params
    told["observe"]["versions"] = {"python": "3.11", "numpy": digest[:3]}
    told["export"]["inputs"] = {f"models/{MODEL}/source/{digest[:5]}": digest} | told["export"][
        "inputs"
    ]
    told["build"]["inputs"] = {f"models/{MODEL}/timing/{ENGINE}.cache": digest}
    made, said = both(told)
    agree(made, said)
    assert list(statement.differences(provenance.make(made), said)) == []


def test_older_code_of_one_stage_is_kept_beside_the_newer() -> None:
    told = facts()
    told["export"]["code"]["stages/lib/files.py"] = "0" * 64
    _, said = both(told)
    stages = {
        entry["digest"]["sha256"]: entry["annotations"]["stages"]
        for entry in said["predicate"]["buildDefinition"]["resolvedDependencies"]
        if entry["name"] == "stages/lib/files.py"
    }
    assert stages.pop("0" * 64) == ["export"]
    ((_, others),) = stages.items()
    assert others == sorted(set(NAMES) - {"export"} | {"package"})


def test_versions_that_differ_between_stages_are_all_told() -> None:
    told = facts()
    told["observe"]["versions"]["numpy"] = "2.5.0+local"
    _, said = both(told)
    builder = said["predicate"]["runDetails"]["builder"]
    assert builder["version"]["numpy"] == "2.4.6, 2.5.0+local"
    uses = {item["uri"]: item["annotations"]["stages"] for item in builder["builderDependencies"]}
    assert uses["pkg:pypi/numpy@2.5.0%2Blocal"] == ["observe"]


def test_packages_of_an_exporter_with_its_own_environment_are_told() -> None:
    made, said = both(facts() | {"export": example("facts-export-isolated")})
    agree(made, said)
    builder = said["predicate"]["runDetails"]["builder"]
    assert builder["version"]["numpy"] == "1.26.4, 2.4.6"
    uses = {item["uri"]: item["annotations"]["stages"] for item in builder["builderDependencies"]}
    assert uses["pkg:pypi/numpy@1.26.4"] == ["export-mindspore"]
    assert uses["pkg:pypi/mindspore@2.10.0"] == ["export-mindspore"]
    assert "export-mindspore" in uses["pkg:generic/python@3.11"]


def test_nothing_in_it_is_a_place_a_time_or_a_commit() -> None:
    text = json.dumps(example("provenance-rtx"))
    addresses = set(re.findall(r"\w+://[^\"]*", text))
    assert addresses == {"https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1"}
    assert not re.search(r"gitCommit|startedOn|finishedOn|invocationId|20\d\d-\d\d-\d\d", text)
    assert not re.search(r'"(/|~|\.\.)', text)


def test_folder_digest_is_that_of_the_command_in_the_specification(tmp_path: Path) -> None:
    names = ["model.onnx", "model.onnx.data", "Z", "a/b", "a-b", "\u00e9"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    command = "find . -type f | cut -c3- | LC_ALL=C sort | xargs -r sha256sum | sha256sum"
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    digests = {name: files.sha256(tmp_path / name) for name in names}
    assert provenance.dir_hash(digests) == done.stdout.split()[0]


def test_folder_digest_of_the_example_in_the_specification() -> None:
    """github.com/in-toto/attestation, spec/v1/digest_set.md."""
    module = "github.com/marklodato/go-hello-world@v0.0.1"
    digests = {
        f"{module}/main.go": "ddc4da627d9a9f45fb29641a1b185d6f53287ecfd921aacbf4fe54b7a86fe8d1",
        f"{module}/README.md": "3a137eef6458bfb76bb2c63fc29ffc7166604d2d2e09ed9d8250a534122a8364",
        f"{module}/go.mod": "28e7c942a036902d981759d0bf5704d2bfc7cb500caf68b84711b234af01c6a5",
    }
    expected = "2a1bb6127fb481c60f67692e22285fb306f3c6ffe62075e0ccf674d7c3adcb8f"
    assert provenance.dir_hash(digests) == expected


def test_number_that_a_statement_cannot_hold_is_refused() -> None:
    made = example("manifest-rtx")
    made["params"]["models.digits.threads"] = 2**53 + 1
    with pytest.raises(errors.ArtifactError, match=r"no provenance .* above 2\*\*53"):
        provenance.make(made)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"), "Wrong statement type"),
        (lambda s: s["subject"][1].pop("digest"), r"digest required \(subject 1\)"),
        (lambda s: s.update(predicate={}), "Predicate object required"),
        (lambda s: s.update(predicateType="x"), "the predicate is 'x'"),
        (lambda s: s.update(extra=1), 'no field named "extra"'),
        (lambda s: s["predicate"].update(extra=1), 'no field named "extra"'),
        (lambda s: s["predicate"]["buildDefinition"].update(buildType=1), "buildType"),
        (lambda s: s.update(subject=None), "At least one subject"),
    ],
)
def test_what_is_no_provenance(change: Any, reason: str) -> None:
    said = copy.deepcopy(example("provenance-rtx"))
    change(said)
    assert re.search(reason, statement.problem(said) or "")


@pytest.mark.parametrize("document", [None, [], "x", 1, {}, {"subject": 1}])
def test_what_is_no_statement(document: Any) -> None:
    assert statement.problem(document)
