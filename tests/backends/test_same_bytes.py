# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The chain in other surroundings: every output is the one that the committed dvc.lock records.

One run of the stages up to `precision` under all variations at once gives the typed graphs; then
every demo engine, and a residual network whose plan does differ in ordinary processes, is built
under each variation. A variation that this machine refuses (another user, a processor to choose) is
not in the list; what is left is told by the tests' names.
"""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stages.lib import lockfile, params

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
ENGINES = sorted(params.load(ROOT).param("engines"))
# More than any path, locale or hash seed takes.
LARGE = {f"FILLER_{number}": "x" * 30_000 for number in range(4)}
ATTEMPTS = 60

# Builds every demo engine as its stage does, and the residual network as the stage's backend does.
BUILD = """
    import hashlib, json, sys
    from pathlib import Path
    from stages import build
    from stages.backends import isolation
    from stages.backends.build_api import Order
    from stages.backends.tensorrt_rtx import build as ordinary
    from stages.lib import params

    builder = {"workspace_mib": 256, "optimization_level": 3, "compute_capabilities": ["sm86"]}
    shapes = {k: [n, 3, 64, 64] for k, n in (("min", 1), ("opt", 8), ("max", 32))}
    graph = Path("residual/model.onnx").absolute()
    order = Order(graph=graph, precision="fp32", profiles=[{"x": shapes}], builder=builder)
    if sys.argv[1:] == ["ordinary"]:
        print(hashlib.sha256(ordinary.build(order, lambda _: None).plan).hexdigest())
    else:
        for engine in sys.argv[1:]:
            build.main(engine)
        isolation.build("tensorrt_rtx", order, lambda _: None, Path("residual/model.plan"))
"""

SETUP = """
    set -e
    "$0" -m stages.check
    for stage in export sanitize observe calibrate; do "$0" -m stages.$stage digits; done
    for engine in "$@"; do "$0" -m stages.precision "$engine"; done
"""


def residual(folder: Path) -> None:
    """Write a ResNet-50 of an eighth of the width, with random weights and a dynamic batch."""
    rng = np.random.default_rng(7)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def conv(source: str, inner: int, outer: int, size: int, *, stride: int = 1) -> str:
        name = f"conv{len(nodes)}"
        weight = rng.standard_normal((outer, inner, size, size)) / np.sqrt(inner * size * size)
        weights.append(numpy_helper.from_array(weight.astype(np.float32), f"{name}.w"))
        node = helper.make_node("Conv", [source, f"{name}.w"], [name], name=name)
        node.attribute.append(helper.make_attribute("strides", [stride, stride]))
        node.attribute.append(helper.make_attribute("pads", [size // 2] * 4))
        nodes.append(node)
        return name

    def op(kind: str, *sources: str) -> str:
        name = f"{kind.lower()}{len(nodes)}"
        nodes.append(helper.make_node(kind, [*sources], [name], name=name))
        return name

    value, width = op("Relu", conv("x", 3, 16, 7, stride=2)), 16
    for stage, blocks in enumerate((3, 4, 6, 3)):
        inner, outer = 8 << stage, 32 << stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            path = op("Relu", conv(value, width, inner, 1))
            path = op("Relu", conv(path, inner, inner, 3, stride=stride))
            path = conv(path, inner, outer, 1)
            shortcut = value if block else conv(value, width, outer, 1, stride=stride)
            value, width = op("Relu", op("Add", path, shortcut)), outer
    result = op("GlobalAveragePool", value)
    make = helper.make_tensor_value_info
    inputs = [make("x", TensorProto.FLOAT, ["batch", 3, 64, 64])]
    outputs = [make(result, TensorProto.FLOAT, ["batch", width, 1, 1])]
    graph = helper.make_graph(nodes, "residual", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 20)]
    folder.mkdir()
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), folder / "model.onnx")


def run(
    folder: Path,
    *command: str,
    prefix: tuple[str, ...] = (),
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*prefix, *command],
        cwd=folder,
        env={**os.environ, **(variables or {})},
        capture_output=True,
        check=False,
        text=True,
    )
    assert not done.returncode, done.stdout + done.stderr
    return done


def one_core() -> tuple[str, ...]:
    return ("taskset", "--cpu-list", str(min(os.sched_getaffinity(0))))


# As a build does: read the installed packages, and start the interpreter once more.
PROBE = (
    "import ruamel.yaml, subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
)


def works(*prefix: str) -> bool:
    if shutil.which(prefix[0]) is None:
        return False
    command = [*prefix, sys.executable, "-c", PROBE]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


NOBODY = 65534
# One of a namespace, who may read what this user may; where there is none, a real one.
USERS = [
    user
    for user in (
        ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}"),
        ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    )
    if works(*user)
]
# What `nproc --all` says, whatever the affinity; only root may say otherwise.
PROCESSORS = """
    file=$(mktemp) && echo 0-15 > "$file"
    mount --bind "$file" /sys/devices/system/cpu/online && rm "$file" && exec "$0" "$@"
