# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Every pin of params.yaml against a machine: pure, so that any machine can be tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.lib import mismatch, pins

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stages.lib.errors import PinError
    from stages.lib.machine import Gpu

OK = "ok"
DIFFERS = "differs"
ABSENT = "no GPU"
UNCHECKED = "not checked here"

# Groups of `toolchain` that every engine's chain runs, whatever its model and backend.
_COMMON = ("sanitize", "observe", "calibrate", "precision", "validate", "package")


@dataclass(frozen=True)
class Environment:
    """An exporter's own environment.

    Attributes:
        packages: version by package that it has, or will have.
        reason: why it has them not yet; empty if it has.
    """

    packages: Mapping[str, str]
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Here:
    """What was found on a machine.

    Attributes:
        python: minor version.
        platform: such as `linux-x86_64`.
        packages: installed version by package, None where there is none.
        environments: by framework, of exporters that have one of their own.
        gpu: the GPU that CUDA uses first.
        no_gpu: why there is none; empty if there is one.
        cuda_runtime: version by backend that pins one.
        opsets: newest opset by engine, of its typed graph or as params.yaml has it for its model.
    """

    python: str
    platform: str
    packages: Mapping[str, str | None]
    environments: Mapping[str, Environment]
    gpu: Gpu | None
    no_gpu: str
    cuda_runtime: Mapping[str, str | None]
    opsets: Mapping[str, int | None]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One pin.

    Attributes:
        pin: what is pinned.
        keys: where it stands in params.yaml, as dotted keys.
        found: on the machine; empty where nothing was looked for.
        pinned: in params.yaml.
        engines: those that cannot be built without it.
        mend: how to mend it; empty if nothing is wrong.
        reason: why it was not checked; empty if it was.
        absent: it asks for a GPU, and there is none.
    """

    pin: str
    keys: tuple[str, ...]
    found: str = ""
    pinned: str
    engines: tuple[str, ...] = ()
    mend: str = ""
    reason: str = ""
    absent: bool = False

    @property
    def state(self) -> str:
        """One of the constants above."""
        if self.reason:
            return UNCHECKED
        return ABSENT if self.absent else DIFFERS if self.mend else OK


def users(group: str, engines: Mapping[str, Any], models: Mapping[str, Any]) -> tuple[str, ...]:
    """Engines on whose way from source model to package a group of `toolchain` lies."""
    return tuple(
        name
        for name, spec in engines.items()
        if group in (*_COMMON, spec["backend"])
        or group == f"export-{models[spec['model']]['source']['framework']}"
    )


def rows(params: Mapping[str, Any], here: Here) -> list[Row]:
    """All pins, packages once for each version.

    Args:
        params: `toolchain`, `engines` and `models` of params.yaml.
        here: the machine.
    """
    toolchain, engines, models = params["toolchain"], params["engines"], params["models"]
    backends = {name: group for name, group in toolchain.items() if "packages" in group}
    return [
        *_everywhere(toolchain, here, tuple(engines)),
        *_packages(toolchain, here, engines, models),
        *(row for name, group in backends.items() for row in _backend(name, group, here, engines)),
        *_targets(here, engines),
    ]


def _everywhere(toolchain: Any, here: Here, engines: tuple[str, ...]) -> Iterator[Row]:
    python, platform = toolchain["python"], toolchain["platform"]
    yield Row(
        pin="python",
        keys=("toolchain.python",),
        found=here.python,
        pinned=python,
        engines=engines,
        mend="" if here.python == python else pins.other_python(python),
    )
    yield Row(
        pin="platform",
        keys=("toolchain.platform",),
        found=here.platform,
        pinned=platform,
        engines=engines,
        mend=_mend(mismatch.platform(here.platform, platform)),
    )


def _packages(toolchain: Any, here: Here, engines: Any, models: Any) -> Iterator[Row]:
    """One package may be in several environments; `where` is the framework of its own, or empty."""
    keys: dict[tuple[str, str, str], list[str]] = {}
    needed: dict[tuple[str, str, str], dict[str, None]] = {}
    for name, group in toolchain.items():
        if isinstance(group, str):
            continue
        inner = "packages." if "packages" in group else ""
        framework = name.removeprefix("export-")
        where = framework if framework in here.environments else ""
        for package, version in group.get("packages", group).items():
            place = (package, where, version)
            keys.setdefault(place, []).append(f"toolchain.{name}.{inner}{package}")
            needed.setdefault(place, {}).update(dict.fromkeys(users(name, engines, models)))
    for (package, where, version), places in sorted(keys.items()):
        using = tuple(needed[package, where, version])
        if where:
            yield _isolated(package, where, version, here.environments[where], places[0], using)
            continue
        found = here.packages[package]
        yield Row(
            pin=package,
            keys=tuple(places),
            found=found or "not installed",
            pinned=version,
            engines=using,
            mend="" if found == version else pins.install({package: version}),
        )


def _isolated(
    package: str, framework: str, pinned: str, own: Environment, key: str, using: tuple[str, ...]
) -> Row:
    """A package in an exporter's own environment."""
    found = own.packages.get(package)
    right = found == pinned
    together = f"bring toolchain.export-{framework} and requirements/export-{framework}.txt"
    return Row(
        pin=f"{package} ({framework})",
        keys=(key,),
        found="" if right and own.reason else found or "not installed",
        pinned=pinned,
        engines=using,
        mend="" if right else f"{together} together (`make pins`), or correct `interpreters`",
        reason=own.reason if right else "",
    )


