# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The real chain, on the real dvc.yaml, in a temporary clone whose path holds spaces.

One clone serves all tests, in order: what one leaves built, the next finds. pytest-xdist runs a
file on one worker.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
RAN = re.compile(r"^Running stage '([^']+)':$", re.MULTILINE)
SMALL = ("digits-fp32-b1", "digits-int8-b1", "digits-int8-b64")


class Clone:
    """A clone of the working tree, uncommitted files included."""

    def __init__(self, root: Path) -> None:
        self.root = root
        listed = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file():  # deleted, but not yet committed
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name)
        # Only the installation is taken over; CI makes it from the lock before it comes here.
        (root / ".venv").symlink_to(sys.prefix)
        self.git("init", "--quiet")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "clone")

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**os.environ, "PATH": paths, "DVC_NO_ANALYTICS": "true"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
            timeout=900,
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(command)} returned {done.returncode}:\n{done.stdout}")
        return done

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        return self.run("git", *who, *arguments).stdout

    def dvc(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "dvc", *arguments, check=check)

    def repro(self, *arguments: str) -> list[str]:
        """Names of the stages that ran."""
        return RAN.findall(self.dvc("repro", "--keep-going", *arguments).stdout)

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.root / file
        text = path.read_text()
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new, 1))

    def comment(self, file: str) -> None:
        with (self.root / file).open("a") as stream:
            stream.write("\n# A comment that changes nothing.\n")

    def status(self) -> str:
        return self.git("status", "--porcelain")

    def restore(self) -> None:
        """Back to the commit; DVC takes everything from its cache."""
        self.git("checkout", "--quiet", "--", ".")
        assert not [s for s in self.repro() if s.startswith(("build", "validate", "observe"))]
        assert not self.status()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(tmp_path_factory.mktemp("a clone with spaces"))


@pytest.fixture(scope="module")
def small(clone: Clone) -> Clone:
    """The clone with three engines: enough to see what an edit touches, and quick."""
    lines = (clone.root / "params.yaml").read_text().split("\n")
    begin, end = lines.index("engines:"), next(i for i, x in enumerate(lines) if "Exact pins" in x)
    kept: list[str] = []
    engine = ""
    for line in lines[begin + 1 : end]:
        if match := re.fullmatch(r"  ([a-z0-9-]+):", line):
            engine = match[1]
        if not engine or engine in SMALL:
            kept.append(line)
    (clone.root / "params.yaml").write_text(
        "\n".join(lines[: begin + 1] + kept + [""] + lines[end:])
    )
    assert clone.repro() == ["check"]
    clone.git("commit", "--quiet", "--all", "--message", "three engines")
    return clone


def of(ran: list[str], stage: str) -> list[str]:
    return sorted(name for name in ran if name.partition("@")[0] == stage)


def test_make_repro_builds_every_engine_and_leaves_git_clean(clone: Clone) -> None:
    shown = clone.run("make", "repro").stdout
    rows = re.findall(r"^(digits-\S+) .* (\S+)$", shown, re.MULTILINE)
    engines = [f"digits-{p}-b{b}" for p in ("fp32", "fp16", "bf16", "int8") for b in (1, 64)]
    assert rows == [(engine, "passed") for engine in engines]
    for engine in engines:
        plan = clone.root / "artifacts/engines" / engine / "model.plan"
        assert plan.read_bytes()[:4] == b"vtrt"
    assert not clone.status(), "the committed dvc.lock holds the digests that anyone gets"


def test_a_second_make_repro_runs_nothing(clone: Clone) -> None:
    shown = clone.run("make", "repro").stdout
    assert not RAN.findall(shown)
    assert shown.count(" passed") == 8
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


def ordinary(clone: Clone) -> str:
    """Digest of a plan that an ordinary process builds: no isolation, nothing arranged."""
    code = """if True:
        import hashlib
        from pathlib import Path
        from stages.backends.build_api import Order
        from stages.backends.tensorrt_rtx import build
        from stages.lib import params
        p = params.load()
        order = Order(
            graph=Path("artifacts/onnx/digits-int8-b64/typed/model.onnx"),
            precision="int8",
            profiles=p.param("profiles.digits-b64"),
            builder=p.param("engines.digits-int8-b64.builder"),
        )
        print(hashlib.sha256(build.build(order, lambda _: None).plan).hexdigest())
    """
    return clone.run(sys.executable, "-c", code).stdout.strip()


def test_a_plan_is_the_same_in_other_surroundings(
    clone: Clone, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert len({ordinary(clone) for _ in range(8)}) > 1, "else this test shows nothing"
    elsewhere = tmp_path_factory.mktemp("a much longer name of a folder, with an umlaut: ü")
    for name in ("stages", "schemas", "params.yaml", "artifacts"):
        (shutil.copytree if (clone.root / name).is_dir() else shutil.copy)(
            clone.root / name, elsewhere / name
        )
    plan = Path("artifacts/engines/digits-int8-b64/model.plan")
    wanted = (clone.root / plan).read_bytes()
    build = f'"{sys.executable}" -m stages.build digits-int8-b64 >/dev/null'
    for surroundings in (
        build,
        f"LC_ALL=C TZ=Asia/Tokyo PYTHONHASHSEED=7 HOME=/ LONG={'x' * 20000} {build}",
        f"ulimit -S -s unlimited; {build}",
        f"ulimit -S -s 1024; {build}",
        f"taskset -c 0 {build}",
        f"umask 077; nice -n 5 {build}",
    ):
        (elsewhere / plan).unlink()
        subprocess.run(["sh", "-c", surroundings], cwd=elsewhere, check=True)
        assert (elsewhere / plan).read_bytes() == wanted, surroundings


def test_people_can_look(clone: Clone) -> None:
    assert "digits-int8-b64" in clone.dvc("metrics", "show").stdout
    clone.dvc("metrics", "diff")
    assert "accuracy" in clone.dvc("exp", "show", "--csv").stdout
    clone.dvc("plots", "show")
    page = (clone.root / "dvc_plots/index.html").read_text()
    pictures = re.findall(r'src="([^"]+\.svg)"', page)
    assert len(pictures) == 8
    for picture in pictures:
        assert "SQNR" in (clone.root / "dvc_plots" / picture).read_text()


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
    block = text[text.index("  digits-int8-b64:\n") : text.index("\n# Exact pins")].rstrip("\n")
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
    stopped = {name for name in RAN.findall(done.stdout) if name != "check"}
    assert stopped == {f"build@{engine}" for engine in SMALL}
    assert re.search(r"tensorrt-rtx +1\.7\.1\.116 +1\.6\.1\.120", done.stdout)
    assert "python -m pip install tensorrt-rtx==1.6.1.120" in done.stdout
    assert "make pins" in done.stdout
    small.restore()


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
    small.dvc("exp", "run", "-S", change, "-S", method, "-S", drop)
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


@pytest.mark.parametrize("shell", ["/bin/bash", "/bin/sh"])
def test_a_killed_dvc_takes_its_stage_along_and_the_next_run_is_whole(
    small: Clone, shell: str
) -> None:
    # DVC starts a stage through $SHELL: bash replaces itself by the stage, dash waits beside it.
    # Another epoch makes the slowest stage of the model run again.
    small.edit("params.yaml", "  export: 1\n", "  export: 2\n")
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