"""
OPTIONAL = {
    "sixteen processors": ("unshare", "--mount", "sh", "-c", PROCESSORS),
    "no address-space randomization": ("setarch", "--addr-no-randomize"),
    "one core": one_core(),
}
PREFIXES = {
    "another process": (),
    "stack limit of 1 MB": ("sh", "-c", 'ulimit -S -s 1024; exec "$0" "$@"'),
    "stack without limit": ("sh", "-c", 'ulimit -S -s unlimited; exec "$0" "$@"'),
    **{name: prefix for name, prefix in OPTIONAL.items() if works(*prefix)},
}
VARIABLES = {
    "locale, time zone, hash seed": {
        "LC_ALL": "POSIX",
        "LANGUAGE": "tr",
        "TZ": "Asia/Kathmandu",
        "PYTHONHASHSEED": "7",
        "HOME": "/",
    },
    "large environment": LARGE,
}


class Chain:
    """A project with all typed graphs, made from nothing but the committed files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("models", "schemas", "stages"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "params.yaml", root)
        residual(root / "residual")
        self.lock = lockfile.read(ROOT / "dvc.lock")

    def differences(self, *stages: str) -> list[str]:
        """Outputs of stages that are not what dvc.lock records."""
        tree = lockfile.Tree(self.root)
        found = [d for s in stages for d in lockfile.compare(self.lock, s, tree, None)]
        return [str(difference) for difference in found if difference.kind == "out"]

    def build(
        self,
        *engines: str,
        python: str = sys.executable,
        prefix: tuple[str, ...] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        for engine in engines:
            (self.root / f"artifacts/engines/{engine}/model.plan").unlink(missing_ok=True)
        (self.root / "residual/model.plan").unlink(missing_ok=True)
        command = (python, "-c", textwrap.dedent(BUILD), *engines)
        run(self.root, *command, prefix=prefix, variables=variables)

    def same(self) -> None:
        """Every plan is the recorded one, and that of the residual network the first one."""
        for engine in ENGINES:
            assert not self.differences(f"build@{engine}")
        plan = (self.root / "residual/model.plan").read_bytes()
        first = self.root / "residual/first.plan"
        if not first.exists():
            first.write_bytes(plan)
        assert plan == first.read_bytes()


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The stages before `build`, in surroundings that differ in everything at once."""
    chain = Chain(tmp_path_factory.mktemp("a folder with a longer name, and an umlaut: ü"))
    prefix = (*PREFIXES.get("one core", ()), *PREFIXES["stack limit of 1 MB"])
    variables = {**VARIABLES["locale, time zone, hash seed"], **LARGE}
    run(chain.root, "sh", "-c", SETUP, sys.executable, *ENGINES, prefix=prefix, variables=variables)
    return chain


def test_every_output_before_the_plan_is_the_recorded_one(chain: Chain) -> None:
    stages = [f"{stage}@digits" for stage in ("export", "sanitize", "observe", "calibrate")]
    stages += [f"precision@{engine}" for engine in ENGINES]
    assert not chain.differences(*stages)


def test_the_residual_network_differs_in_ordinary_processes(chain: Chain) -> None:
    """Else the other tests show little: a plan without symbol names is always the same."""
    code = textwrap.dedent(BUILD)
    seen = set()
    for _ in range(ATTEMPTS):
        seen.add(run(chain.root, sys.executable, "-c", code, "ordinary").stdout)
        if len(seen) > 1:
            return
    pytest.fail(f"{ATTEMPTS} ordinary processes gave one digest")


@pytest.mark.parametrize("name", PREFIXES)
def test_plans_are_the_same_under(chain: Chain, name: str) -> None:
    chain.build(*ENGINES, prefix=PREFIXES[name])
    chain.same()


@pytest.mark.parametrize("name", VARIABLES)
def test_plans_are_the_same_with_another(chain: Chain, name: str) -> None:
    chain.build(*ENGINES, variables=VARIABLES[name])
    chain.same()


@pytest.mark.parametrize("user", USERS[:1], ids=lambda user: user[0])
def test_plans_are_the_same_for_another_user(chain: Chain, user: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as home:  # pytest's own lets nobody else in
        other = copy.copy(chain)
        other.root = Path(home, "project")
        shutil.copytree(chain.root, other.root)
        if user[0] == "setpriv":
            for path in (Path(home), other.root, *other.root.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        other.build(*ENGINES, prefix=user, variables={"HOME": home})
        other.same()


def test_plans_are_the_same_in_another_virtual_environment(chain: Chain, tmp_path: Path) -> None:
    home = tmp_path / "an environment of another name"
    make = [sys.executable, "-m", "venv", "--without-pip", str(home)]
    subprocess.run(make, check=True)
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "all.pth").write_text("\n".join(p for p in sys.path if "site-packages" in p))
    chain.build(*ENGINES, python=str(home / "bin/python"))
    chain.same()


def test_plans_are_the_same_from_a_cold_cache(chain: Chain) -> None:
    for library in libraries():
        with library.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    chain.build(*ENGINES)
    chain.same()


def libraries() -> Iterator[Path]:
    for entry in sys.path:
        yield from Path(entry).glob("tensorrt_rtx*/*.so*")


def test_plans_are_the_same_after_a_change_and_its_revert(chain: Chain) -> None:
    engine = "digits-int8-b64"
    path = chain.root / "params.yaml"
    before = path.read_text()
    path.write_text(before.replace("opt: [16, 1, 8, 8]", "opt: [32, 1, 8, 8]"))
    chain.build(engine)
    assert chain.differences(f"build@{engine}")
    path.write_text(before)
    chain.build(*ENGINES)
    chain.same()
