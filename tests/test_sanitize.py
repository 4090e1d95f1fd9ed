# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The stage `sanitize`, with rewrites of the user's own, good and wrong."""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import onnx
import pytest

from stages import export, sanitize
from stages.lib import errors, files, graphs, layout
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from tests.conftest import Project

CLEAN = layout.clean("tiny")

PASS = """
import onnx_ir as ir

class Rename(ir.passes.InPlacePass):
    def call(self, model):
        changed = False
        for node in model.graph:
            if node.op_type == "{old}":
                node.op_type, changed = "{new}", True
        return ir.passes.PassResult(model, changed)

PASS = Rename()
"""
RULES = """
from onnxscript.rewriter import RewriteRuleSet, pattern

def twice(op, x):
    return op.Relu(op.Relu(x))

def once(op, x):
    return op.Relu(x)

RULES = RewriteRuleSet([pattern.RewriteRule(twice, once)])
"""


@pytest.fixture
def exported(project: Project) -> Project:
    export.main("tiny")
    return project


def rewrite(project: Project, text: str, name: str = "own.py") -> None:
    (project.root / layout.rewrites("tiny") / name).write_text(text)


def test_the_clean_graph_is_proven_and_its_changes_told(
    exported: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    sanitize.main("tiny")
    assert zoo.ops(graphs.load(CLEAN)) == {
        "Conv": 2,
        "Relu": 2,
        "Add": 1,
        "GlobalAveragePool": 1,
        "Flatten": 1,
        "Gemm": 1,
    }
    told = files.read_json(layout.facts("sanitize", "tiny"))["details"]
    assert told["proof"] == {"state": "passed", "samples": 4}
    wanted = exported.params()["models"]["tiny"]["sanitize"]["passes"]
    assert [change["pass"] for change in told["passes"]] == wanted
    assert "sanitize tiny: 5 passes -> artifacts/onnx/tiny/clean; outputs identical\n" in (
        capsys.readouterr().out
    )


def test_without_passes_the_graph_stays(exported: Project) -> None:
    exported.set("models.tiny.sanitize.passes", [])
    sanitize.main("tiny")
    assert zoo.ops(graphs.load(CLEAN)) == zoo.ops(graphs.load(layout.exported("tiny")))


def test_the_fold_limit_is_the_params(exported: Project) -> None:
    exported.set("models.tiny.sanitize.fold_limit_kib", 0)
    sanitize.main("tiny")
    assert zoo.ops(graphs.load(CLEAN))["Mul"] == 1


def test_a_good_pass_of_the_users_runs_first(exported: Project) -> None:
    rewrite(exported, PASS.format(old="Neg", new="Abs"))
    sanitize.main("tiny")
    told = files.read_json(layout.facts("sanitize", "tiny"))
    first = told["details"]["passes"][0]
    assert first["pass"] == "rewrites/own.py"
    assert (first["removed"], first["added"]) == ({"Neg": 1}, {"Abs": 1})
    assert "models/tiny/rewrites/own.py" in told["inputs"]


def test_good_rules_of_the_users_run(exported: Project) -> None:
    source = exported.root / "models/tiny/source/net.onnx"
    proto = onnx.load(source)
    proto.graph.node[7].output[0] = "e_once"
    proto.graph.node.insert(8, zoo.node("Relu", ["e_once"], ["e"], name="relu_3"))
    source.write_bytes(proto.SerializeToString())
    export.main("tiny")
    sanitize.main("tiny")
    assert zoo.ops(graphs.load(CLEAN))["Relu"] == 3
    rewrite(exported, RULES)
    sanitize.main("tiny")
    assert zoo.ops(graphs.load(CLEAN))["Relu"] == 2


def test_rewrites_run_in_order_of_name(exported: Project) -> None:
    rewrite(exported, PASS.format(old="Abs", new="Sign"), "b.py")
    rewrite(exported, PASS.format(old="Neg", new="Abs"), "a.py")
    sanitize.main("tiny")
    told = files.read_json(layout.facts("sanitize", "tiny"))["details"]["passes"]
    assert [change["pass"] for change in told[:2]] == ["rewrites/a.py", "rewrites/b.py"]
    assert told[1]["added"] == {"Sign": 1}


def test_a_wrong_rewrite_is_caught_by_the_proof(exported: Project) -> None:
    sanitize.main("tiny")
    before = (CLEAN / "model.onnx").read_bytes()
    rewrite(exported, PASS.format(old="Relu", new="Abs"))
    with pytest.raises(errors.ProofError, match="changed output 'logits' on the probe samples"):
        sanitize.main("tiny")
    assert (CLEAN / "model.onnx").read_bytes() == before


def test_a_rewrite_that_changes_the_interface_is_caught(exported: Project) -> None:
    text = PASS.format(old="Gemm", new="Gemm").replace("node.op_type, changed = ", "", 1)
    text = text.replace('"Gemm", True', 'node.outputs[0].name = "scores"', 1)
    rewrite(exported, text)
    with pytest.raises(errors.ProofError, match=r"changed the graph's outputs: .*logits.*scores"):
        sanitize.main("tiny")
    assert not CLEAN.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", r"rewrites/own\.py failed: AttributeError: .* has no attribute 'RULES'"),
        ("1 / 0", "failed: ZeroDivisionError"),
        ("def PASS(model): return None", "failed: AttributeError"),
        (PASS.format(old="Relu", new="Relooo"), "ONNX Runtime refuses"),
    ],
)
def test_rewrites_that_fail(exported: Project, text: str, message: str) -> None:
    rewrite(exported, text)
    with pytest.raises(errors.GraphError, match=message):
        sanitize.main("tiny")
    assert not CLEAN.exists()


def test_two_runs_give_the_same_bytes(exported: Project) -> None:
    made = []
    for seed in ("0", "1"):
        assert exported.run("sanitize", "tiny", PYTHONHASHSEED=seed).returncode == 0
        made.append((CLEAN / "model.onnx").read_bytes())
    assert made[0] == made[1]


def test_a_full_disk_stops_it_with_its_own_code(exported: Project) -> None:
    sanitize.main("tiny")
    before = (CLEAN / "model.onnx").read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "stages.sanitize", "tiny"],
        cwd=exported.root,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 16
    assert "could not write artifacts/onnx/tiny/clean: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert (CLEAN / "model.onnx").read_bytes() == before
    assert [path.name for path in CLEAN.parent.iterdir() if path.name.endswith(".tmp")] == []
