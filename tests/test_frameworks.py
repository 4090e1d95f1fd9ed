# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Every framework's demo model through the real chain; one more framework, as the docs add it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from tests.clones import RAN, ROOT, Clone

if TYPE_CHECKING:
    from pathlib import Path

ALL = YAML(typ="safe").load(ROOT / "params.frameworks.yaml")
SECTION = "### Adding a framework in ten lines"
# What `make lock` makes of these blocks' requirements.
LOCK = ("ml_dtypes==0.5.4", "numpy==2.4.6", "onnx==1.23.2", "protobuf==6.33.6")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(tmp_path_factory.mktemp("a clone with spaces"))


def test_every_framework_is_built_gated_and_shown(clone: Clone, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    shown = clone.run("make", "repro", "FRAMEWORKS=all", f"KEEP={kept}").stdout
    head, *rows = [line.split() for line in shown.splitlines() if re.match(r"engine |digits", line)]
    assert head[:3] == ["engine", "framework", "parity"]
    assert [row[0] for row in rows] == list(ALL["engines"])
    assert {row[-1] for row in rows} == {"passed"}
    sources = {name: model["source"]["framework"] for name, model in ALL["models"].items()}
    for row, engine in zip(rows, ALL["engines"].values(), strict=True):
        framework = sources[engine["model"]]
        assert row[1:3] == [framework, "none" if framework == "onnx" else "passed"]
    for name in ALL["engines"]:
        assert (kept / "artifacts/packages" / name / "config.pbtxt").is_file()
    assert not clone.status()

    again = clone.run("make", "repro", "FRAMEWORKS=all").stdout
    assert RAN.findall(again) == []
    assert table(again) == table(shown)
    assert not clone.status()


def table(shown: str) -> str:
    """The closing table, without what is said behind it."""
    return shown[shown.index("\nengine") :].partition("\nthe clone is kept")[0].strip()


def blocks() -> list[str]:
    """Of the section in ARCHITECTURE.md, as they stand there."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    section = text[text.index(SECTION) :].partition("\n## ")[0]
    return re.findall(r"^```\w*\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def test_one_more_framework_as_architecture_md_adds_it(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # its environment is of no further use
    exporter, wanted, params = blocks()
    folder = clone.root / "stages/exporters/npz"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "exporter.py").write_text(exporter)
    requirements = clone.root / "requirements"
    (requirements / "export-npz.in").write_text(wanted)
    assert set(re.findall(r"^\w+==.*$", wanted, re.MULTILINE)) < set(LOCK)
    (requirements / "export-npz.txt").write_text("\n".join([*LOCK, "typing_extensions==4.16.0"]))

    _, pins, source = params.splitlines()
    clone.edit("params.yaml", "  export-onnx:\n", f"{pins}\n  export-onnx:\n")
    document = YAML(typ="safe").load(clone.root / "params.yaml")
    model = document["models"]["digits"]
    document["models"] = {"layer": model | YAML(typ="safe").load(source)}
    engine = document["engines"]["digits-int8-b64"]
    engine["gates"] = {**engine["gates"], "min_sqnr_db": None, "max_accuracy_drop": None}
    document["engines"] = {"layer-int8": engine | {"model": "layer"}}
    YAML(typ="safe").dump(document, clone.root / "params.layer.yaml")
    make_layer(clone)

    shown = clone.run("python", "-m", "stages.variant", "params.layer.yaml").stdout
    assert "export layer: npz -> " in shown
    assert "parity passed" in shown
    assert re.search(r"^layer-int8 .* passed$", shown, re.MULTILINE)


def make_layer(clone: Clone) -> None:
    home, digits = clone.root / "models/layer", clone.root / "models/digits"
    for name in ("source", "rewrites", "metric", "timing", "latency", "caches"):
        (home / name).mkdir(parents=True)
        (home / name / ".gitkeep").touch()
    clone.run("cp", "-R", str(digits / "samples"), str(home / "samples"))
    values: Any = np.random.default_rng(0)
    np.savez(
        home / "source/layer.npz",
        allow_pickle=False,
        weight=values.normal(0, 0.1, (64, 10)).astype(np.float32),
        bias=values.normal(0, 0.1, 10).astype(np.float32),
    )
