# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The closing table of `make repro`: every engine of params.yaml in one line.

Where models are of several frameworks, it also says of which, and whether the exported graph was
found to do what the source model does.

It trusts no artifact to be of the present state: where a stage failed, what lies behind it is of an
earlier run.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from stages.lib import console, facts, files, layout, params

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
_COMPARED = ("framework", "parity")  # behind the engine
_TEXTS = frozenset({"engine", *_COMPARED, "precision", "profile", "verdict"})
_UNKNOWN = "-"


def main() -> None:
    """Print the table."""
    document = params.load()
    digest = functools.cache(files.sha256)
    models = document.param("models")
    several = len({model["source"]["framework"] for model in models.values()}) > 1
    head, *rest = _HEAD
    rows = [(head, *(_COMPARED if several else ()), *rest)]
    for engine, settings in document.param("engines").items():
        figures, model = _row(document, engine, digest), settings["model"]
        known = figures[0] != _UNKNOWN
        precision = _precision(engine, settings["precision"], known=known)
        source = (models[model]["source"]["framework"], _parity(model, known=known))
        rows.append(
            (engine, *(source if several else ()), precision, settings["profile"], *figures)
        )
    console.say("\n" + _render(rows))
    console.say(
        "\nFigures are of the typed graph on this CPU against the exported model, on the validation"
        "\nsamples. No plan was run: that needs a GPU (`make device ENGINE=<engine>`)."
    )


def _row(document: params.Params, engine: str, digest: Callable[[Path], str]) -> tuple[str, ...]:
    """Figures and verdict, or why there are none: those of an earlier state would mislead."""
    model = document.param(f"engines.{engine}.model")
    chain = [
        *((stage, model) for stage in layout.MODEL_STAGES),
        *((stage, engine) for stage in layout.ENGINE_STAGES),
    ]
    reasons = (facts.outdated(document, stage, name, digest) for stage, name in chain)
    if reason := next(filter(None, reasons), None):
        return (*[_UNKNOWN] * 5, f"none: {reason}")
    report, verdict = (
        files.read_json(layout.report(engine)),
        files.read_json(layout.verdict(engine)),
    )
    found = {entry["name"]: entry for entry in report["measurements"]}
    metric, numeric = found["task-metric"]["value"], found["numerics"]["value"]
    without = "not run" if found["task-metric"]["state"] == "not run" else "none"
    return (
        f"{report['plan']['bytes'] / 1024:.0f}",
        f"{metric['engine']:.4f}" if metric else without,
        f"{metric['drop']:+.4f}" if metric else without,
        _worst(numeric["outputs"].values(), "sqnr_db", min) if numeric else "not run",
        _worst(numeric["outputs"].values(), "max_abs", max) if numeric else "not run",
        _verdict(verdict, packaged=layout.package(engine).exists()),
    )


def _precision(engine: str, asked: str, *, known: bool) -> str:
    """The precision asked for; of auto also what it chose."""
    if asked != "auto" or not known:
        return asked
    decision = files.read_json(layout.search(engine) / "decision.json")["decision"]
    if decision["precision"] != "int8":
        return f"auto: {decision['precision']}"
    return "auto: int8 {nodes}/{of}".format_map(decision["int8"])


def _parity(model: str, *, known: bool) -> str:
    """What `export` found; of an ONNX source there is nothing to compare with."""
    if not known:
        return _UNKNOWN
    state = files.read_json(layout.facts("export", model))["details"]["parity"]["state"]
    return "none" if state == "not applicable" else str(state)


def _worst(outputs: Any, key: str, choose: Any) -> str:
    if all(figures["identical"] for figures in outputs):
        return "identical" if key == "sqnr_db" else "0"
    known = [figures[key] for figures in outputs if not figures["identical"]]
    return "overflow" if None in known else f"{choose(known):.3g}"


def _verdict(verdict: dict[str, Any], *, packaged: bool) -> str:
    if failed := [rule["name"] for rule in verdict["rules"] if rule["state"] == "failed"]:
        return f"failed: {', '.join(failed)}"
    return "passed" if packaged else "passed, not packaged"


def _render(rows: list[tuple[str, ...]]) -> str:
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    texts = [column[0] in _TEXTS for column in columns]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(row, widths, texts, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


if __name__ == "__main__":
    console.run("table", main)
