# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Shapes that Triton treats in its own way, in packages that a real server answers from."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from stages.lib import files, layout
from stages.serving import clients, server
from tests import packages_zoo as zoo
from tests.packages_zoo import ENGINE

if TYPE_CHECKING:
    from pathlib import Path

SCORE = {"name": "score", "dtype": "float32", "shape": [-1]}
FOUND = {"name": "found", "dtype": "int64", "shape": [-1, 4]}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(zoo.ROOT / "schemas", tmp_path / "schemas")
    shutil.copy(zoo.ROOT / "params.yaml", tmp_path)
    yaml = YAML(typ="safe")
    document = yaml.load(tmp_path / "params.yaml")
    document["engines"][ENGINE]["serving"]["runtime"] = "onnxruntime"
    with (tmp_path / "params.yaml").open("w", encoding="utf-8") as stream:
        yaml.dump(document, stream)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pack(project: Path, output: dict[str, Any]) -> str:
    """Pack the graph with one more output; return config.pbtxt."""

    def change(facts: dict[str, Any]) -> None:
        facts["build"]["details"]["outputs"].append(output)
        facts["build"]["details"]["profiles"][0]["image"]["max"][0] = 8

    zoo.write(change)
    done = zoo.run(project)
    assert done.returncode == 0, done.stderr
    return (layout.package(ENGINE) / "config.pbtxt").read_text(encoding="utf-8")


def images(rows: int) -> dict[str, Any]:
    return {"image": np.arange(rows * 64, dtype=np.float32).reshape(rows, 1, 8, 8) - 60}


def test_one_number_for_each_sample_is_seen_in_a_row_of_its_own(project: Path) -> None:
    assert "max_batch_size: 8\n" in pack(project, SCORE)
    with server.serving([layout.package(ENGINE)]) as running:
        for protocol in clients.PROTOCOLS:
            with clients.Client(running, protocol) as client:
                assert client.why_not_ready(ENGINE) is None
                feed = images(3)
                found = client.infer(ENGINE, feed, ["logits", "score"])
                assert found["score"].tolist() == [[3.0], [67.0], [131.0]]
                flat = feed["image"].reshape(3, 64)
                np.testing.assert_array_equal(found["logits"][:, 0], flat.sum(axis=1))


def test_length_that_depends_on_the_data_is_served_whole(project: Path) -> None:
    """As a batch it would be cut where the samples end, which is somewhere else."""
    assert "max_batch_size: 0\n" in pack(project, FOUND)
    with (
        server.serving([layout.package(ENGINE)]) as running,
        clients.Client(running, "grpc") as client,
    ):
        assert client.why_not_ready(ENGINE) is None
        feed = images(2)
        found = client.infer(ENGINE, feed, ["logits", "found"])
        np.testing.assert_array_equal(found["found"], np.argwhere(feed["image"] > 0))
        with pytest.raises(clients.RefusedError, match="no profile of the plan takes"):
            client.infer(ENGINE, images(9), ["logits"])


def test_asking_to_batch_what_is_no_batch_is_refused_before_anything_is_written(
    project: Path,
) -> None:
    text = (project / "params.yaml").read_text(encoding="utf-8")
    asked = "dynamic_batching: {preferred_batch_size: [1], max_queue_delay_microseconds: 0}"
    head, mark, tail = text.partition(f"  {ENGINE}:\n")
    tail = tail.replace("dynamic_batching: null", asked, 1)
    (project / "params.yaml").write_text(head + mark + tail, encoding="utf-8")

    def change(facts: dict[str, Any]) -> None:
        facts["build"]["details"]["outputs"].append(FOUND)

    zoo.write(change)
    done = zoo.run(project)
    assert done.returncode == 40, done.stderr
    assert "the first axis of output 'found' is no batch: the typed graph calls it" in done.stderr
    assert not layout.package(ENGINE).exists()
    assert not list(project.glob("artifacts/packages/*"))


def test_package_holds_the_graph_that_answers_and_the_plan(project: Path) -> None:
    pack(project, SCORE)
    told = files.read_json(layout.package(ENGINE) / "manifest.json")
    assert told["serving"] == {
        "answers": "the typed graph on ONNX Runtime, on the CPU: never a test of the plan",
        "files": ["1/model.onnx"],
        "runtime": "onnxruntime",
        "version": 1,
    }
    packed = layout.package(ENGINE) / "1"
    assert (packed / "model.onnx").read_bytes() == zoo.TYPED.read_bytes()
    assert (packed / "model.plan").read_bytes() == zoo.PLAN
    source = zoo.ROOT / "stages/bundle/triton_onnxruntime.py"
    assert (packed / "runtime.py").read_bytes() == source.read_bytes()
