# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""PyTorch weights beside code, and what needs trust to be loaded: pickles and TorchScript."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from stages.exporters.api import Order
from stages.exporters.pytorch import exporter as pytorch
from stages.exporters.pytorch import trust
from stages.lib import errors, files, plugins
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from collections.abc import Iterator

X = {"x": {"dtype": "float32", "shape": ["batch", 3]}}
FEED = {"x": zoo.values(4, 3)}
CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=2):
        super().__init__()
        self.a, self.b = nn.Linear(3, 5), nn.Linear(5, width)
    def forward(self, x):
        return self.b(self.a(x).relu())

def wide():
    return Net(7)
"""


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "model.py").write_text(CODE)
    yield folder
    sys.modules.pop("model", None)


def net(source: Path, name: str = "model.py") -> nn.Module:
    torch.manual_seed(7)
    module: nn.Module = plugins.entry(source, f"{name}:Net")()
    return module.eval()


def order(source: Path, entry: str = "model.py:Net", **changes: Any) -> Order:
    settings: dict[str, Any] = {"inputs": X, "outputs": ["y"], "opset": 20} | changes
    return Order(source=source, entry=entry, **settings)


def same(wanted: Order, expected: nn.Module) -> None:
    """The graph and the loaded source both compute what `expected` does, for other batches too."""
    folder = wanted.source.parent / "out"
    pytorch.export(wanted, FEED, folder)
    proto, framework = onnx.load(folder / "model.onnx"), pytorch.load(wanted)
    for feeds in (FEED, {"x": zoo.values(1, 3)}, {"x": zoo.values(9, 3)}):
        truth = expected(torch.from_numpy(feeds["x"])).detach().numpy()
        for found in (framework(feeds), zoo.infer(proto, feeds)):
            np.testing.assert_allclose(found["y"], truth, rtol=1e-5, atol=1e-6)


def refused(wanted: Order, message: str) -> errors.SourceModelError:
    with pytest.raises(errors.SourceModelError, match=message) as caught:
        pytorch.load(wanted)
    return caught.value


def trusts(source: Path, *names: str) -> dict[str, str]:
    return {name: files.sha256(source / name) for name in names}


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth", "w.bin", "w.ckpt", "sub/w.pt"])
def test_weights_go_into_the_module_of_the_entry(source: Path, name: str) -> None:
    module, path = net(source), source / name
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(module.state_dict(), path)
    else:
        torch.save(module.state_dict(), path, _use_new_zipfile_serialization=name != "w.pth")
    same(order(source, weights=name), module)


def test_tensors_under_two_names_are_stored_once(source: Path) -> None:
    tied = "def tied():\n    net = Net(3)\n    net.c = net.b\n    return net\n"
    (source / "model.py").write_text(CODE + tied)
    state = net(source).state_dict() | {"b.weight": torch.ones(3, 5), "b.bias": torch.ones(3)}
    save_file(state, source / "w.safetensors")
    found = pytorch.load(order(source, "model.py:tied", weights="w.safetensors"))({"x": FEED["x"]})
    assert found["y"].shape == (4, 3)
    np.testing.assert_allclose(found["y"][:, 0], found["y"][:, 1], rtol=1e-6)


def test_weights_that_do_not_fit(source: Path) -> None:
    state = {f"new.{number:02}": torch.ones(1) for number in range(12)}
    save_file(
        state | {"a.weight": torch.ones(5, 4), "a.bias": torch.ones(5)}, source / "w.safetensors"
    )
    told = refused(order(source, weights="w.safetensors"), "w.safetensors does not fit the module")
    assert "\n  it lacks b.bias, b.weight\n" in told.what
    assert "\n  the module lacks new.00, new.01, " in told.what
    assert "new.09 and 2 more\n" in told.what
    assert told.what.endswith("\n  shapes differ: a.weight [5, 4] instead of [5, 3]")


def test_forgotten_weights(source: Path) -> None:
    said = r"source/model.py:Net are random: with another seed it has other a.weight, a.bias, b.w"
    with pytest.raises(errors.SourceModelError, match=said) as raised:
        pytorch.export(order(source), FEED, source.parent / "out")
    assert "name their file in models.<m>.source.weights" in raised.value.mend
    assert not (source.parent / "out").exists()


def test_weights_that_the_entry_loads_are_not_taken_for_random(source: Path) -> None:
    """Drawn, then overwritten; and a NaN is equal to itself here."""
    expected = net(source)
    torch.save(expected.state_dict(), source / "net.pt")
    code = "def load():\n    net = Net()\n    net.register_buffer('nan', torch.tensor(torch.nan))\n"
    code += f"    net.load_state_dict(torch.load({str(source / 'net.pt')!r}), strict=False)\n"
    (source / "model.py").write_text(f"{CODE}\n{code}    return net\n")
    same(order(source, "model.py:load"), expected)


def test_a_checkpoint_with_more_than_weights(source: Path) -> None:
    torch.save({"epoch": 3, "state_dict": net(source).state_dict()}, source / "w.ckpt")
    told = refused(order(source, weights="w.ckpt"), "holds a dict with epoch, state_dict, not tens")
    assert told.mend == "save module.state_dict() alone"


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_weights_that_are_missing_or_damaged(source: Path, name: str) -> None:
    refused(order(source, weights=name), f"{name} could not be loaded: FileNotFoundError")
    (source / name).write_bytes(b"PK\x03\x04 and no more")
    told = refused(order(source, weights=name), f"{name} could not be loaded")
    assert "trusted" not in told.what


class Touch:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def lines(source: Path, name: str) -> str:
    return f"trusted:\n    - file: {name}\n      sha256: {files.sha256(source / name)}"


def test_a_pickled_checkpoint_needs_trust(source: Path) -> None:
    mark, module = source.parent / "mark", net(source)
    state: Any = module.state_dict()
    state._metadata = {"": {"made": Touch(mark)}}
    torch.save(state, source / "w.pt")
    told = refused(order(source, weights="w.pt"), r"w\.pt is a pickle of more than tensors")
    assert told.what.endswith("is not trusted: it asks for getattr")
    assert lines(source, "w.pt") in told.mend
    assert not mark.exists()
    same(order(source, weights="w.pt", trusted=trusts(source, "w.pt")), module)
    assert mark.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
def test_a_bare_pickle_is_refused_without_torchs_advice(source: Path) -> None:
    mark = source.parent / "mark"
    (source / "w.pt").write_bytes(pickle.dumps(Touch(mark)))
    told = refused(order(source, weights="w.pt"), r"source/w\.pt is a pickle of more than tensors")
    assert told.what.endswith("is not trusted")
    assert not mark.exists()


def test_a_trust_of_other_bytes(source: Path) -> None:
    torch.save(nn.Linear(3, 2), source / "net.pt")
    told = refused(order(source, "net.pt", trusted={"net.pt": "1" * 64}), "is not the file that")
    assert f"file:        {files.sha256(source / 'net.pt')}\n  params.yaml: {'1' * 64}" in told.what


def script(source: Path, name: str) -> nn.Module:
    module = net(source)
    jit: Any = torch.jit
    made = jit.script(module) if "script" in name else jit.trace(module, torch.ones(2, 3))
    torch.jit.save(made, source / name)
    return module


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is (deprecated|not supported):DeprecationWarning")
@pytest.mark.parametrize("name", ["scripted.ts", "traced.pt"])
def test_torchscript_needs_trust(source: Path, name: str) -> None:
    module = script(source, name)
    told = refused(order(source, name), f"{name} is TorchScript, which may run code")
    assert lines(source, name) in told.mend
    same(order(source, name, trusted=trusts(source, name)), module)


def test_a_pickled_module_needs_trust_and_its_class(source: Path) -> None:
    (source / "model.py").rename(source / "pickled_net.py")
    code = "import sys; sys.path.insert(0, sys.argv[1])\nimport torch, pickled_net\n"
    code += "torch.manual_seed(7)\nnet = pickled_net.Net().eval()\n"
    code += "torch.save(net, sys.argv[1] + '/net.pth')\n"
    subprocess.run([sys.executable, "-B", "-c", code, str(source)], check=True)
    told = refused(order(source, "net.pth"), r"net\.pth is a pickle of more than tensors")
    assert told.what.endswith("it asks for pickled_net.Net")
    same(order(source, "net.pth", trusted=trusts(source, "net.pth")), net(source, "pickled_net.py"))


def test_a_state_dict_as_entry(source: Path) -> None:
    torch.save(net(source).state_dict(), source / "w.pt")
    told = refused(order(source, "w.pt"), r"w\.pt holds a OrderedDict, not a module")
    assert "this file as models.<m>.source.weights" in told.mend


LOADS = {
    "torch.load(HERE / 'net.bin', weights_only=False)": "a pickle of more than tensors",
    "torch.load(str(HERE / 'net.bin'))": "a pickle of more than tensors",
    "torch.load(open(HERE / 'net.bin', 'rb'), weights_only=False)": "a pickle of more than",
    "torch.load(HERE / 'net.bin', 'cpu', pickle, weights_only=False)": "a pickle of more than",
    "torch.serialization.load(HERE / 'net.bin', weights_only=False)": "a pickle of more than",
    "taken(HERE / 'net.bin', weights_only=False)": "a pickle of more than tensors",
    "torch.load(HERE / 'net.ts', weights_only=False)": "TorchScript",
    "torch.jit.load(HERE / 'net.ts')": "TorchScript",
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is (deprecated|not supported):DeprecationWarning")
@pytest.mark.filterwarnings("ignore:'torch.load' received a zip file:UserWarning")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("call", LOADS)
def test_the_users_own_loads_are_held_to_it_too(source: Path, call: str) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(3, 2)), source / "net.ts")
    torch.save(nn.Linear(3, 2), source / "net.bin")
    code = "import pickle, torch\nfrom pathlib import Path\nfrom torch import load as taken\n"
    code += f"HERE = Path(__file__).parent\ndef load(): return {call}\n"
    (source / "own.py").write_text(code)
    name = "net.ts" if "net.ts" in call else "net.bin"
    told = refused(order(source, "own.py:load"), rf"{name} is {LOADS[call]}")
    assert lines(source, name) in told.mend
    wanted = order(source, "own.py:load", trusted=trusts(source, name))
    if call == "torch.load(str(HERE / 'net.bin'))":  # it asks for weights alone, trusted or not
        refused(wanted, "could not be loaded: UnpicklingError")
    else:
        assert pytorch.load(wanted)(FEED)["y"].shape == (4, 2)


def test_a_file_that_the_code_names_in_full_is_told_by_the_folder(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(nn.Linear(3, 2), source / "net.bin")
    code = f"import torch\ndef load(): return torch.load({str(source / 'net.bin')!r})\n"
    (source / "own.py").write_text(code)
    monkeypatch.chdir(source.parent)
    wanted = order(Path("source"), "own.py:load")
    refused(wanted, r"^source/net\.bin is a pickle of more than tensors")


def test_code_that_lacks_a_package(source: Path) -> None:
    (source / "own.py").write_text("import no_such_package\n")
    told = refused(order(source, "own.py:load"), "No module named 'no_such_package'")
    assert "install the package into .venv" in told.mend
    (source / "own.py").write_text("import mindspore\n")
    told = refused(order(source, "own.py:load"), "No module named 'mindspore'")
    assert told.mend.endswith("mindspore model, set models.<m>.source.framework to that")


def test_bytes_in_memory_have_no_digest(source: Path) -> None:
    torch.save(nn.Linear(3, 2), source / "net.bin")
    code = (
        "import io, torch\nfrom pathlib import Path\nDATA = (Path(__file__).parent / 'net.bin')\n"
    )
    code += "def load(): return torch.load(io.BytesIO(DATA.read_bytes()), weights_only=False)\n"
    (source / "own.py").write_text(code)
    wanted = order(source, "own.py:load", trusted=trusts(source, "net.bin"))
    assert "load it from its file" in refused(wanted, "bytes in memory are a pickle").mend


def test_a_file_elsewhere_cannot_be_trusted(source: Path) -> None:
    torch.save(nn.Linear(3, 2), source.parent / "net.bin")
    code = f"import torch\ndef load(): return torch.load({str(source.parent / 'net.bin')!r})\n"
    (source / "own.py").write_text(code)
    assert f"copy it to {source} first" in refused(order(source, "own.py:load"), "a pickle").mend


def test_the_loaders_are_as_before_afterwards(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    before = torch.load, torch.serialization.load, torch.jit.load, torch.export.load
    with trust.guarding(order(source)):
        assert torch.load is not before[0]
        assert os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"
        buffer = io.BytesIO()
        torch.save({"w": torch.ones(2)}, buffer)
        buffer.seek(0)
        assert list(torch.load(buffer, weights_only=False)) == ["w"]
    assert (torch.load, torch.serialization.load, torch.jit.load, torch.export.load) == before
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
