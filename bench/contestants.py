# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""One contestant of a calibration benchmark, in this process: work, seconds and peak memory.

`python -m bench.contestants <contestant> <model> <samples>`, run in a project that has
models.<model> up to `sanitize`, prints one line of JSON. All work on the same clean graph and the
same first <samples> calibration samples. Imports are over before the clock starts; the memory is
that of the whole process.

    forward-plain     every sample once, ONNX Runtime with its optimizations off, as stages run it
    forward           the same with ONNX Runtime's own defaults
    observe           the stage: data pass -> observations.npz
    calibrate         the stage: observations.npz -> the ranges of every method
    ort-<method>      ONNX Runtime's quantize_static: minmax, entropy or percentile
    modelopt-<method> ModelOpt's quantize: max or entropy
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONTESTED = Path("contested")


def main(contestant: str, model: str, count: int) -> None:
    spec = YAML(typ="safe").load(Path("params.yaml"))["models"][model]
    kind, _, method = contestant.partition("-")
    # What libraries print is theirs; the last line of stdout is ours.
    with contextlib.redirect_stdout(sys.stderr):
        work = _WORK[kind](method, model, spec, count)
        start, spent = time.perf_counter(), time.process_time()
        work()
        figures = {
            "seconds": time.perf_counter() - start,
            "cpu": time.process_time() - spent,
            "peak": _peak(),
        }
    sys.stdout.write(json.dumps(figures) + "\n")


def quantized(contestant: str, model: str) -> Path:
    """Where a contestant other than the stages leaves its graph."""
    return CONTESTED / f"{model}-{contestant}.onnx"


def _forward(method: str, model: str, spec: dict[str, Any], count: int) -> Callable[[], None]:
    import onnxruntime as ort  # noqa: TID251  each contestant opens its own libraries

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = spec["threads"], 4
    if method == "plain":
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    graph, step = str(_clean(model)), spec["observe"]["batch"]

    def work() -> None:
        session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for feeds in _feeds(model, spec, count, step):
            session.run(None, feeds)

    return work


def _stage(name: str) -> Callable[..., Callable[[], None]]:
    def prepare(_method: str, model: str, _spec: dict[str, Any], _count: int) -> Callable[[], None]:
        import runpy

        import jsonschema  # noqa: F401  a stage imports it when it first needs it

        # Under another name than __main__ a stage only defines itself.
        stage = runpy.run_module(f"stages.{name}")
        return lambda: stage["main"](model)

    return prepare


def _ort(method: str, model: str, spec: dict[str, Any], count: int) -> Callable[[], None]:
    from onnxruntime import quantization as q  # noqa: TID251

    methods = {
        "minmax": q.CalibrationMethod.MinMax,
        "entropy": q.CalibrationMethod.Entropy,
        "percentile": q.CalibrationMethod.Percentile,
    }
    options = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "CalibPercentile": spec["calibrate"]["percentile"],
    }
    if method != "percentile":
        del options["CalibPercentile"]  # only this method's calibrator knows it
    reader = _reader(q.CalibrationDataReader)(_feeds(model, spec, count, 1))
    CONTESTED.mkdir(exist_ok=True)
    return lambda: q.quantize_static(
        str(_clean(model)),
        str(quantized(f"ort-{method}", model)),
        reader,
        quant_format=q.QuantFormat.QDQ,
        per_channel=True,
        activation_type=q.QuantType.QInt8,
        weight_type=q.QuantType.QInt8,
        calibrate_method=methods[method],
        extra_options=options,
    )


def _modelopt(method: str, model: str, spec: dict[str, Any], count: int) -> Callable[[], None]:
    # Without this, ONNX Runtime's own default.
    from modelopt.onnx.quantization import quantize

    feeds = _feeds(model, spec, count, count)
    CONTESTED.mkdir(exist_ok=True)
    return lambda: quantize(
        str(_clean(model)),
        "int8",
        calibration_data=next(feeds),
        calibration_method=method,
        calibration_eps=["cpu"],
        high_precision_dtype="fp32",
        output_path=str(quantized(f"modelopt-{method}", model)),
        log_level="ERROR",
    )


_WORK: dict[str, Callable[..., Callable[[], None]]] = {
    "forward": _forward,
    "observe": _stage("observe"),
    "calibrate": _stage("calibrate"),
    "ort": _ort,
    "modelopt": _modelopt,
}


def _reader(base: Any) -> Any:
    class Reader(base):
        def __init__(self, feeds: Iterator[dict[str, Any]]) -> None:
            self.feeds = feeds

        def get_next(self) -> dict[str, Any] | None:
            return next(self.feeds, None)

    return Reader


def _clean(model: str) -> Path:
    return Path("artifacts/onnx") / model / "clean" / "model.onnx"


def _feeds(
    model: str, spec: dict[str, Any], count: int, step: int
) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    """The first `count` samples, never more than `step` of them in memory."""
    path = Path("models") / model / "samples" / "calibration" / "000.npz"
    arrays = {name: _mapped(path, name) for name in spec["inputs"]}
    for start in range(0, count, step):
        yield {
            name: np.ascontiguousarray(array[start : min(start + step, count)])
            for name, array in arrays.items()
        }


def _mapped(path: Path, name: str) -> np.ndarray[Any, Any]:
    """A member of an uncompressed .npz, not read yet; of a compressed one, read."""
    import zipfile

    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"{name}.npy")
        if member.compress_type != zipfile.ZIP_STORED:
            with np.load(path, allow_pickle=False) as arrays:
                whole: np.ndarray[Any, Any] = arrays[name]
                return whole
        with archive.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(stream)
            header = stream.tell()
        with path.open("rb") as raw:
            raw.seek(member.header_offset + 26)
            name_and_extra = np.frombuffer(raw.read(4), "<u2")
        offset = member.header_offset + 30 + int(name_and_extra.sum()) + header
    return np.memmap(path, dtype, "r", offset, shape)


def _peak() -> int:
    """Peak memory of this process, bytes; ru_maxrss would count the parent's before the start."""
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
