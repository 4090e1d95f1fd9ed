# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What Triton, or its TensorRT backend, would refuse or serve wrongly; each with its reason.

These hold by construction: dims leave out the batch axis if there is a largest batch, the profiles
take that, instances name profiles that exist, and a warm-up has the opt shapes of a profile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stages.bundle.batching import Batching, Tensors

# Triton's TensorRT backend loads TensorRT's own plans alone; tensorrt_rtx is run from Python.
_BACKENDS = {"ftrt": "tensorrt", "vtrt": "python"}

MEND = "change the source model or `outputs` and `inputs` in params.yaml, then `dvc repro`"
_VERSION_COMPATIBLE = "--backend-config=tensorrt,version-compatible=true"


def backend(magic: str, runtime: str) -> str:
    """Triton's backend for what answers, by the plan's first four bytes.

    Raises:
        GraphError: Triton has none; such as for a plan with something written in front of it.
    """
    if magic not in _BACKENDS:
        msg = f"Triton has no backend for a plan that begins with {magic!r}"
        raise errors.GraphError(
            msg, mend="set engines.<engine>.backend to tensorrt_rtx or tensorrt"
        )
    return "python" if runtime == "onnxruntime" else _BACKENDS[magic]


def check_names(tensors: Tensors) -> None:
    """Check the names of inputs and outputs.

    Raises:
        GraphError: Triton cannot take one.
    """
    names = [tensor["name"] for tensor in tensors]
    for name in names:
        if not name or "\0" in name or any("\ud800" <= char <= "\udfff" for char in name):
            msg = f"Triton cannot take the tensor name {name!r}: empty, or no C string in UTF-8"
            raise errors.GraphError(msg, mend=MEND)
        if names.count(name) > 1:
            msg = f"two inputs or outputs are called {name!r}: Triton cannot tell them apart"
            raise errors.GraphError(msg, mend=MEND)


def check_serving(name: str, batch: Batching, serving: Mapping[str, Any]) -> None:
    """Check `serving` of params.yaml against what the plan takes.

    Raises:
        ServingError: the two do not fit.
    """
    asked, key = serving["dynamic_batching"], f"engines.{name}.serving"
    if asked is not None and not batch.size:
        msg = f"{name} cannot be batched, as {key}.dynamic_batching asks: {batch.why_not}"
        mend = f"set {key}.dynamic_batching to null, or give the model one batch axis and a profile"
        raise errors.ServingError(msg, mend=f"{mend} from batch 1 on")
    too_large = [
        size for size in (asked or {}).get("preferred_batch_size", ()) if size > batch.size
    ]
    if too_large:
        msg = (
            f"{key}.dynamic_batching.preferred_batch_size has {', '.join(map(str, too_large))},"
            f" but the largest batch of the plan's profiles is {batch.size}"
        )
        raise errors.ServingError(msg, mend="take it out there, or raise `max` of the profile")
    policy, version = serving["version_policy"], serving["version"]
    specific = policy.get("specific") if isinstance(policy, dict) else None
    if specific is not None and version not in specific:
        msg = f"{key}.version_policy serves versions {specific} alone, and this one is {version}"
        raise errors.ServingError(msg, mend=f"add {version} to {key}.version_policy.specific")


def check_builder(name: str, settings: Mapping[str, Any], runtime: str) -> dict[str, str]:
    """Check builder settings that decide how a plan is served.

    Returns:
        What the server must be started with, as a parameter of config.pbtxt; empty for nothing.

    Raises:
        ServingError: Triton could not load the plan.
    """
    if runtime != "plan":
        return {}
    if settings.get("strip_plan"):
        msg = f"the plan of {name} has no weights (builder.strip_plan), and Triton does not refit"
        mend = f"set engines.{name}.builder.strip_plan to false, or serve it by a program of yours"
        raise errors.ServingError(msg, mend=mend)
    return {"server_flags": _VERSION_COMPATIBLE} if settings.get("version_compatible") else {}
