# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT 10.13 to 11, for data-centre GPUs. It times kernels, so it needs the GPU it builds for.

What is used here is in both major versions (tests/backends/test_tensorrt_attributes.py reads it
from their wheels), so the one difference is the flag for strong typing on trtexec's command line.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.backends import builder, timing
from stages.lib import errors, files

try:
    import tensorrt as trt
except (ImportError, OSError) as error:
    msg = (
        f"the bindings of TensorRT cannot be imported: {error}\n\nIts wheel on the Python Package"
        " Index is a stub: the libraries come from NVIDIA's own index."
    )
    raise errors.PinError(
        msg,
        mend="`python -m pip install --extra-index-url https://pypi.nvidia.com"
        " tensorrt==<toolchain.tensorrt of params.yaml>`, on a machine with the GPU",
    ) from None

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stages.backends.build_api import Engine, Order

# builder.hardware_compatibility: member of HardwareCompatibilityLevel, and trtexec's word for it.
_COMPATIBILITY = {
    "none": ("NONE", "none"),
    "ampere_plus": ("AMPERE_PLUS", "ampere+"),
    "same_compute_capability": ("SAME_COMPUTE_CAPABILITY", "sameComputeCapability"),
}

# builder.profiling_verbosity: member of ProfilingVerbosity.
_VERBOSITY = {"none": "NONE", "layer_names_only": "LAYER_NAMES_ONLY", "detailed": "DETAILED"}


def build(order: Order, log: Callable[[str], None]) -> Engine:
    """Build an engine; see `stages.backends.build_api.BuildBackend`."""
    tactics = _Tactics(order)

    def configure(config: Any) -> None:
        _configure(config, order.builder)
        tactics.attach(config)

    engine = builder.build(
        trt, order, log, configure=configure, tool="trtexec", flags=_flags(order)
    )
    return dataclasses.replace(engine, timing_cache=tactics.settle())


class _Tactics:
    """TensorRT's timing cache through one build; its object must outlive the builder."""

    def __init__(self, order: Order) -> None:
        self.mode = order.builder["timing_cache"]
        self.path = Path(order.timing_cache or "")
        self.cache: Any = None
        self.digest = ""
        self.tactics: dict[str, int] = {}

    def attach(self, config: Any) -> None:
        """Give the builder an empty cache to write, or the recorded one, every key of it pinned."""
        if self.mode == timing.NONE:
            return
        config.set_flag(trt.BuilderFlag.EDITABLE_TIMING_CACHE)
        config.set_flag(trt.BuilderFlag.DISABLE_COMPILATION_CACHE)  # tactics only
        payload = self.path.read_bytes() if self.mode == timing.REPLAY else b""
        self.digest = hashlib.sha256(payload).hexdigest()
        self.cache = config.create_timing_cache(payload)
        if self.mode == timing.REPLAY:
            config.set_flag(trt.BuilderFlag.ERROR_ON_TIMING_CACHE_MISS)
            self.tactics = timing.checked(self._entries(), self.path.name)
            self._pin()
        # The pins name one GPU and one TensorRT, so nothing of another machine is let through.
        taken = self.cache is not None and config.set_timing_cache(
            self.cache, ignore_mismatch=False
        )
        if not taken:
            what = f"TensorRT refuses {self.path.name}: it is of another GPU, CUDA or TensorRT"
            raise errors.ArtifactError(what, mend="build on the machine that it was recorded on")

    def _pin(self) -> None:
        """Once updated, a tactic that its layer cannot use is an error, not another choice."""
        cache = self.cache
        refused = [key for key in cache.queryKeys() if not cache.update(key, cache.query(key))]
        if refused:
            what = f"TensorRT refuses {len(refused)} tactics of {self.path.name}: {refused[0]}"
            raise errors.ArtifactError(what, mend="look at the builder's messages")

    def settle(self) -> dict[str, Any] | None:
        """Write what was recorded, or compare what was replayed; the facts of it."""
        if self.mode == timing.NONE:
            return None
        if self.mode == timing.REPLAY:
            after = {key: tactic for key, tactic, _ in self._entries()}
            compared = timing.accepted(self.tactics, after, self.path.name)
            return timing.facts(self.mode, self.digest, len(self.tactics), compared)
        tactics, cache = timing.checked(self._entries(), "the recording"), self.cache
        payload = bytes(cache.serialize())
        files.write_bytes(self.path, payload)
        digest = hashlib.sha256(payload).hexdigest()
        return timing.facts(self.mode, digest, len(tactics), None)

    def _entries(self) -> list[timing.Entry]:
        try:
            keys = [] if self.cache is None else self.cache.queryKeys()
        except RuntimeError as error:
            what = f"the keys of {self.path.name} cannot be read: {error}"
            raise errors.ArtifactError(what, mend="look at the builder's messages") from None
        entries = []
        for key in keys:
            entry = self.cache.query(key)
            entries.append((str(key), int(entry.tacticHash), float(entry.timingMSec)))
        return entries


def _configure(config: Any, settings: Mapping[str, Any]) -> None:
    flags = {
        "sparsity": trt.BuilderFlag.SPARSE_WEIGHTS,
        "version_compatible": trt.BuilderFlag.VERSION_COMPATIBLE,
        "strip_plan": trt.BuilderFlag.STRIP_PLAN,
        "refit": trt.BuilderFlag.REFIT,
    }
    for key, flag in flags.items():
        if settings[key]:
            config.set_flag(flag)
    level, _ = _COMPATIBILITY[settings["hardware_compatibility"]]
    config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, level)
    verbosity = _VERBOSITY[settings["profiling_verbosity"]]
    config.profiling_verbosity = getattr(trt.ProfilingVerbosity, verbosity)
    if settings["max_aux_streams"] is not None:
        config.max_aux_streams = settings["max_aux_streams"]


def _flags(order: Order) -> list[str]:
    settings = order.builder
    _, level = _COMPATIBILITY[settings["hardware_compatibility"]]
    streams, cached = settings["max_aux_streams"], settings["timing_cache"] != timing.NONE
    verbosity = settings["profiling_verbosity"]
    shown = {
        "--stronglyTyped": trt.__version__.startswith("10."),  # 11 knows no other typing
        "--noTF32": order.precision != "tf32",
        "--sparsity=enable": settings["sparsity"],
        "--versionCompatible": settings["version_compatible"],
        "--stripWeights": settings["strip_plan"],
        "--refit": settings["refit"],
        f"--hardwareCompatibilityLevel={level}": level != "none",
        f"--maxAuxStreams={streams}": streams is not None,
        f"--profilingVerbosity={verbosity}": verbosity != "layer_names_only",
        f"--timingCacheFile={Path(order.timing_cache or '').name}": cached,
        "--noCompilationCache": cached,
        "--errorOnTimingCacheMiss": settings["timing_cache"] == timing.REPLAY,
    }
    return [flag for flag, wanted in shown.items() if wanted]
