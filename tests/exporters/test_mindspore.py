# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""MindSpore sources: what its exporter takes at any batch, and what it refuses.

All networks of tests/mindspore_zoo.py are exported in one process of MindSpore's environment.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from stages import export
from stages.exporters import canonical, contract
from stages.exporters.api import Order
from stages.lib import environments, errors, files, layout
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from tests.conftest import Project

ROOT = Path(__file__).parents[2]
ZOO = ROOT / "tests" / "mindspore_zoo.py"
BATCHES = [2, 1, 4, 7]
FEEDS = {
    "x": zoo.values(7, 3),
    "image": zoo.values(7, 3, 8, 8),
    "tokens": zoo.values(7, 5, 8),
    "ids": (np.arange(35) % 9).reshape(7, 5).astype(np.int32),
    "long": (np.arange(35) % 9).reshape(7, 5),
    "mask": np.arange(35).reshape(7, 5) % 2 == 0,
    "first": zoo.values(7, 3),
    "second": zoo.values(7, 3, seed=1),
    "small": (np.arange(21) % 5).reshape(7, 3).astype(np.int8),
    "half": zoo.values(7, 3).astype(np.float16),
    "double": zoo.values(7, 3).astype(np.float64),
}
Told = dict[str, Any]


def told(
    entry: str,
    outputs: int = 1,
    inputs: tuple[str, ...] = ("x",),
    *,
    weights: str | None = None,
    batch: str | int = "batch",
    batches: list[int] = BATCHES,
) -> Told:
    """What an order says, and the batches that are run."""
    faces = {
        name: {"dtype": str(FEEDS[name].dtype), "shape": [batch, *FEEDS[name].shape[1:]]}
        for name in inputs
    }
    names = [f"out{number}" for number in range(outputs)]
    return {
        "entry": f"nets.py:{entry}",
        "weights": weights,
        "inputs": faces,
        "outputs": names,
        "opset": None,
        "batches": batches,
    }


