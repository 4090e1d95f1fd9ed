# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""`check` stops before any work, with every mistake, and its output never changes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import check
from stages.lib import errors

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one small model, in the current folder."""
    (tmp_path / "schemas").mkdir()
    shutil.copy(ROOT / "schemas/params.schema.json", tmp_path / "schemas")
    shutil.copy(ROOT / "schemas/examples/good/params-minimal.yaml", tmp_path / "params.yaml")
    model = tmp_path / "models/digits"
    for folder in ("source", "rewrites", "metric", "timing", "latency", "caches"):
        (model / folder).mkdir(parents=True)
    (model / "source/model.py").write_text("def load(): ...\n")
    for split in ("probe", "calibration", "validation"):
        (model / "samples" / split).mkdir(parents=True)
        write(model / "samples" / split / "000.npz", labels=split == "validation")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, *, name: str = "image", labels: bool = False, side: int = 8) -> None:
    arrays: dict[str, Any] = {name: np.zeros((3, 1, side, side), np.float32)}
    if labels:
        arrays["label"] = np.zeros(3, np.int64)
    np.savez_compressed(path, **arrays)


def test_a_right_project_gives_a_constant(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check.main()
    assert (project / "artifacts/params.ok").read_bytes() == b"ok\n"
    assert capsys.readouterr().out == "params.yaml is right: models 1, engines 1\n"


def test_missing_files_are_told_together_at_the_model(project: Path) -> None:
    model = project / "models/digits"
    (model / "rewrites").rmdir()
    (model / "source/model.py").rename(model / "source/modle.py")
    write(model / "samples/probe/000.npz", name="picture")
    with pytest.raises(errors.ParamsError, match="3 mistakes in the files that") as caught:
        check.main()
    rows = caught.value.what.split("\n")[:-1]
    assert [row.split(": ")[:2] for row in rows] == [["params.yaml:4:3", "models.digits"]] * 3
    assert "`mkdir -p models/digits/rewrites && touch models/digits/rewrites/.gitkeep`" in rows[0]
    assert "models/digits/source/model.py, which is not there. Did you mean 'modle.py'?" in rows[1]
    assert "lacks the array 'image'; it holds: picture" in rows[2]
    assert not (project / "artifacts").exists()


def test_a_missing_model_is_one_mistake(project: Path) -> None:
    (project / "models/digits").rename(project / "models/digit")
    with pytest.raises(
        errors.ParamsError, match=r"models/digits/ is not there\. Did you mean 'digit"
    ):
        check.main()


def test_a_missing_metric_is_named(project: Path) -> None:
    path = project / "params.yaml"
    text = path.read_text().replace("kind: top1", "kind: python")
    path.write_text(text.replace("entry: null", "entry: score.py:f1"))
    with pytest.raises(errors.ParamsError, match=r"names models/digits/metric/score\.py"):
        check.main()


def test_wrong_samples_alone_are_an_error_of_samples(project: Path) -> None:
    samples = project / "models/digits/samples"
    (samples / "probe/000.npz").unlink()
    write(samples / "calibration/000.npz", side=9)
    write(samples / "validation/000.npz", labels=False)
    with pytest.raises(errors.SamplesError, match="3 mistakes in the files") as caught:
        check.main()
    rows = caught.value.what.split("\n")
    assert "models/digits/samples/probe holds no .npz, .npy or .py file" in rows[0]
    assert "'image' has shape [3, 1, 9, 9], params.yaml says ['batch', 1, 8, 8]" in rows[1]
    assert "lacks the array 'label'; it holds: image" in rows[2]


def test_labels_are_needed_only_by_a_metric(project: Path) -> None:
    write(project / "models/digits/samples/validation/000.npz", labels=False)
    path = project / "params.yaml"
    text = (
        path.read_text().replace("kind: top1", "kind: none").replace("labels: label", "labels: ~")
    )
    text = text.replace("output: logits", "output: ~").replace(
        "max_accuracy_drop: 0.01", "max_accuracy_drop: ~"
    )
    path.write_text(text)
    check.main()


@pytest.mark.parametrize("damage", ["cut", "garbage", "flip"])
def test_damaged_samples(project: Path, damage: str) -> None:
    path = project / "models/digits/samples/probe/000.npz"
    data = path.read_bytes()
    flipped = data[:45] + b"\xff" * 15 + data[60:]
    path.write_bytes({"cut": data[:-40], "garbage": b"no zip", "flip": flipped}[damage])
    with pytest.raises(errors.SamplesError, match=r"is not a readable \.npz file"):
        check.main()


def run(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stages.check", *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_exit_codes_of_the_command(project: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "stages", project / "stages", ignore=ignore)
    assert run(project).returncode == 0
    (project / "models/digits/samples/probe/000.npz").unlink()
    assert run(project).returncode == errors.SamplesError.exit_code == 5
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("precision: int8", "precision: int9"))
    failed = run(project)
    assert failed.returncode == errors.ParamsError.exit_code == 2
    assert failed.stderr == (
        "\ncheck: params.yaml:57:16: engines.digits-int8.precision: 'int9' is not allowed;"
        " allowed: auto, bf16, fp16, fp32, fp8, int8, tf32. Did you mean 'int8'?\n"
        "1 mistake in params.yaml\n\n"
        "To mend it: edit params.yaml, then `python -m stages.check`\n\n"
    )
    assert run(project, "superfluous").returncode == 64


def test_a_search_by_the_task_metric_needs_labels(project: Path) -> None:
    shutil.copy(ROOT / "schemas/examples/good/params-quantized.yaml", project / "params.yaml")
    text = (project / "params.yaml").read_text()
    with pytest.raises(errors.SamplesError, match=r"calibration/000\.npz lacks the array 'label'"):
        check.main()
    (project / "params.yaml").write_text(text.replace("drop: 0.005", "drop: null"))
    check.main()
    (project / "params.yaml").write_text(text)
    write(project / "models/digits/samples/calibration/000.npz", labels=True)
    check.main()


def test_plugin_libraries_are_those_that_params_name(project: Path) -> None:
    path = project / "params.yaml"
    text = path.read_text()
    named = f"plugins: [{{file: libmine.so, sha256: {'a' * 64}}}]"
    path.write_text(text.replace("plugins: []", named))
    with pytest.raises(errors.ParamsError, match=r"digits/plugins/libmine\.so is not there"):
        check.main()
    library = project / "models/digits/plugins/libmine.so"
    library.parent.mkdir()
    library.write_bytes(b"code")
    digest = hashlib.sha256(b"code").hexdigest()
    with pytest.raises(errors.ParamsError, match=f"has another SHA-256: {digest}"):
        check.main()
    path.write_text(text.replace("plugins: []", named.replace("a" * 64, digest)))
    check.main()


def test_trusted_files_and_interpreters_are_of_something(project: Path) -> None:
    path = project / "params.yaml"
    text = path.read_text()
    named = f"trusted: [{{file: modle.py, sha256: {'a' * 64}}}]"
    path.write_text(text.replace("trusted: []", named))
    found = r"source\.trusted names \S+/modle\.py, which is not there\. Did you mean 'model\.py'"
    with pytest.raises(errors.ParamsError, match=found):
        check.main()
    (project / "requirements").mkdir()
    (project / "requirements/export-tensorflow.txt").touch()
    path.write_text(text.replace("interpreters: {}", "interpreters: {tensorflo: /bin/true}"))
    found = r"interpreters\.tensorflo: it has no env.* Did you mean 'tensorflow'.* have: tensorflow"
    with pytest.raises(errors.ParamsError, match=found):
        check.main()


def test_an_entry_that_the_name_of_another_framework_fits(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("entry: model.py:load", "entry: net.onnx"))
    with pytest.raises(errors.ParamsError, match=r"'net\.onnx' looks like an ONNX model") as caught:
        check.main()
    assert "set models.digits.source.framework to onnx" in caught.value.what


def test_a_source_whose_bytes_are_of_another_framework(project: Path) -> None:
    (project / "models/digits/source/model.py").write_text("import mindspore\n")
    with pytest.raises(errors.ParamsError, match="is Python code that imports mindspore") as told:
        check.main()
    assert "set models.digits.source.framework to mindspore" in told.value.what
