# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The closing table of `make repro`: every engine of params.yaml in one line.

It reads reports and verdicts and trusts neither to be there or to belong to the present plan.
"""

from __future__ import annotations

from typing import Any

from stages.lib import console, files, layout, params

_HEAD = (
    "engine",
    "precision",
    "profile",
    "plan KiB",
    "metric",
    "drop",
    "SQNR dB",
    "max abs",
    "verdict",
)
_LEFT = 3


def main() -> None:
    """Print the table."""
    engines = params.load().param("engines")
    rows = [
        (engine, settings["precision"], settings["profile"], *_figures(engine))
        for engine, settings in engines.items()
    ]
    console.say("\n" + _render([_HEAD, *rows]))
    console.say(
        "\nFigures are of the typed graph on this CPU against the exported model, on the validation"
        "\nsamples. No plan was run: that needs a GPU (`make device ENGINE=<engine>`)."
    )


def _figures(engine: str) -> tuple[str, ...]:
    plan, report_path = layout.plan(engine), layout.report(engine)
    if not plan.exists():
        return ("-", "-", "-", "-", "-", "not built")
    size = f"{plan.stat().st_size / 1024:.0f}"
    if not report_path.exists():
        return (size, "-", "-", "-", "-", "not measured")
    report = files.read_json(report_path)
    if report["plan"]["sha256"] != files.sha256(plan):
        return (size, "-", "-", "-", "-", "not measured: the report is of another plan")
    values = {entry["name"]: entry["value"] for entry in report["measurements"]}
    metric, outputs = values["task-metric"], values["numerics"]["outputs"].values()
    return (
        size,
        f"{metric['engine']:.4f}" if metric else "none",
        f"{metric['drop']:+.4f}" if metric else "none",
        _worst(outputs, "sqnr_db", min),
        _worst(outputs, "max_abs", max),
        _verdict(engine),
    )


def _worst(outputs: Any, key: str, choose: Any) -> str:
    if all(figures["identical"] for figures in outputs):
        return "identical" if key == "sqnr_db" else "0"
    known = [figures[key] for figures in outputs if not figures["identical"]]
    return "overflow" if None in known else f"{choose(known):.3g}"


def _verdict(engine: str) -> str:
    path = layout.verdict(engine)
    if not path.exists():
        return "not judged"
    verdict = files.read_json(path)
    if verdict["report_sha256"] != files.sha256(layout.report(engine)):
        return "not judged: the verdict is of another report"
    failed = [rule["name"] for rule in verdict["rules"] if rule["state"] == "failed"]
    packaged = "" if failed or layout.package(engine).exists() else ", not packaged"
    return f"{verdict['verdict']}{packaged}" + (f": {', '.join(failed)}" if failed else "")


def _render(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < _LEFT or column == len(_HEAD) - 1 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


if __name__ == "__main__":
    console.run("table", main)
