# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""This machine against every pin of params.yaml, and what could be built here. A command, no stage.

It writes nothing, and needs neither TensorRT nor a GPU: what is missing is a row of the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.diagnosis import engines, exporters, rows
from stages.lib import console, errors, layout, machine, onnx_header, pins

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stages.lib.params import Params

_HEAD = ("pin", "found", "pinned", "line", "")


def main() -> None:
    """Print the table and the engines.

    Raises:
        PinError: an engine cannot be built here, as something differs from its pin.
        NoDeviceError: an engine cannot be built here, and only for want of its GPU.
    """
    document = _load()
    keys = ("toolchain", "engines", "models", "interpreters")
    params = {key: document.param(key) for key in keys}
    here = _probe(params)
    table = rows.rows(params, here)
    lines = [(*_shown(row), _lines(document, row), _state(row)) for row in table]
    console.say("\n".join(_aligned([_HEAD, *lines])))
    console.say(f"\ngpu: {here.no_gpu or _gpu(here)}\n")
    console.say("\n".join(_aligned(list(_engines(params, here, table)))))
    if error := engines.failure(params["engines"], table):
        raise error


def _load() -> Params:
    """params.yaml; the two packages that read it may be missing too."""
    try:
        from stages.lib import params

        return params.load()
    except ImportError as error:
        msg = f"params.yaml cannot be read: {error}"
        mend = (
            "`make check` makes .venv; then `make doctor`, or `.venv/bin/python -m stages.doctor`"
        )
        raise errors.PinError(msg, mend=mend) from None


def _probe(params: dict[str, Any]) -> rows.Here:
    toolchain = params["toolchain"]
    groups = [group for group in toolchain.values() if isinstance(group, dict)]
    packages = {package for group in groups for package in group.get("packages", group)}
    wanted = {
        name: group.get("cuda_runtime") for name, group in toolchain.items() if "packages" in group
    }
    try:
        gpu, no_gpu = machine.gpu(), ""
    except errors.EngineryError as error:
        gpu, no_gpu = None, error.what
    return rows.Here(
        python=pins.python_minor(),
        platform=machine.platform_name(),
        packages={package: pins.installed(package) for package in packages},
        environments=exporters.look(params["interpreters"]),
        gpu=gpu,
        no_gpu=no_gpu,
        cuda_runtime={name: machine.cuda_runtime(pin) for name, pin in wanted.items() if pin},
        opsets={
            name: _opset(name, spec, params["models"]) for name, spec in params["engines"].items()
        },
    )


def _opset(engine: str, spec: Any, models: Any) -> int | None:
    """Opset of the typed graph, if it is there, else the one to export."""
    graph = layout.typed(engine) / layout.GRAPH_FILE
    opset: int | None = models[spec["model"]]["opset"]
    return onnx_header.opset(graph) if graph.is_file() else opset


def _shown(row: rows.Row) -> tuple[str, str, str]:
    return row.pin, row.found or "-", row.pinned


def _lines(document: Params, row: rows.Row) -> str:
    places = (document.where(*key.split(".")) for key in row.keys)
    return ",".join(place.split(":")[1] for place in places)


def _state(row: rows.Row) -> str:
    if row.reason:
        return f"{row.state}: {row.reason}"
    if row.state != rows.OK and not row.engines:
        return f"{row.state}; no engine needs it"
    return row.state


def _gpu(here: rows.Here) -> str:
    gpu = here.gpu
    return (
        f"{gpu.name}, compute capability {gpu.compute_capability}, driver {gpu.driver}"
        if gpu
        else ""
    )


def _engines(
    params: dict[str, Any], here: rows.Here, table: Sequence[rows.Row]
) -> Iterator[tuple[str, ...]]:
    yield "engine", "can be run here", "can be built here"
    for name, spec in params["engines"].items():
        driver_min = params["toolchain"][spec["backend"]]["driver_min"]
        ran = engines.running(name, spec, driver_min, here)
        yield name, ran, engines.building(name, table)


def _aligned(table: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


if __name__ == "__main__":
    console.run("doctor", main)