def _backend(name: str, pinned: Any, here: Here, engines: Any) -> Iterator[Row]:
    own = [engine for engine, spec in engines.items() if spec["backend"] == name]
    yield from _opsets(name, pinned["onnx_opset"], here, own)

    on_gpu = tuple(engine for engine in own if "gpu" in engines[engine]["builder"])
    runtime, wanted = here.cuda_runtime.get(name), pinned["cuda_runtime"]
    yield Row(
        pin=f"cuda runtime, {name}",
        keys=(f"toolchain.{name}.cuda_runtime",),
        found="" if wanted is None else runtime or "not installed",
        pinned=wanted or "none",
        engines=on_gpu,
        mend=_mend(mismatch.cuda_runtime(runtime, wanted, name)),
        reason="the builder brings its own" if wanted is None else "",
    )
    least, gpu = pinned["driver_min"], here.gpu
    yield Row(
        pin=f"driver, {name}",
        keys=(f"toolchain.{name}.driver_min",),
        found=gpu.driver if gpu else "",
        pinned=f"{least} or newer",
        engines=on_gpu,
        mend=_mend(mismatch.driver(gpu.driver, least, name)) if gpu else "",
        reason="" if gpu else ABSENT,
    )


def _opsets(backend: str, newest: int, here: Here, engines: list[str]) -> Iterator[Row]:
    """One row for each opset that there is; graphs differ by engine."""
    by_opset: dict[int | None, list[str]] = {}
    for engine in engines:
        by_opset.setdefault(here.opsets[engine], []).append(engine)
    for opset, using in (by_opset or {None: []}).items():
        wrong = opset and mismatch.opset(opset, newest, "the graph", backend)
        yield Row(
            pin=f"onnx opset, {backend}",
            keys=(f"toolchain.{backend}.onnx_opset",),
            found=str(opset or ""),
            pinned=f"up to {newest}",
            engines=tuple(using),
            mend=_mend(wrong or None),
            reason="" if opset else "no graph yet" if using else "no engine uses it",
        )


def _targets(here: Here, engines: Any) -> Iterator[Row]:
    gpu = here.gpu
    for engine, spec in engines.items():
        if wanted := spec["builder"].get("gpu"):
            wrong = mismatch.target(gpu, wanted, engine) if gpu else None
            yield Row(
                pin=f"gpu, {engine}",
                keys=(f"engines.{engine}.builder.gpu",),
                found=f"{gpu.name} ({gpu.compute_capability})" if gpu else "none",
                pinned=f"{wanted['name']} ({wanted['compute_capability']})",
                engines=(engine,),
                mend=_mend(wrong) if gpu else f"build {engine} on a machine with that GPU",
                absent=gpu is None,
            )


def _mend(wrong: PinError | None) -> str:
    return wrong.mend if wrong else ""