GOOD = {
    "plain": told("Plain", weights="plain.ckpt"),
    "safetensors": told("Plain", weights="plain.safetensors"),
    "convolutions": told("Convolutions", 3, ("image",)),
    "upsampled": told("Upsampled", 1, ("image",), batch=2, batches=[2]),
    "attention": told("Attention", 1, ("tokens",)),
    "masked": told("Masked", 2, ("ids", "mask")),
    "nested": told("Nested", 6),
    "types": told("Types", 4, ("small", "half", "double")),
    "random": told("Random"),
    "two": told("Two", 1, ("first", "second")),
    "sized-fixed": told("Sized", batch=2, batches=[2]),
    "outside": told("outside", weights="plain.ckpt"),
}
BAD = {
    "sized": (
        told("Sized"),
        r"\(MindSpore [\d.]+\) needs a fixed batch for nets.py:Sized: it does",
    ),
    "branching": (told("Branching"), r"cannot export nets.py:Branching: RuntimeError: "),
    "unknown": (
        told("Unknown"),
        r"export nets.py:Unknown: it does not know the op Erfinv, at (Default/block-\S+op\d\W+){2}",
    ),
    "invalid": (
        told("Invalid"),
        r"wrote a graph of nets.py:Invalid that is not valid ONNX: .*Cast",
    ),
    "listed": (told("Listed"), r"it does not know the op make_list, at Default/make_list-op0\n"),
    "named": (told("Named"), r"construct\(\) returns a dict; return a tensor, or a tuple of them"),
    "failing": (
        told("Failing"),
        r"itself failed on the probe samples: ValueError: .* \(nets.py:\d+\)\n",
    ),
    "outputs": (
        told("Nested", 2),
        r"returns 6 tensors, and models.<m>.outputs names 2: out0, out1",
    ),
    "swapped": (
        told("Two", 1, ("second", "first")),
        r"takes \(first, second, factor\), and .* seco",
    ),
    "fewer": (told("Two", 1, ("first",)), r"takes \(first, second, factor\), and .* names first\n"),
    "other": (told("Plain", 1, ("first",)), r"takes \(x\), and models.<m>.inputs names first\n"),
    "nothing": (told("nothing"), r"nets.py:nothing returned a int, not a mindspore.nn.Cell"),
    "absent": (told("Gone"), r"AttributeError: nets.py has no 'Gone'; it has: Plain, Pooled, "),
    "width": (told("NeedsWidth"), r"missing 1 required positional argument: 'width'"),
    "exits": (
        told("exits"),
        r"nets.py:exits could not be loaded: SystemExit: 3\ncorrect line \d+ of \S+nets.py, or",
    ),
    "fetches": (
        told("fetches"),
        r"ConnectionError: no route to host\ncorrect line \d+ of .*--interpreter\) -i \S+nets.py`",
    ),
    "torch": (told("torch"), r"ModuleNotFoundError(?s:.*)pytorch model, set models.<m>.source.fr"),
    "forgotten": (
        told("Plain"),
        r"the weights of \S+nets.py:Plain are random: with another seed it has other first.bias, ",
    ),
    "gone": (told("Plain", weights="gone.ckpt"), r"gone.ckpt is not there\n"),
    "short": (told("Plain", weights="short.ckpt"), r"\(ckpt\), or is truncated \(\d+ bytes\)\n"),
    "empty": (told("Plain", weights="empty.ckpt"), r"empty.ckpt is not a Mind.* \(0 bytes\)\n"),
    "zip": (told("Plain", weights="torch.ckpt"), r"begins like a pickle, as PyTorch writes\n"),
    "wider": (told("Wider", weights="plain.ckpt"), r"does not fit .*first.weight in the arg"),
    "deeper": (
        told("Deeper", weights="plain.ckpt"),
        r"it lacks extra.0.bias, (\S+ ){8}extra.4.weight and 2 more\n",
    ),
    "training": (
        told("Plain", weights="training.ckpt"),
        r"it has global_step, .*, which the network has not\n.*without the optimizer",
    ),
}


