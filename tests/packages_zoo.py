# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""All that `package` reads, from the examples of schemas/: no other stage need run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib import files, layout
from stages.policy import gates

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
GOOD = ROOT / "schemas" / "examples" / "good"
ENGINE, MODEL = "digits-int8-b1", "digits"
PLAN = b"vtrt" + bytes(20) + bytes([1, 7, 1, 116]) + bytes(range(256)) * 8
NAMES = dict.fromkeys(layout.MODEL_STAGES, MODEL) | dict.fromkeys(layout.ENGINE_STAGES, ENGINE)


def example(name: str) -> Any:
    return json.loads((GOOD / f"{name}.json").read_bytes())


def write(
    change: Callable[[dict[str, Any]], None] = lambda _: None,
    report: Any = None,
    verdict: Any = None,
) -> None:
    """Write plan, report, verdict and facts that belong together; `change` spoils the facts."""
    files.write_bytes(layout.plan(ENGINE), PLAN)
    plan = {"sha256": files.sha256(layout.plan(ENGINE)), "bytes": len(PLAN)}
    report = (report or example("report-int8")) | {"plan": plan}
    files.write_json(layout.report(ENGINE), report)
    limits = example("facts-gate")["params"][f"engines.{ENGINE}.gates"]
    decided = gates.decide(report, limits, files.sha256(layout.report(ENGINE)))
    files.write_json(layout.verdict(ENGINE), verdict or decided)

    facts = {stage: example(f"facts-{stage}") for stage in NAMES}
    facts["build"]["details"].update(plan=plan, backend=report["backend"])
    for told in facts.values():
        for kind in ("inputs", "outputs"):
            for path in (layout.plan(ENGINE), layout.report(ENGINE), layout.verdict(ENGINE)):
                if path.as_posix() in told[kind]:
                    told[kind][path.as_posix()] = files.sha256(path)
    change(facts)
    for stage, told in facts.items():
        files.write_json(layout.facts(stage, NAMES[stage]), told)


def run(project: Path) -> subprocess.CompletedProcess[str]:
    """Run the stage as DVC does, so that the code it ran lies in the project."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "stages", project / "stages", ignore=ignored, dirs_exist_ok=True)
    return subprocess.run(
        [sys.executable, "-B", "-m", "stages.package", ENGINE],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
