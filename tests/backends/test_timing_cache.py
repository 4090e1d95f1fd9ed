# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The calls around a timing cache, without a GPU.

TensorRT-RTX has the same API, but its cache stays empty; keys, values, flags and refusals of an
empty cache are its own here. Where entries are needed, a stand-in keeps them as NvInfer.h says.
TensorRT itself: tests/gpu/test_timing_cache_gpu.py.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import tensorrt_rtx
from onnx import TensorProto, helper, numpy_helper

from stages.backends import isolation, recordings, timing
from stages.backends.build_api import Order
from stages.lib import errors, plugins

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore:.*Timing cache operations:DeprecationWarning")

BUILDER = {
    "workspace_mib": 64,
    "optimization_level": 2,
    "sparsity": False,
    "hardware_compatibility": "none",
    "version_compatible": False,
    "strip_plan": False,
    "refit": False,
    "max_aux_streams": None,
    "profiling_verbosity": "layer_names_only",
}
A, B = "0x" + "a0" * 16, "0x" + "b1" * 16


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The backend `tensorrt`, on the bindings of its sibling."""
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_rtx)
    sys.modules.pop("stages.backends.tensorrt.build", None)
    yield plugins.load("stages.backends", "tensorrt.build")
    sys.modules.pop("stages.backends.tensorrt.build")


def order(folder: Path, mode: str, file: Path) -> Order:
    weight = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), folder / "model.onnx")
    return Order(
        graph=folder / "model.onnx",
        precision="fp32",
        profiles=[{"x": {bound: [1, 4] for bound in ("min", "opt", "max")}}],
        builder={**BUILDER, "timing_cache": mode},
        timing_cache=str(file),
    )


def test_none_leaves_no_trace(tensorrt: Any, tmp_path: Path) -> None:
    engine = tensorrt.build(order(tmp_path, "none", tmp_path / "a.cache"), lambda _: None)
    assert engine.timing_cache is None
    assert not (tmp_path / "a.cache").exists()


def test_a_builder_that_times_nothing_records_nothing(tensorrt: Any, tmp_path: Path) -> None:
    with pytest.raises(errors.ArtifactError, match="the recording holds no tactics"):
        tensorrt.build(order(tmp_path, "record", tmp_path / "a.cache"), lambda _: None)
    assert not (tmp_path / "a.cache").exists()


def test_a_damaged_file_is_an_empty_cache_and_refused(tensorrt: Any, tmp_path: Path) -> None:
    log: list[str] = []
    (tmp_path / "a.cache").write_bytes(b"damaged" * 10)
    with pytest.raises(errors.ArtifactError, match=r"a\.cache holds no tactics: it is damaged"):
        tensorrt.build(order(tmp_path, "replay", tmp_path / "a.cache"), log.append)
    assert any("Failed to deserialize timing cache" in line for line in log)


def test_the_file_reaches_the_child_that_works_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = tmp_path / "site-packages"  # the child's path holds such folders only
    shim.mkdir()
    (shim / "tensorrt.py").write_text(
        "import sys, tensorrt_rtx\nsys.modules[__name__] = tensorrt_rtx"
    )
    monkeypatch.syspath_prepend(str(shim))
    monkeypatch.chdir(ROOT)
    file, log = tmp_path / "a.cache", list[str]()
    file.write_bytes(b"damaged" * 10)
    wanted = order(tmp_path, "replay", file)
    with pytest.raises(errors.ArtifactError, match=r"a\.cache holds no tactics"):
        isolation.build("tensorrt", wanted, log.append, tmp_path / "plan")
    assert any("Failed to deserialize timing cache" in line for line in log)
    built = isolation.build(
        "tensorrt", order(tmp_path, "none", file), log.append, tmp_path / "plan"
    )
    assert built.engine.timing_cache is None


class Cache:
    """A stand-in for `ITimingCache` with entries, which are in the payload as JSON."""

    def __init__(self, payload: bytes) -> None:
        self.entries: dict[str, Any] = {
            key: tensorrt_rtx.TimingCacheValue(*value)
            for key, value in json.loads(payload or b"{}").items()
        }
        self.pinned: list[str] = []

    def queryKeys(self) -> list[Any]:  # noqa: N802 (NVIDIA's name)
        return [tensorrt_rtx.TimingCacheKey.parse(key) for key in self.entries]

    def query(self, key: Any) -> Any:
        return self.entries.get(str(key), tensorrt_rtx.TimingCacheValue(timing.INVALID, -1.0))

    def update(self, key: Any, entry: Any) -> bool:
        self.pinned.append(str(key))
        return str(key) in self.entries and entry.tacticHash != timing.INVALID

    def serialize(self) -> bytes:
        return payload({k: (v.tacticHash, v.timingMSec) for k, v in self.entries.items()})


class Config:
    """A stand-in for `IBuilderConfig`, which takes caches of one GPU only."""

    def __init__(self, *, same_gpu: bool = True) -> None:
        self.flags: set[str] = set()
        self.same_gpu = same_gpu
        self.attached: Any = None

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag.name)

    def create_timing_cache(self, serialized: bytes) -> Cache:
        return Cache(serialized)

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        self.attached = cache
        return self.same_gpu or ignore_mismatch


def payload(entries: dict[str, tuple[int, float]]) -> bytes:
    return json.dumps(entries).encode()


def value(tactic: int, time: float = 0.5) -> Any:
    return tensorrt_rtx.TimingCacheValue(tactic, time)


def test_what_is_recorded_is_written(tensorrt: Any, tmp_path: Path) -> None:
    config, file = Config(), tmp_path / "logs/a.cache"
    cache = tensorrt._Tactics(order(tmp_path, "record", file))
    cache.attach(config)
    assert config.flags == {"EDITABLE_TIMING_CACHE", "DISABLE_COMPILATION_CACHE"}
    config.attached.entries[A] = value(7, 0.25)
    digest = hashlib.sha256(payload({A: (7, 0.25)})).hexdigest()
    assert cache.settle() == {"mode": "record", "sha256": digest, "keys": 1, "compared": None}
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest


def replay(tensorrt: Any, folder: Path, config: Config) -> Any:
    (folder / "a.cache").write_bytes(payload({A: (7, 0.5), B: (9, 0.5)}))
    cache = tensorrt._Tactics(order(folder, "replay", folder / "a.cache"))
    cache.attach(config)
    return cache


def test_a_replay_is_strict_and_pins_every_key(tensorrt: Any, tmp_path: Path) -> None:
    config = Config()
    cache = replay(tensorrt, tmp_path, config)
    assert "ERROR_ON_TIMING_CACHE_MISS" in config.flags
    assert config.attached.pinned == [A, B]
    config.attached.entries[A] = value(7, 0.75)  # another time is no other tactic
    assert cache.settle() == {
        "mode": "replay",
        "sha256": hashlib.sha256((tmp_path / "a.cache").read_bytes()).hexdigest(),
        "keys": 2,
        "compared": {"added": 0, "removed": 0, "changed": 0},
    }


def test_a_tactic_that_the_build_exchanged_is_refused(tensorrt: Any, tmp_path: Path) -> None:
    config = Config()
    cache = replay(tensorrt, tmp_path, config)
    config.attached.entries[B] = value(8)
    with pytest.raises(errors.BuildError, match=rf"changed 1 \({B}: 0x9 -> 0x8\)"):
        cache.settle()


def test_a_cache_of_another_gpu_is_refused(tensorrt: Any, tmp_path: Path) -> None:
    with pytest.raises(errors.ArtifactError, match=r"refuses a\.cache: it is of another GPU"):
        replay(tensorrt, tmp_path, Config(same_gpu=False))


def use(mode: str | None) -> recordings.Use:
    return recordings.use("e", "m", {} if mode is None else {"timing_cache": mode})


def test_where_the_file_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (use(None).file(), use("none").file()) == (None, None)
    assert use("record").file() == str(tmp_path / ".logs/e.timing.cache")
    assert use("record").inputs == []
    with pytest.raises(errors.ArtifactError, match=r"models/m/timing/e\.cache is not there") as got:
        use("replay").file()
    assert "set engines.e.builder.timing_cache to record" in got.value.mend
    assert "`python -m stages.build e`" in got.value.mend
    (tmp_path / "models/m/timing").mkdir(parents=True)
    (tmp_path / "models/m/timing/e.cache").touch()
    assert use("replay").file() == str(tmp_path / "models/m/timing/e.cache")
    assert use("replay").inputs == [Path("models/m/timing/e.cache")]


def test_the_command_that_commits_a_recording_is_told() -> None:
    command = "cp .logs/e.timing.cache models/m/timing/e.cache && git add models/m/timing/e.cache"
    assert command in use("record").next_steps()
    assert "timing_cache to replay" in use("record").next_steps()
    assert (use("none").next_steps(), use("replay").next_steps()) == ("", "")


def test_only_a_failed_replay_is_told_to_record_again() -> None:
    failure = errors.BuildError("it failed", mend="look")
    with pytest.raises(errors.BuildError, match="it failed") as caught, use("replay").mending():
        raise failure
    assert caught.value.mend.startswith("look. If models/m/timing/e.cache no longer fits: set")
    with pytest.raises(errors.BuildError, match="it failed") as caught, use("record").mending():
        raise failure
    assert caught.value.mend == "look"
