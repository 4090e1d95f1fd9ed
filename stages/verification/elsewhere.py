# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A package made elsewhere, beside this checkout: what differs before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib import environments, errors, files, pins
from stages.verification.verdicts import DIFFERENT, EQUIVALENT, IDENTICAL, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stages.lib.params import Params

    Row = tuple[str, str, Verdict]

_BY_DIGEST = "other bytes; of this output the package holds only the digest"
_INPUTS = (
    "source",
    "probe_samples",
    "rewrites",
    "calibration_samples",
    "validation_samples",
    "metric",
    "timing_cache",
)
# What the manifest has a digest of, by the stage that makes it.
_OUTPUTS = {
    "export": ("exported_graph",),
    "sanitize": ("clean_graph",),
    "observe": ("observations",),
    "calibrate": ("calibration_cache",),
    "precision": ("typed_graph",),
}


def describe(told: Mapping[str, Any], document: Params) -> str:
    """Say which code files, pins, inputs and params here are not those that a manifest names."""
    parts = {
        "code files": sorted(_files(_code(told))),
        "pins": sorted(set(_pins(told, document))),
        "source and samples": sorted(
            line for kind in _INPUTS for line in _files(told["digests"][kind])
        ),
        "params": sorted(_params(told["params"], document)),
    }
    lines = []
    for title, found in parts.items():
        lines.append(f"{title}: {'as the package names them' if not found else 'other here'}")
        lines += [f"  {line}" for line in found]
    return "\n".join([*lines, ""])


def _code(told: Mapping[str, Any]) -> dict[str, str]:
    return {name: digest for ran in told["code"].values() for name, digest in ran.items()}


def _files(recorded: Mapping[str, str]) -> Iterator[str]:
    for name, digest in recorded.items():
        path = Path(name)
        if not path.is_file():
            yield f"{name}: not here"
        elif (found := files.sha256(path)) != digest:
            yield f"{name}: {found[:12]} here, {digest[:12]} in the package"


def _pins(told: Mapping[str, Any], document: Params) -> Iterator[str]:
    """What is installed here, or pinned here, in another version."""
    machine = pins.of_the_machine()
    framework = told["params"].get(f"models.{told['model']}.source", {}).get("framework")
    own = f"export-{framework}" in told["toolchain"]  # an environment of its own
    groups = {
        "export": ("export", *([] if own else [f"export-{framework}"])),
        "sanitize": ("sanitize", "tensorrt_rtx.packages"),
        "build": (f"{told['backend']}.packages",),
    }
    for stage, versions in told["toolchain"].items():
        pinned = _pinned(document, *groups.get(stage, (stage,)))
        where = f" ({stage})" if stage.startswith("export-") else ""
        for package, version in versions.items():
            found = machine.get(package) or _installed(package, stage)
            if found != version:
                here = found or "not installed"
                yield f"{package}{where}: {here} here, {version} in the package"
            elif pinned.get(package) != version:
                pin = pinned.get(package, "nothing")
                yield f"{package}{where}: params.yaml pins {pin} here, {version} in the package"


def _installed(package: str, stage: str) -> str | None:
    """Version that a stage would run here; `export-<framework>` has an environment of its own."""
    framework = stage.removeprefix("export-")
    if framework == stage:
        return pins.installed(package)
    if framework not in environments.frameworks():
        return None
    # One that is not made yet will have what its lock says.
    versions = environments.packages(framework) or environments.pinned(framework)
    return versions.get(package)


def _pinned(document: Params, *groups: str) -> dict[str, str]:
    toolchain = document.param("toolchain")
    found = {name: toolchain[name] for name in ("platform", "python")}
    for group in groups:
        place = toolchain
        for word in group.split("."):
            place = place.get(word, {})
        found |= place
    return found


def _params(recorded: Mapping[str, Any], document: Params) -> Iterator[str]:
    for key, value in recorded.items():
        try:
            found = document.param(key)
        except errors.ParamsError:
            yield f"{key}: not here, {value!r} in the package"
        else:
            if found != value:
                yield f"{key}: {found!r} here, {value!r} in the package"


def recipe(told: Mapping[str, Any], document: Params) -> bytes:
    """A params.yaml: that of here, with what the package was made with in its places.

    Raises:
        ParamsError: a key of the package's leads through a value that is no mapping here.
    """
    values = document.values()
    values["engines"] = {}
    for key, value in told["params"].items():
        *path, last = key.split(".")
        place = values
        for word in path:
            place = place.setdefault(word, {})
            if not isinstance(place, dict):
                msg = f"the package was made with {key}, for which params.yaml has no place"
                raise errors.ParamsError(msg, mend="verify it in a checkout of its own version")
        place[last] = value
    return files.canonical_json(values)


def digests(stage: str, told: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, Verdict]]:
    """Verdicts on what a stage made in `folder`, where the package names nothing but digests."""
    for kind in _OUTPUTS.get(stage, ()):
        for name, digest in told["digests"][kind].items():
            path = folder / name
            if not path.is_file():
                yield name, Verdict(DIFFERENT, ("it was not made again",))
            elif files.sha256(path) == digest:
                yield name, Verdict(IDENTICAL)
            else:
                yield name, Verdict(DIFFERENT, (_BY_DIGEST,))


def settle(rows: list[Row], plan: str) -> list[Row]:
    """Other bytes of what led to the plan mean nothing if the plan is the same to the byte."""
    if not any(path == plan and verdict.kind == IDENTICAL for _, path, verdict in rows):
        return rows
    harmless = Verdict(EQUIVALENT, (_BY_DIGEST,))
    return [
        (step, path, harmless if verdict.what == (_BY_DIGEST,) else verdict)
        for step, path, verdict in rows
    ]
