# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The real chain, on the real dvc.yaml, in a temporary clone whose path holds spaces.

One clone serves all tests, in order: what one leaves built, the next finds. pytest-xdist runs a
file on one worker.
"""

from __future__ import annotations

import copy
import functools
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from tests.clones import RAN, ROOT, Clone

if TYPE_CHECKING:
    from collections.abc import Iterator

ENGINES = (
    *(
        f"digits-{precision}-b{batch}"
        for precision in ("fp32", "fp16", "bf16")
        for batch in (1, 64)
    ),
    "digits-fp8-b64",
    "digits-int8-b1",
    "digits-int8-b64",
    "digits-int8-cpu",
    "digits-auto-b64",
)
SMALL = ("digits-fp32-b1", "digits-int8-b1", "digits-int8-b64")


def each(*stages: str) -> list[str]:
    """Stages of every engine of `small`."""
    return [f"{stage}@{engine}" for stage in stages for engine in SMALL]


ALL = [
    *(f"{stage}@digits" for stage in ("export", "sanitize", "observe", "calibrate")),
    *each("precision", "build", "validate", "gate", "package"),
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(tmp_path_factory.mktemp("a clone with spaces"))


@pytest.fixture(scope="module")
def small(clone: Clone) -> Clone:
    """The clone with three engines: enough to see what an edit touches, and quick."""
    clone.keep(SMALL)
    assert clone.repro() == ["check"]
    clone.git("commit", "--quiet", "--all", "--message", "three engines")
    return clone


def of(ran: list[str], stage: str) -> list[str]:
    return sorted(name for name in ran if name.partition("@")[0] == stage)


def test_make_repro_builds_every_engine_and_leaves_git_clean(clone: Clone) -> None:
    shown = clone.run("make", "repro").stdout
    rows = re.findall(r"^(digits-\S+) .* (\S+)$", shown, re.MULTILINE)
    assert rows == [(engine, "passed") for engine in ENGINES]
    for engine in ENGINES:
        plan = clone.root / "artifacts/engines" / engine / "model.plan"
        assert plan.read_bytes()[:4] == b"vtrt"
    assert not clone.status(), "the committed dvc.lock holds the digests that anyone gets"


def test_a_second_make_repro_runs_nothing(clone: Clone) -> None:
    shown = clone.run("make", "repro").stdout
    assert not RAN.findall(shown)
    assert shown.count(" passed") == len(ENGINES)
    assert not clone.status()


def test_no_output_names_this_machine(clone: Clone) -> None:
    names = [str(clone.root), str(ROOT), str(Path.home()), socket.gethostname(), sys.prefix]
    found = [
        (file.name, name)
        for file in (clone.root / "artifacts").rglob("*")
        if file.is_file()
        for name in names
        if len(name) > 5 and name.encode() in file.read_bytes()
    ]
    assert not found


def test_people_can_look(clone: Clone) -> None:
    assert "digits-int8-b64" in clone.dvc("metrics", "show").stdout
    clone.dvc("metrics", "diff")
    assert "accuracy" in clone.dvc("exp", "show", "--csv").stdout
    clone.dvc("plots", "show")
    page = (clone.root / "dvc_plots/index.html").read_text()
    pictures = re.findall(r'src="([^"]+\.svg)"', page)
    # Each engine's card, and the path of each search.
    assert len(pictures) >= len(ENGINES)
    for picture in pictures:
        assert "<svg" in (clone.root / "dvc_plots" / picture).read_text()


def test_an_edit_of_validate_rebuilds_no_engine(small: Clone) -> None:
    small.comment("stages/validate.py")
    ran = small.repro()
    assert of(ran, "validate") == [f"validate@{engine}" for engine in sorted(SMALL)]
    assert {name.partition("@")[0] for name in ran} == {"validate", "package"}
    small.restore()


def test_a_comment_in_a_pass_runs_sanitize_and_then_package_alone(small: Clone) -> None:
    small.comment("stages/passes/fold_constants.py")
    ran = small.repro()
    assert ran[0] == "sanitize@digits"
    assert sorted(ran[1:]) == [f"package@{engine}" for engine in sorted(SMALL)]
    small.restore()


def test_a_new_engine_builds_only_itself(small: Clone) -> None:
    text = (small.root / "params.yaml").read_text()
    # `small` has only this one left there.
    block = text[text.index("  digits-int8-b64:\n") : text.index("\n# Build: ")].rstrip("\n")
    new = block.replace("digits-int8-b64:", "digits-new:").replace("entropy", "minmax")
    small.edit("params.yaml", "engines:\n", f"engines:\n{new}\n")
    ran = small.repro()
    per_engine = ("precision", "build", "validate", "gate", "package")
    assert sorted(ran) == sorted(["check", *(f"{s}@digits-new" for s in per_engine)])
    small.restore()


def test_a_changed_profile_touches_its_engines_alone(small: Clone) -> None:
    small.edit("params.yaml", "opt: [16, 1, 8, 8]", "opt: [32, 1, 8, 8]")
    ran = small.repro()
    assert of(ran, "build") == ["build@digits-int8-b64"]
    assert not [name for name in ran if name.endswith("-b1")]
    small.restore()


def test_a_new_percentile_runs_no_data_pass(small: Clone) -> None:
    small.edit("params.yaml", "percentile: 99.99", "percentile: 99.5")
    ran = small.repro()
    assert "calibrate@digits" in ran
    assert not of(ran, "observe") + of(ran, "precision") + of(ran, "build")
    small.restore()


def test_a_pin_reruns_its_stages_and_stops_on_another_version(small: Clone) -> None:
    small.edit("params.yaml", "tensorrt-rtx: 1.7.1.116", "tensorrt-rtx: 1.6.1.120")
    done = small.dvc("repro", "--keep-going", check=False)
    assert done.returncode
    # Its parser tells `sanitize` what will be refused, so that is the first stage to need it.
    assert [name for name in RAN.findall(done.stdout) if name != "check"] == ["sanitize@digits"]
    assert re.search(r"tensorrt-rtx +1\.7\.1\.116 +1\.6\.1\.120", done.stdout)
    assert "python -m pip install tensorrt-rtx==1.6.1.120" in done.stdout
    assert "make pins" in done.stdout
    small.restore()


# Stages that each pin can change, by the beginning of its key; written out, not read from dvc.yaml.
STALE = {
    "python": ALL,
    "platform": ALL,
    "export": ["export@digits"],
    "export-pytorch": ["export@digits"],
    # No model is of these.
    **{f"export-{name}": [] for name in ("onnx", "tensorflow", "paddlepaddle", "mindspore")},
    "sanitize": ["sanitize@digits"],
    "observe": ["observe@digits"],
    "calibrate": ["calibrate@digits"],
    "precision": each("precision"),
    "validate": each("validate"),
    "package": each("package"),
    # sanitize tells what its parser refuses, and validate reads the plan's version.
    "tensorrt_rtx.packages": ["sanitize@digits", *each("build", "validate")],
    "tensorrt_rtx.onnx_opset": each("build"),
    "tensorrt_rtx.cuda_runtime": each("build"),
    "tensorrt_rtx.driver_min": [],  # it may stop a command, and changes no output
    "tensorrt": [],  # no engine has this backend
}


def test_each_pin_makes_exactly_its_stages_stale(small: Clone) -> None:
    path = small.root / "params.yaml"
    before = YAML(typ="safe").load(path)
    pins = list(leaves(before["toolchain"]))
    by_row = {key: [pin for pin in pins if belongs(pin, key)] for key in STALE}
    assert all(by_row.values()), "each row of the table has pins"
    assert sorted(pin for row in by_row.values() for pin in row) == sorted(pins), "each pin a row"
    assert Repo(str(small.root)).status() == {}
    # One pin of each row at a time: DVC says which key made a stage stale.
    for changed in itertools.zip_longest(*by_row.values()):
        document = copy.deepcopy(before)
        for pin in filter(None, changed):
            *groups, last = pin.split(".")
            place = functools.reduce(lambda value, key: value[key], groups, document["toolchain"])
            place[last] = 99 if isinstance(place[last], int) else f"{place[last]}.99"
        path.write_text(json.dumps(document))
        status = Repo(str(small.root)).status()
        reasons = {
            name.rpartition(":")[2]: entries[0]["changed deps"]["params.yaml"]
            for name, entries in status.items()
        }
        # It depends on the file as such, and its output is constant.
        assert reasons.pop("check") == "modified"
        for row, pin in zip(STALE, changed, strict=True):
            if pin:
                stale = [
                    n
                    for n, keys in reasons.items()
                    if any(belongs(f"toolchain.{pin}", k) for k in keys)
                ]
                assert sorted(stale) == sorted(STALE[row]), pin
    small.restore()


def leaves(value: Any, path: str = "") -> Iterator[str]:
    if not isinstance(value, dict):
        yield path.removeprefix(".")
        return
    for key, inner in value.items():
        yield from leaves(inner, f"{path}.{key}")


def belongs(pin: str, key: str) -> bool:
    return f"{pin}.".startswith(f"{key}.")


def test_a_second_machine_takes_everything_from_the_remote_and_runs_nothing(
    small: Clone, tmp_path_factory: pytest.TempPathFactory
) -> None:
    remote = tmp_path_factory.mktemp("remote")
    other = tmp_path_factory.mktemp("another machine") / "clone"
    small.git("clone", "--quiet", str(small.root), str(other))
    second = Clone.of(other)
    for machine in (small, second):
        machine.dvc("remote", "add", "--local", "--default", "shared", str(remote))
    small.dvc("push", "--run-cache")
    small.dvc("remote", "remove", "--local", "shared")

    second.dvc("pull", "--run-cache")
    assert second.repro() == []
    assert not second.status()
    # Not even dvc.lock is needed: the run cache knows what the same recipe gave.
    shutil.rmtree(second.root / "artifacts")
    second.git("checkout", "--quiet", "--", "artifacts")
    (second.root / "dvc.lock").unlink()
    done = second.dvc("repro").stdout
    assert RAN.findall(done) == []
    assert done.count("is cached - skipping run, checking out outputs") == len(ALL) + 1
    lock, known = (YAML(typ="safe").load(clone.root / "dvc.lock") for clone in (second, small))
    assert lock["stages"] == {name: known["stages"][name] for name in ("check", *ALL)}
    # Another pin is another recipe: nothing is taken, and the stage says what is installed.
    second.edit("params.yaml", "tensorrt-rtx: 1.7.1.116", "tensorrt-rtx: 1.6.0.1")
    done = second.dvc("repro", "--keep-going", check=False).stdout
    assert RAN.findall(done)[1:] == ["sanitize@digits"]
    assert "is cached" not in done


def test_a_failed_gate_stops_its_engine_and_no_other(small: Clone) -> None:
    small.edit("params.yaml", "min_sqnr_db: 20.0", "min_sqnr_db: 200.0")
    done = small.run("make", "repro", check=False)
    assert done.returncode
    assert re.search(r"^digits-int8-b1 .* failed: min_sqnr_db$", done.stdout, re.MULTILINE)
    assert re.search(r"^digits-int8-b64 .* passed$", done.stdout, re.MULTILINE)
    assert "package@digits-int8-b1" not in RAN.findall(done.stdout)
    small.restore()


def test_figures_of_an_earlier_run_are_not_shown_as_current(small: Clone) -> None:
    path = small.root / "models/digits/samples/calibration/000.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["image"][3, 0, 0, 0] = np.nan
    np.savez_compressed(path, **arrays)
    done = small.run("make", "repro", check=False)
    assert done.returncode
    assert "'image' holds NaN or infinity in sample 3" in done.stdout
    rows = re.findall(r"^digits-\S+ .* (none: .*)$", done.stdout, re.MULTILINE)
    assert rows == ["none: observe has not run, or failed"] * len(SMALL)
    small.restore()


def test_experiments_take_a_precision_and_refuse_a_bad_one(small: Clone) -> None:
    change = "engines.digits-int8-b1.precision=fp16"
    method = "engines.digits-int8-b1.method=none"
    drop = "engines.digits-int8-b1.gates.max_out_of_range=null"
    rest = "engines.digits-int8-b1.remainder=null"
    small.dvc("exp", "run", "-S", change, "-S", method, "-S", rest, "-S", drop)
    assert small.dvc("exp", "show", "--csv").stdout.count("digits-int8-b1")
    small.git("checkout", "--quiet", "--", ".")
    bad = small.dvc("exp", "run", "-S", "engines.digits-int8-b1.precision=int9", check=False)
    assert bad.returncode == 255
    assert re.search(
        r"params\.yaml:\d+:\d+: engines\.digits-int8-b1\.precision: 'int9'", bad.stdout
    )
    assert "Did you mean 'int8'?" in bad.stdout
    small.restore()


def test_what_breaks_dvcs_templates_gets_the_same_text(small: Clone) -> None:
    small.edit("params.yaml", "    model: digits\n", "    modle: digits\n")
    done = small.run("make", "repro", check=False)
    assert done.returncode == 2
    assert re.search(r"params\.yaml:\d+:\d+: engines\.digits-fp32-b1: .*modle", done.stdout)
    assert "Did you mean 'model'?" in done.stdout
    small.restore()


@pytest.mark.parametrize(("shell", "epoch"), [("/bin/bash", 2), ("/bin/sh", 3)])
def test_a_killed_dvc_takes_its_stage_along_and_the_next_run_is_whole(
    small: Clone, shell: str, epoch: int
) -> None:
    # DVC starts a stage through $SHELL: bash replaces itself by the stage, dash waits beside it.
    # Another epoch makes the slowest stage of the model run again.
    small.edit("params.yaml", "  export: 1\n", f"  export: {epoch}\n")
    command = [sys.executable, "-m", "dvc", "repro", "export@digits"]
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    dvc = subprocess.Popen(
        command,
        cwd=small.root,
        env={**os.environ, "PATH": paths, "DVC_NO_ANALYTICS": "true", "SHELL": shell},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: bool(stage_processes(small.root)))
    dvc.send_signal(signal.SIGKILL)
    dvc.wait()
    wait_for(lambda: not stage_processes(small.root))
    assert not (small.root / "artifacts/onnx/digits/exported").exists()
    small.repro()
    assert not list((small.root / "artifacts").rglob("*.tmp"))
    small.restore()


def stage_processes(root: Path) -> list[int]:
    """Processes that run a stage in `root`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if b"stages.export" in command and (process / "cwd").readlink() == root:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def wait_for(condition: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