def interpreter() -> str:
    return str(environments.interpreter("mindspore", {}))


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source folder with all networks and checkpoints."""
    folder = tmp_path_factory.mktemp("mindspore") / "source"
    folder.mkdir()
    shutil.copy(ZOO, folder / "nets.py")
    words = [interpreter(), "-B", str(folder / "nets.py"), str(folder)]
    subprocess.run(words, cwd=folder.parent, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def exported(source: Path) -> Path:
    """What the exporter made of each order, after a run in a folder with an odd name."""
    work = source.parent / "ein Ordner, naïv"
    work.mkdir()
    before = sorted(source.iterdir())
    orders = GOOD | {name: order for name, (order, _) in BAD.items()}
    (work / "orders.json").write_text(
        json.dumps({name: {**order, "source": str(source)} for name, order in orders.items()})
    )
    np.savez(work / "feeds.npz", allow_pickle=False, **FEEDS)
    words = [interpreter(), "-B", str(ZOO), str(ROOT), "feeds.npz", "orders.json"]
    done = subprocess.run(words, cwd=work, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(source.iterdir()) == before, "MindSpore litters the source"
    return work


@pytest.mark.parametrize("name", GOOD)
def test_a_network_computes_the_same_at_every_batch(exported: Path, name: str) -> None:
    fault = exported / f"{name}.error"
    assert not fault.exists(), fault.read_text()
    spec = {key: value for key, value in GOOD[name].items() if key != "batches"}
    wanted = Order(source=Path(), **spec)
    proto = onnx.load(exported / name / "model.onnx")
    graph = ir.from_proto(proto)
    canonical.apply(graph, wanted)
    contract.check(graph, wanted.inputs, wanted.outputs, "models.m")
    expected = np.load(exported / f"{name}.npz")
    for count in GOOD[name]["batches"]:
        found = zoo.infer(graph, {key: FEEDS[key][:count] for key in wanted.inputs})
        for key, value in found.items():
            assert value.dtype == expected[f"{key}/{count}"].dtype
            np.testing.assert_allclose(value, expected[f"{key}/{count}"], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", BAD)
def test_a_source_that_does_not_fit_is_refused_with_its_reason(exported: Path, name: str) -> None:
    said = (exported / f"{name}.error").read_text()
    assert re.search(BAD[name][1], said), said
    assert "C++ Call Stack" not in said
    assert len(said.splitlines()) < 20
    assert not (exported / name).exists()


def test_the_opset_is_mindspores_own_and_no_path_is_in_the_graph(exported: Path) -> None:
    for name in GOOD:
        data = (exported / name / "model.onnx").read_bytes()
        (opset,) = onnx.load_from_string(data).opset_import
        assert (opset.domain, opset.version) == ("", 11)
        assert not re.search(rb"/(root|home|tmp)/|nets\.py|mindspore_zoo", data)


def test_weights_beside_the_graph_lie_in_its_folder(exported: Path) -> None:
    names = {"first.weight", "first.bias", "second.weight", "second.bias"}
    assert {path.name for path in (exported / "outside").iterdir()} == names | {"model.onnx"}
    proto = onnx.load(exported / "outside" / "model.onnx", load_external_data=False)
    entries = [entry for tensor in proto.graph.initializer for entry in tensor.external_data]
    assert {entry.value for entry in entries if entry.key == "location"} == names


def mindspore(project: Project, source: Path, entry: str, weights: str | None) -> None:
    """Make the project's model one of MindSpore."""
    home = project.root / "models/tiny"
    shutil.rmtree(home / "source")
    shutil.copytree(source, home / "source")
    document = project.params()
    model = document["models"]["tiny"]
    told = {"framework": "mindspore", "entry": entry, "weights": weights}
    model["source"] |= told
    project.write(document)


def test_two_runs_of_the_stage_write_the_same_bytes_and_no_litter(
    project: Project, source: Path
) -> None:
    mindspore(project, source, "nets.py:Pooled", "plain.ckpt")
    graph = project.root / layout.exported("tiny") / layout.GRAPH_FILE
    seen = []
    for _ in range(2):
        export.main("tiny")
        seen.append(graph.read_bytes())
    assert seen[0] == seen[1]
    proto = onnx.load_from_string(seen[0])
    dims = proto.graph.output[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["batch", 2]
    facts = files.read_json(layout.facts("export", "tiny"))
    assert facts["details"]["parity"] == {"state": "passed", "reason": None, "samples": 4}
    assert "stages/exporters/mindspore/tracing.py" in facts["code"]
    assert facts["details"]["environment"]["mindspore"]
    made = {path.name for path in project.root.iterdir()}
    assert made - {"requirements"} == {
        "artifacts",
        "models",
        "params.yaml",
        "schemas",
        "stages",
        ".logs",
    }
    names = {path.name for path in source.iterdir()}
    assert {path.name for path in (project.root / "models/tiny/source").iterdir()} == names


def test_a_refusal_reaches_the_user_without_paths_of_the_machine(
    project: Project, source: Path
) -> None:
    mindspore(project, source, "nets.py:Pooled", "short.ckpt")
    with pytest.raises(errors.SourceModelError, match=r"short.ckpt is not a Mind") as caught:
        export.main("tiny")
    assert caught.value.what.startswith("models/tiny/source/short.ckpt is not a MindSpore")
    assert not (project.root / layout.exported("tiny")).exists()


def test_too_little_memory_is_told_as_such(project: Project, source: Path) -> None:
    mindspore(project, source, "nets.py:Pooled", "plain.ckpt")
    project.set("models.tiny.limits.memory_mib", 512)
    with pytest.raises(errors.LimitError, match=r"mindspore: .* needs more than 512 MiB of memory"):
        export.main("tiny")
