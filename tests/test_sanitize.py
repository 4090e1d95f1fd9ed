# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The stage `sanitize`, with rewrites of the user's own, good and wrong."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import pytest

from stages import export, sanitize
from stages.lib import files, graphs, layout
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
    assert (
        f"sanitize tiny: {len(wanted)} passes -> artifacts/onnx/tiny/clean; outputs identical\n"
        in (capsys.readouterr().out)
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


def undone(project: Project, capsys: pytest.CaptureFixture[str]) -> str:
    """Sanitize; the graph is as without the rewrite, which the facts and the console name."""
    sanitize.main("tiny")
    changes = files.read_json(layout.facts("sanitize", "tiny"))["details"]["passes"]
    assert [list(change) for change in changes if "undone" in change] == [["pass", "undone"]]
    assert f"sanitize tiny: pass rewrites/own.py undone: {changes[0]['undone']}\n" in (
        capsys.readouterr().out
    )
    made = (CLEAN / "model.onnx").read_bytes()
    (project.root / layout.rewrites("tiny") / "own.py").unlink()
    sanitize.main("tiny")
    assert (CLEAN / "model.onnx").read_bytes() == made
    return str(changes[0]["undone"])


def test_a_rewrite_that_changes_numbers_is_undone(
    exported: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(exported, PASS.format(old="Relu", new="Abs"))
    told = undone(exported, capsys)
    assert told.startswith("it changed output 'logits' on the probe samples by more than 1e-05")


def test_a_rewrite_that_changes_the_interface_is_undone(
    exported: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PASS.format(old="Gemm", new="Gemm").replace("node.op_type, changed = ", "", 1)
    text = text.replace('"Gemm", True', 'node.outputs[0].name = "scores"', 1)
    rewrite(exported, text)
    assert re.match(r"the clean-up changed the graph's outputs: .*logits", undone(exported, capsys))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", r"rewrite .*/own\.py failed: AttributeError: .* has no attribute 'RULES'"),
        ("1 / 0", r"rewrite .*/own\.py failed: ZeroDivisionError"),
        ("def PASS(model): return None", "rewrite .* failed: AttributeError"),
        ("import sys; sys.exit(3)", "rewrite .* failed: SystemExit: 3"),
        (PASS.format(old="Relu", new="Relooo"), "the graph is not valid ONNX any more: No Op "),
        (PASS.format(old="Add", new="Concat"), "the graph is not valid ONNX any more: "),
    ],
)
def test_rewrites_that_fail_are_undone(
    exported: Project, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    rewrite(exported, text)
    assert re.match(message, undone(exported, capsys))


def test_a_good_rewrite_beside_a_wrong_one_stays(exported: Project) -> None:
    rewrite(exported, PASS.format(old="Neg", new="Abs"), "a.py")
    rewrite(exported, PASS.format(old="Relu", new="Abs"), "b.py")
    rewrite(exported, PASS.format(old="Abs", new="Sign"), "c.py")
    sanitize.main("tiny")
    told = files.read_json(layout.facts("sanitize", "tiny"))["details"]["passes"]
    assert ["undone" in change for change in told] == [False, True, *[False] * (len(told) - 2)]
    assert (told[0]["added"], told[2]["added"]) == ({"Abs": 1}, {"Sign": 1})
    wanted = exported.params()["models"]["tiny"]["sanitize"]["passes"]
    assert [change["pass"] for change in told[3:]] == wanted


def test_what_is_too_large_is_not_proven(
    exported: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    source = exported.root / "models/tiny/source/net.onnx"
    proto = onnx.load(source)
    proto.graph.initializer.append(zoo.weight("large", 600, 500))
    proto.graph.node.append(zoo.node("Neg", ["large"], ["nowhere"]))
    source.write_bytes(proto.SerializeToString())
    export.main("tiny")
    exported.set("models.tiny.sanitize.memory_mib", 1)
    sanitize.main("tiny")
    told = files.read_json(layout.facts("sanitize", "tiny"))["details"]["proof"]
    reason = "its weights (1 MiB) exceed models.<m>.sanitize.memory_mib (1)"
    assert told == {"state": "not proven", "reason": reason}
    assert f"not proven: {reason}" in capsys.readouterr().out


def test_the_rewrite_of_the_readme_replaces_what_tensorrt_refuses(exported: Project) -> None:
    source = exported.root / "models/tiny/source/net.onnx"
    proto = onnx.load(source)
    node = proto.graph.node[2]
    node.op_type, node.domain = "QuickGelu", "com.microsoft"
    node.attribute.append(onnx.helper.make_attribute("alpha", 1.702))
    proto.opset_import.add(domain="com.microsoft", version=1)
    source.write_bytes(proto.SerializeToString())
    export.main("tiny")
    sanitize.main("tiny")
    told = files.read_json(layout.facts("sanitize", "tiny"))["details"]
    assert told["custom_ops"] == {"com.microsoft::QuickGelu": ["relu_1"]}
    assert [one["op"] for one in told["refused"]["nodes"]] == ["QuickGelu"]
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n# models/mine/rewrites/(\S+)\n(.*?)```", text, re.DOTALL)
    assert code is not None
    rewrite(exported, code[2], code[1])
    sanitize.main("tiny")
    told = files.read_json(layout.facts("sanitize", "tiny"))["details"]
    assert told["passes"][0]["removed"] == {"QuickGelu": 1}
    assert told["proof"]["state"] == "passed"
    assert (told["custom_ops"], told["refused"]["nodes"]) == ({}, [])


def test_plugin_nodes_pass_through_untouched_and_are_listed(
    exported: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    source = exported.root / "models/tiny/source/net.onnx"
    proto = onnx.load(source)
    node = proto.graph.node[2]
    node.op_type, node.domain = "Own_TRT", "trt.plugins"
    node.attribute.append(onnx.helper.make_attribute("plugin_version", "1"))
    proto.opset_import.add(domain="trt.plugins", version=1)
    before = node.SerializeToString()
    source.write_bytes(proto.SerializeToString())
    export.main("tiny")
    sanitize.main("tiny")
    made = onnx.load(CLEAN / "model.onnx").graph.node
    assert [one.SerializeToString() for one in made if one.domain] == [before]
    told = files.read_json(layout.facts("sanitize", "tiny"))["details"]
    assert told["custom_ops"] == {"trt.plugins::Own_TRT": ["relu_1"]}
    assert told["proof"] == {
        "state": "not proven",
        "reason": "ONNX Runtime lacks trt.plugins::Own_TRT, which ONNX does not define",
    }
    assert "trt.plugins::Own_TRT is no op of ONNX, passed through: relu_1" in (
        capsys.readouterr().out
    )


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


def test_a_crash_in_a_rewrite_leaves_the_last_graph(exported: Project) -> None:
    sanitize.main("tiny")
    before = (CLEAN / "model.onnx").read_bytes()
    rewrite(exported, "import os\nos.abort()\n")
    done = exported.run("sanitize", "tiny")
    assert done.returncode == 4
    assert "crashed the process that works on it (SIGABRT)" in done.stderr
    assert (CLEAN / "model.onnx").read_bytes() == before


def test_time_ends_at_the_limit(exported: Project) -> None:
    exported.set("models.tiny.limits", {"memory_mib": 4096, "seconds": 3})
    rewrite(exported, "import time\ntime.sleep(60)\n")
    done = exported.run("sanitize", "tiny")
    assert done.returncode == 22
    assert "takes longer than 3 s" in done.stderr
    assert not CLEAN.exists()
