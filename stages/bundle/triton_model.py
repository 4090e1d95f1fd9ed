# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Serves a package from Triton's Python backend; packed as it is, as <version>/model.py.

It needs Triton and NumPy, and beside it lies runtime.py, which runs what answers: a TensorRT-RTX
plan on a GPU, or a typed graph on ONNX Runtime. The requests of a batch run as one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import triton_python_backend_utils as pb_utils

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
Shape = tuple[int, ...]


def refuse(message: str) -> NoReturn:
    """Fail with a message that Triton shows to whoever loads the model or sent the request."""
    raise pb_utils.TritonModelException(message)


def joined(arrays: list[Array]) -> Shape:
    """Shape of arrays joined along their first axis; of a single one, its own."""
    first = arrays[0].shape
    return (sum(len(array) for array in arrays), *first[1:]) if arrays[1:] else first


def choose(profiles: list[dict[str, Any]], shapes: dict[str, Shape]) -> int:
    """Index of the first profile, {"min", "opt", "max"} by input name, that takes these shapes."""
    for index, profile in enumerate(profiles):
        if all(
            len(bounds["min"]) == len(shapes[name])
            and all(
                low <= size <= high
                for low, size, high in zip(bounds["min"], shapes[name], bounds["max"], strict=True)
            )
            for name, bounds in profile.items()
        ):
            return index
    taken = [
        {name: [tuple(bounds["min"]), tuple(bounds["max"])] for name, bounds in profile.items()}
        for profile in profiles
    ]
    refuse(f"no profile of the plan takes {shapes}; they take (min, max): {taken}")


def grouped(feeds: list[Arrays], *, batched: bool) -> list[list[int]]:
    """Which requests run as one: those that differ in nothing but the length of the first axis."""
    groups: dict[Any, list[int]] = {}
    for index, feed in enumerate(feeds):
        alike = tuple(array.shape[1:] for array in feed.values()) if batched else index
        groups.setdefault(alike, []).append(index)
    return list(groups.values())


def check(folder: Path, told: dict[str, Any]) -> None:
    """Refuse files that are not those that were packed."""
    for name in told["serving"]["files"]:
        with (folder / name).open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != (packed := told["files"][name]["sha256"]):
            file = Path(name).name
            refuse(f"{file} is not what was packed: sha256 {found}, not {packed}")


def check_numpy() -> None:
    """Refuse a NumPy that the server's Python backend misreads: its answers would be empty.

    Python backends built with pybind11 before 2.12 take each array of NumPy 2 for one of no bytes,
    and do not say so.
    """
    probe = np.arange(1, 4, dtype=np.float32)
    passed = pb_utils.Tensor.from_dlpack("probe", pb_utils.Tensor("probe", probe).to_dlpack())
    if not np.array_equal(passed.as_numpy(), probe):
        mend = 'python -m pip install "numpy<2"'
        refuse(f"Triton's Python backend here cannot read arrays of NumPy {np.__version__}: {mend}")


class TritonPythonModel:
    """What Triton calls. It ends this process with the model, and the driver takes all back."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load what answers; each reason why it cannot be served has its own message."""
        folder = Path(__file__).parent.parent
        told = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        check_numpy()
        check(folder, told)
        config = json.loads(args["model_config"])
        self._batched = config["max_batch_size"] > 0
        self._profiles = told["profiles"]
        import runtime  # after the check, which covers what it loads

        device = int(args["model_instance_device_id"])
        try:
            self._engine = runtime.Engine(folder, told, config, device)
        except runtime.CannotServeError as error:
            refuse(str(error))
        self._failures = runtime.CannotServeError

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; an error reaches the requests of its batch and no others."""
        inputs = self._engine.inputs
        feeds = [
            {name: pb_utils.get_input_tensor_by_name(asked, name).as_numpy() for name in inputs}
            for asked in requests
        ]
        answers: dict[int, Any] = {}
        for group in grouped(feeds, batched=self._batched):
            try:
                outputs = self._run([feeds[index] for index in group])
            except (self._failures, pb_utils.TritonModelException) as error:
                failed = pb_utils.TritonError(str(error))
                answers |= {index: pb_utils.InferenceResponse([], failed) for index in group}
                continue
            start = 0
            for index in group:
                wanted = requests[index].requested_output_names()
                stop = start + len(feeds[index][inputs[0]]) if self._batched else None
                answers[index] = pb_utils.InferenceResponse(
                    [
                        pb_utils.Tensor(name, outputs[name][start:stop] if stop else outputs[name])
                        for name in self._engine.outputs
                        if name in wanted
                    ]
                )
                start = stop or 0
        return [answers[index] for index in range(len(requests))]

    def _run(self, parts: list[Arrays]) -> Arrays:
        shapes = {name: joined([part[name] for part in parts]) for name in parts[0]}
        profile = choose(self._profiles, shapes)
        return self._engine.run(parts, shapes, profile)
