# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Which engines could be built on a machine, and which could be run there: pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.diagnosis import rows
from stages.lib import errors, mismatch, pins

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stages.diagnosis.rows import Here, Row
    from stages.lib.errors import EngineryError

_WRONG = (rows.DIFFERS, rows.ABSENT)


def blocking(engine: str, table: Iterable[Row]) -> list[Row]:
    """The pins for which an engine cannot be built."""
    return [row for row in table if engine in row.engines and row.state in _WRONG]


def building(engine: str, table: Iterable[Row]) -> str:
    """`yes`, or `no` and why."""
    wrong = blocking(engine, table)
    told = [f"{row.pin} is {row.found}, pinned {row.pinned}" for row in wrong]
    return f"no: {'; '.join(told)}" if told else "yes"


def running(engine: str, spec: Mapping[str, Any], driver_min: str, here: Here) -> str:
    """`yes`, or `no` and why; for a person to know, as running an engine builds nothing."""
    if here.gpu is None:
        return f"no: {rows.ABSENT}"
    wrong = mismatch.driver(here.gpu.driver, driver_min, spec["backend"]) or mismatch.runs_on(
        here.gpu, spec["builder"], f"the plan of {engine}"
    )
    return f"no: {wrong.what}" if wrong else "yes"


def failure(names: Iterable[str], table: Iterable[Row]) -> EngineryError | None:
    """The error to end with: None if every engine can be built.

    Returns:
        PinError, or NoDeviceError if GPUs alone are lacking.
    """
    table, names = list(table), list(names)
    by_engine = {name: wrong for name in names if (wrong := blocking(name, table))}
    if not by_engine:
        return None
    found = {row.pin: row for wrong in by_engine.values() for row in wrong}
    count = f"{len(by_engine)} of {len(names)} engines cannot be built here"
    what = f"{count}: {', '.join(by_engine)}"
    mend = _mend(found.values())
    if all(row.state == rows.ABSENT for row in found.values()):
        return errors.NoDeviceError(f"{what}. Only a GPU is lacking", mend=mend)
    return errors.PinError(what, mend=mend)


def _mend(wrong: Iterable[Row]) -> str:
    """All steps, with one command for all packages."""
    steps = {row.pin: row for row in wrong}
    packages = {
        row.pin: row.pinned
        for row in steps.values()
        if row.mend == pins.install({row.pin: row.pinned})
    }
    others = dict.fromkeys(row.mend for row in steps.values() if row.pin not in packages)
    return "; ".join([*([pins.install(packages)] if packages else []), *others])
