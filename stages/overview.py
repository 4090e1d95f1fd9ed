# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""One picture and one table over all engines.

`dvc plots show` draws data plots with scripts from the network; an SVG is shown without one.
"""

from __future__ import annotations

import csv
import io
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from stages.lib import console, files, layout, params, pins

_PANELS = (
    ("accuracy", "task metric"),
    ("sqnr_db", "SQNR against the exported model, dB"),
    ("plan_kib", "plan, KiB"),
)
_COLOURS = {
    "fp32": "#4c566a",
    "tf32": "#7b88a1",
    "fp16": "#2a6fb0",
    "bf16": "#4f9d69",
    "int8": "#c2722d",
}
_COLUMNS = (
    "engine",
    "model",
    "precision",
    "profile",
    "accuracy",
    "accuracy_drop",
    "sqnr_db",
    "plan_kib",
)


def main() -> None:
    """Draw all engines of params.yaml."""
    document = params.load()
    pins.toolchain(document, "overview")
    rows = [
        {
            "engine": engine,
            **{key: settings[key] for key in ("model", "precision", "profile")},
            **files.read_json(layout.metrics(engine)),
        }
        for engine, settings in document.param("engines").items()
    ]
    files.write_bytes(layout.OVERVIEW / "engines.svg", _picture(rows))
    files.write_bytes(layout.OVERVIEW / "engines.csv", _table(rows))
    console.say(f"overview: {len(rows)} engines -> {layout.OVERVIEW / 'engines.svg'}")


def _table(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _picture(rows: list[dict[str, Any]]) -> bytes:
    """An SVG without a date, and with ids that follow from its content."""
    mpl.rcParams.update({"svg.hashsalt": "enginery", "svg.fonttype": "none", "font.size": 9})
    figure = Figure(figsize=(12, 1.2 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots(1, len(_PANELS), sharey=True)
    for axis, (key, title) in zip(axes, _PANELS, strict=True):
        _panel(axis, rows, key, title)
    axes[0].invert_yaxis()
    stream = io.BytesIO()
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(stream, metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def _panel(axis: Any, rows: list[dict[str, Any]], key: str, title: str) -> None:
    values = [row[key] for row in rows]
    known = [value for value in values if value is not None]
    bars = axis.barh(
        [row["engine"] for row in rows],
        [0.0 if value is None else value for value in values],
        color=[_COLOURS[row["precision"]] for row in rows],
    )
    axis.bar_label(bars, [_label(row, key) for row in rows], padding=3)
    axis.set_title(title, loc="left")
    axis.set_xlim(0, 1.25 * max([*known, 1e-9]))
    axis.spines[["top", "right"]].set_visible(False)


def _label(row: dict[str, Any], key: str) -> str:
    value = row[key]
    if value is None:
        return "identical" if key == "sqnr_db" and row["identical"] else "none"
    return f"{value:g}"


if __name__ == "__main__":
    console.run("overview", main)
