# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The stage `export`, for both kinds of source, and what it leaves after a failure."""

from __future__ import annotations

import faulthandler
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from stages import export
from stages.exporters import structure
from stages.lib import errors, files, layout
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Project

OUT = "artifacts/onnx/tiny/exported/model.onnx"
NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.flat = nn.Flatten()
        self.head = nn.Linear(192, 5)

    def forward(self, x):
        x = {change}
        return self.head(self.flat(x))

def load():
    torch.manual_seed(7)
    return Net()
"""


def pytorch(project: Project, change: str) -> None:
    (project.root / "models/tiny/source/net.py").write_text(NET.format(change=change))
    project.set("models.tiny.source.framework", "pytorch")
    project.set("models.tiny.source.entry", "net.py:load")
    project.set("models.tiny.opset", 20)


def test_an_onnx_source_is_run_and_copied(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    export.main("tiny")
    source = (project.root / "models/tiny/source/net.onnx").read_bytes()
    assert (project.root / OUT).read_bytes() == source
    told = files.read_json(layout.facts("export", "tiny"))
    assert told["details"]["parity"]["state"] == "not applicable"
    assert list(told["outputs"]) == [OUT]
    assert sorted(told["inputs"]) == [
        "models/tiny/samples/probe/000.npz",
        "models/tiny/source/net.onnx",
    ]
    shown = capsys.readouterr().out
    assert shown == ("export tiny: onnx -> artifacts/onnx/tiny/exported; parity not applicable\n")


def test_a_pytorch_source_passes_its_parity_check(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    pytorch(project, "x * 2")
    export.main("tiny")
    found = files.read_json(layout.facts("export", "tiny"))["details"]["parity"]
    # No figure: its last digits are those of this processor.
    assert found == {"state": "passed", "reason": None, "samples": 4}
    shown = capsys.readouterr().out
    assert re.search(r"; parity passed within (0|\d(\.\d)?e-0\d)\n$", shown)


def test_a_module_that_behaves_differently_each_time_is_stopped(project: Project) -> None:
    export.main("tiny")
    before = (project.root / OUT).read_bytes()
    pytorch(project, "nn.functional.dropout(x)")  # in training mode, as it is called
    with pytest.raises(errors.ParityError, match=r"output 'logits': .* values differ from the"):
        export.main("tiny")
    assert (project.root / OUT).read_bytes() == before
    assert [path.name for path in (project.root / OUT).parent.iterdir()] == ["model.onnx"]


def test_a_broken_source_leaves_the_last_graph(project: Project) -> None:
    export.main("tiny")
    before = (project.root / OUT).read_bytes()
    source = project.root / "models/tiny/source/net.onnx"
    source.write_bytes(source.read_bytes()[:200])
    with pytest.raises(errors.SourceModelError, match="is not an ONNX file, or is truncated"):
        export.main("tiny")
    assert (project.root / OUT).read_bytes() == before


def test_another_face_is_told_with_both_sides(project: Project) -> None:
    project.set("models.tiny.outputs", ["scores"])
    project.set("models.tiny.metric.output", "scores")
    with pytest.raises(errors.SourceModelError, match=r"model: +logits\n +params.yaml: scores"):
        export.main("tiny")
    assert not (project.root / OUT).exists()


@pytest.mark.parametrize(
    ("fixed", "counts", "fails"), [(2, [4], 4), (4, [4], 1), (1, [1], 2), (1, [1, 1], 2)]
)
def test_a_graph_that_fixes_the_batch_fails_on_the_probe_samples(
    project: Project, fixed: int, counts: list[int], fails: int
) -> None:
    probe = project.root / "models/tiny/samples/probe"
    for number, samples in enumerate(counts):
        images = zoo.values(samples, 3, 8, 8)
        np.savez(probe / f"{number:03}.npz", allow_pickle=False, x=images)
    proto = zoo.tiny()
    proto.graph.node[9].CopyFrom(zoo.node("Reshape", ["f", "fixed"], ["g"], name="flatten"))
    proto.graph.initializer.append(zoo.const("fixed", [fixed, 4], np.int64))
    onnx.save(proto, project.root / "models/tiny/source/net.onnx")
    with pytest.raises(
        errors.GraphError, match=rf"the exported graph failed on inputs x \[{fails}, 3"
    ):
        export.main("tiny")
    assert not (project.root / OUT).exists()


@pytest.mark.parametrize("array", ["picture", "x"])
def test_probe_samples_that_do_not_fit(project: Project, array: str) -> None:
    folder: Path = project.root / "models/tiny/samples/probe"
    np.savez(folder / "000.npz", allow_pickle=False, **{array: zoo.values(4, 1, 8, 8)})
    with pytest.raises(errors.SamplesError, match=r"probe/000\.npz"):
        export.main("tiny")


def test_old_exporters_list_their_weights_as_inputs(project: Project) -> None:
    proto = zoo.tiny()
    proto.graph.input.append(zoo.face("w2", 4, 4, 3, 3))
    onnx.save(proto, project.root / "models/tiny/source/net.onnx")
    export.main("tiny")
    assert (project.root / OUT).is_file()


def test_the_process_ends_with_the_code_of_the_failure(project: Project) -> None:
    (project.root / "models/tiny/source/net.onnx").write_bytes(b"")
    done = project.run("export", "tiny")
    assert done.returncode == 4
    assert done.stderr.startswith("\nexport tiny: models/tiny/source/net.onnx is an empty file")
    assert "Traceback" not in done.stderr
    done = project.run("export", "tinny")
    assert done.returncode == 2
    assert "'tiny'" in done.stderr


@pytest.mark.parametrize(("op", "domain"), [("Mine", "my.ops"), ("EfficientNMS_TRT", "")])
def test_an_op_that_only_tensorrt_has_is_not_run(
    project: Project, capsys: pytest.CaptureFixture[str], op: str, domain: str
) -> None:
    proto = zoo.tiny()
    proto.graph.node[7].op_type, proto.graph.node[7].domain = op, domain
    proto.opset_import.append(onnx.helper.make_opsetid("my.ops", 1))
    onnx.save(proto, project.root / "models/tiny/source/net.onnx")
    export.main("tiny")
    named = f"{domain}::{op}".removeprefix("::")
    parity = files.read_json(layout.facts("export", "tiny"))["details"]["parity"]
    reason = f"ONNX Runtime lacks {named}, which ONNX does not define"
    assert parity == {"state": "not run", "reason": reason}
    assert onnx.load(project.root / OUT) == proto
    assert [path.name for path in (project.root / OUT).parent.iterdir()] == ["model.onnx"]
    assert capsys.readouterr().out.endswith("parity not run\n")


def test_an_op_that_nobody_has_is_refused(project: Project) -> None:
    proto = zoo.tiny()
    proto.graph.node[7].op_type = "Relooo"
    onnx.save(proto, project.root / "models/tiny/source/net.onnx")
    with pytest.raises(errors.SourceModelError, match="No Op registered for Relooo") as caught:
        export.main("tiny")
    assert "give a custom op a domain of its own" in caught.value.mend


def test_a_crash_leaves_the_last_graph(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    export.main("tiny")
    before = (project.root / OUT).read_bytes()

    def crash(*_: object) -> None:
        faulthandler.disable()  # pytest's own would print where
        os.abort()

    monkeypatch.setattr(structure, "check", crash)
    with pytest.raises(errors.SourceModelError, match=r"net\.onnx crashed .*\(SIGABRT\)"):
        export.main("tiny")
    assert (project.root / OUT).read_bytes() == before
    left = sorted(path.name for path in (project.root / OUT).parent.parent.iterdir())
    assert left == ["export.facts.json", "exported"]


def test_a_source_of_another_framework_is_told_with_its_own(project: Project) -> None:
    """Before an environment is made for it, and without the stage `check`."""
    project.set("models.tiny.source.framework", "tensorflow")
    project.set("models.tiny.opset", 17)
    project.set("models.tiny.source.entry", "net.onnx")
    with pytest.raises(errors.SourceModelError, match=r"net\.onnx is an ONNX model, and") as told:
        export.main("tiny")
    assert told.value.mend == "set models.<m>.source.framework to onnx"


def test_a_program_with_weights_of_its_own_comes_through(project: Project) -> None:
    code = NET.format(change="x") + (
        "n = torch.export.Dim('n')\n"
        "program = torch.export.export(load().eval(), (torch.ones(2, 3, 8, 8),),"
        " dynamic_shapes=({0: n},))\n"
        "torch.export.save(program, 'models/tiny/source/net.pt2')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=project.root, check=True)
    project.set("models.tiny.source.framework", "pytorch")
    project.set("models.tiny.source.entry", "net.pt2")
    project.set("models.tiny.opset", 20)
    done = project.run("export", "tiny")
    assert done.returncode == 0, done.stderr
    assert "pytorch -> artifacts/onnx/tiny/exported; parity passed" in done.stdout
    first = (project.root / OUT).read_bytes()
    export.main("tiny")
    assert (project.root / OUT).read_bytes() == first


def test_the_stage_itself_does_not_import_torch(project: Project) -> None:
    pytorch(project, "x")
    code = "import sys\nfrom stages import export\nexport.main('tiny')\n"
    code += "assert not [name for name in sys.modules if name.partition('.')[0] == 'torch']\n"
    subprocess.run([sys.executable, "-c", code], cwd=project.root, check=True)
