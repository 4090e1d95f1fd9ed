# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX's conformance models: what TensorRT-RTX builds, as they are and after each clean-up tool.

`python -m bench.conformance` prints the table; with a glob such as `node/test_einsum*`, what
happens to those models before and after our passes, with the parser's words. See
docs/conformance.md.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import sysconfig
from collections import Counter
from pathlib import Path
from typing import Any

from bench import chain, conformance_job, crew
from bench import conformance_suite as suite
from bench import conformance_words as words
from bench.conformance_elsewhere import CRASH
from bench.conformance_tools import TOOLS
from bench.conformance_verdict import CHANGED

SECONDS = 120.0
STATES = ("builds", "parser refuses", "build fails", "tool fails", "crashes", "hangs")
SHOWN = {
    "none": "as they are",
    "ours": "our passes",
    "onnxscript": "onnxscript optimizer",
    "onnxslim": "OnnxSlim",
    "polygraphy": "Polygraphy fold_constants",
}
LEGEND = """
builds             parsed and built for one target (sm120), 1 GiB of workspace, optimization level 0
changed result     other numbers than the model's reference data, or than before where ONNX Runtime
                   does not give that data itself; for our passes also on other inputs
changed interface  other names, order, types, shapes or symbolic dimensions of inputs or outputs
undone             passes of ours that failed on a model; the model is as good as before"""
Found = dict[str, dict[str, Any]]


def run(tool: str, models: dict[str, Path]) -> Found:
    """Findings of `conformance_job.work` by name of the model, in worker processes."""
    tasks = [(name, (tool, str(path))) for name, path in models.items()]
    # Two: the smallest machine that the tests are for has two cores.
    found = crew.run(conformance_job.work, tasks, workers=2, seconds=SECONDS)
    for one in found.values():
        one["state"] = _state(one)
    return found


def _state(one: dict[str, Any]) -> str:
    if "tool" in one:
        return "tool fails"
    if one["ended"] == "well" or one.get("elsewhere", "").startswith(CRASH):
        return str(one["state"])
    return "hangs" if one["ended"].startswith("after") else "crashes"


def main(arguments: argparse.Namespace) -> None:
    """Print a table, or single models."""
    models = {
        name: path
        for name, path in suite.models().items()
        if fnmatch.fnmatch(name, arguments.models) or fnmatch.fnmatch(name, f"*/{arguments.models}")
    }
    tools = arguments.tools.split(",") if arguments.tools else _installed()
    if arguments.models != "*" and not arguments.tools:
        tools = ["none", "ours"]
    found = {tool: run(tool, models) for tool in tools}
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=1, sort_keys=True))
    if arguments.models != "*":
        print("\n".join(words.single(name, found) for name in models))
        return
    print(chain._machine() + f", load {os.getloadavg()[0]:.1f}")  # noqa: SLF001
    print(f"{len(models)} models")
    _table(found)
    print(LEGEND)
    for tool in tools[: 2 if tools[:2] == ["none", "ours"] else 1]:
        print(f"\nNot built, {SHOWN[tool]}:\n\n{words.classes(found[tool])}")


def _installed() -> list[str]:
    tools, purelib = ["none", *TOOLS], sysconfig.get_path("purelib")
    return [tool for tool in tools if tool in ("none", "ours") or (Path(purelib) / tool).is_dir()]


def _table(found: dict[str, Found]) -> None:
    rows = []
    for tool, models in found.items():
        states = Counter(one["state"] for one in models.values())
        changed = sum(
            any(one.get(key, "").startswith(CHANGED) for key in ("result", "elsewhere"))
            for one in models.values()
        )
        other = sum(one.get("interface", "same") != "same" for one in models.values())
        undone = sum(bool(one.get("undone")) for one in models.values())
        judged = ["-"] * 3 if tool == "none" else [str(changed), str(other), str(undone)]
        rows.append((SHOWN[tool], *(str(states[state]) for state in STATES), *judged))
    chain.table(("", *STATES, "changed result", "changed interface", "undone"), rows)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m bench.conformance", description=__doc__)
    made.add_argument("models", nargs="?", default="*", help="glob over names; default: all")
    made.add_argument("--tools", default="", help=f"of none, {', '.join(TOOLS)}; by commas")
    made.add_argument("--json", default="", help="file for all findings")
    return made


if __name__ == "__main__":
    main(parser().parse_args())
