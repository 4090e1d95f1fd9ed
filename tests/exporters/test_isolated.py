# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""An exporter in a process of its own, and every way in which that can end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from stages.exporters import isolated
from stages.exporters.api import Order
from stages.lib import errors, files, layout, pins
from tests import conftest
from tests import graphs_zoo as zoo

if TYPE_CHECKING:
    from tests.conftest import Project

ROOT = Path(__file__).parents[2]
LIMITS = {"memory_mib": 1024, "seconds": 60}
BATCHES = [{"x": zoo.values(count, 3, 8, 8, seed=count)} for count in (2, 3)]
# What `models.m.source.entry` names is what it does; `export.npz` is the graph that it writes.
EXPORTER = """
import ctypes, os, pathlib, signal, subprocess, sys, time
import numpy as np
from stages.lib import errors

def export(order, example, folder):
    print("exporting", order.entry)
    globals()[order.entry](order, folder)

def load(order):
    def model(feeds):
        if order.entry == "strange":
            return {"logits": np.array([object()])}
        if order.entry == "misnamed":
            return {"scores": feeds["x"], "boxes": feeds["x"]}
        return {"logits": feeds["x"].sum(axis=(1, 2, 3))}
    return model

def good(order, folder):
    folder.mkdir()
    (folder / "model.onnx").write_bytes((order.source / "net.onnx").read_bytes())

strange = misnamed = good

def crash(order, folder):
    ctypes.CDLL(None).puts(b"last words of C")
    ctypes.CDLL(None).fflush(None)
    ctypes.string_at(0)

def quits(order, folder):
    sys.exit(0)

def vanishes(order, folder):
    os._exit(0)

def hangs(order, folder):
    print("waiting for a licence")
    time.sleep(600)

def greedy(order, folder):
    np.ones(2 << 30, np.uint8)

def aborts(order, folder):
    sys.stderr.write("terminate called after throwing 'std::bad_alloc'\\n")
    os.abort()

def installs(order, folder):
    good(order, folder)
    site = next(p for p in sys.path if p.startswith(sys.prefix) and p.endswith("site-packages"))
    info = pathlib.Path(site, "sneaky-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: sneaky\\nVersion: 1.0\\n")

def brings_its_own(order, folder):
    vendored = pathlib.Path("vendor/more-1.0.dist-info")
    vendored.mkdir(parents=True)
    (vendored / "METADATA").write_text("Metadata-Version: 2.1\\nName: more\\nVersion: 1.0\\n")
    sys.path.append(str(vendored.parent.absolute()))
    good(order, folder)

def calls_pip(order, folder):
    subprocess.run([sys.executable, "-m", "pip", "install", "six"], check=True)

def nothing(order, folder):
    pass

def talks(order, folder):
    for number in range(40):
        print("x" * (1 << 20))
    print("after all of it")
    ctypes.string_at(0)

def leaves_a_process(order, folder):
    good(order, folder)
    child = subprocess.Popen(["sleep", "600"])
    (order.source / "child").write_text(str(child.pid))

def leaves_a_process_and_hangs(order, folder):
    leaves_a_process(order, folder)
    (order.source / "worker").write_text(str(os.getpid()))
    time.sleep(600)

def looks(order, folder):
    good(order, folder)
    (order.source / "seen").write_text(repr(dict(os.environ)) + os.getcwd())

def needs_more(order, folder):
    import not_there_at_all

def refuses(order, folder):
    raise errors.SourceModelError(f"{order.path} is no model", mend=f"look at {order.path}")
"""


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has numpy and no more; so no pip."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    site = next(home.glob("lib/python*/site-packages"))
    for path in Path(sysconfig.get_path("platlib")).glob("numpy*"):
        (site / path.name).symlink_to(path)
    return home / "bin" / "python"


@pytest.fixture
def tiny(project: Project) -> Project:
    """A project with the exporter above."""
    (project.root / "stages").unlink()
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "stages", project.root / "stages", ignore=ignored)
    folder = project.root / "stages/exporters/tiny"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "exporter.py").write_text(EXPORTER)
    locks = project.root / layout.LOCKS
    locks.unlink()
    locks.mkdir()
    (locks / "export-tiny.txt").write_text(f"numpy=={np.__version__}\n")
    return project


def run(python: Path, entry: str, **changes: Any) -> isolated.Exported:
    order = Order(
        source=Path("models/tiny/source"),
        entry=entry,
        inputs={"x": {"dtype": "float32", "shape": ["batch", 3, 8, 8]}},
        outputs=["logits"],
        opset=None,
    )
    environment = isolated.Environment(
        framework="tiny",
        interpreter=python,
        pins=changes.pop("pins", {"numpy": np.__version__}),
        python=changes.pop("minor", pins.python_minor()),
    )
    given: dict[str, Any] = {
        "limits": LIMITS,
        "key": "models.tiny",
        "log": layout.log("export", "tiny"),
    }
    return isolated.export(environment, order, BATCHES, Path("graph"), **(given | changes))


def ended(process: int) -> bool:
    """Whether it is gone, within two seconds; one that nobody waits for is gone too."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.usefixtures("tiny")
def test_files_go_in_and_come_out(python: Path) -> None:
    made = run(python, "good")
    source = Path("models/tiny/source/net.onnx")
    assert Path("graph/model.onnx").read_bytes() == source.read_bytes()
    assert made.framework is not None
    for feeds in BATCHES:
        expected = feeds["x"].sum(axis=(1, 2, 3))
        assert np.array_equal(made.framework(feeds)["logits"], expected)
    code = [file.as_posix() for file in made.code]
    assert "stages/exporters/tiny/exporter.py" in code
    assert "stages/exporters/worker.py" in code
    assert all((ROOT / file).is_file() or "tiny" in file for file in code)
    assert "exporting good" in layout.log("export", "tiny").read_text()


@pytest.mark.usefixtures("tiny")
def test_it_sees_nothing_of_the_user(python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_FORCE_GPU", "1")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    run(python, "looks")
    seen = Path("models/tiny/source/seen").read_text()
    assert "TF_FORCE_GPU" not in seen
    assert "/somewhere" not in seen
    assert str(Path.home()) not in seen.replace(str(python.parent), "")
    assert str(Path.cwd()) not in seen
    assert ".enginery-scratch-" in seen


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("entry", "kind", "words"),
    [
        ("crash", errors.SourceModelError, r"crashed .*\(SIGSEGV\)[\s\S]*last words of C"),
        ("crash", errors.SourceModelError, r"exporter\.py\", line \d+ in crash"),
        ("quits", errors.SourceModelError, "tiny failed: SystemExit: 0"),
        ("vanishes", errors.SourceModelError, r"crashed the process .*\(status 0\)"),
        ("greedy", errors.LimitError, "needs more than 1024 MiB of memory"),
        ("aborts", errors.LimitError, r"needs more than 1024 MiB of memory[\s\S]*std::bad_alloc"),
        ("calls_pip", errors.SourceModelError, "tiny failed: CalledProcessError"),
        ("nothing", errors.SourceModelError, r"tiny: .*nothing: the exporter wrote no model\.onnx"),
        ("misnamed", errors.SourceModelError, "no output logits; it has: scores, boxes"),
        ("strange", errors.SourceModelError, "output logits .* is of type object"),
        ("needs_more", errors.SourceModelError, "ModuleNotFoundError: No module named 'not_there"),
        ("refuses", errors.SourceModelError, r"^models/tiny/source/refuses is no model"),
    ],
)
def test_what_fails_says_how(python: Path, entry: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        run(python, entry)
    assert isinstance(caught.value, errors.EngineryError)
    assert str(Path.cwd()) not in caught.value.what
    assert str(Path.cwd()) not in caught.value.mend
    assert caught.value.mend
    if entry == "calls_pip":
        assert "No module named pip" in layout.log("export", "tiny").read_text()
    if entry == "needs_more":
        assert "If the exporter's environment is damaged" in caught.value.mend


@pytest.mark.usefixtures("tiny")
def test_one_that_hangs_is_ended(python: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(errors.LimitError, match=r"longer than 2 s[\s\S]*waiting for a licence"):
        run(python, "hangs", limits=LIMITS | {"seconds": 2})
    assert time.monotonic() - begin < 10


@pytest.mark.usefixtures("tiny")
def test_a_log_of_any_size_is_read_at_its_end(python: Path) -> None:
    with pytest.raises(errors.SourceModelError, match="after all of it") as caught:
        run(python, "talks")
    assert layout.log("export", "tiny").stat().st_size > 40 << 20
    assert len(caught.value.what) < 3000


@pytest.mark.usefixtures("tiny")
def test_a_package_that_it_installs_by_itself_is_found(python: Path) -> None:
    site = next(python.parents[1].glob("lib/python*/site-packages"))
    try:
        with pytest.raises(errors.PinError, match=r"installed packages by itself: sneaky 1\.0"):
            run(python, "installs")
    finally:
        shutil.rmtree(site / "sneaky-1.0.dist-info")


@pytest.mark.usefixtures("tiny")
def test_packages_within_a_package_are_not_installed_ones(python: Path) -> None:
    """Setuptools puts its folder of them on sys.path when it is imported."""
    assert run(python, "brings_its_own").framework is not None


@pytest.mark.usefixtures("tiny")
def test_what_it_has_started_ends_with_it(python: Path) -> None:
    run(python, "leaves_a_process")
    assert ended(int(Path("models/tiny/source/child").read_text()))


def stage(tiny: Project, python: Path, entry: str) -> subprocess.Popen[str]:
    """Start the stage itself on such a model."""
    prepare(tiny, python, entry)
    return subprocess.Popen(
        [sys.executable, "-m", "stages.export", conftest.MODEL],
        cwd=tiny.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def prepare(tiny: Project, python: Path, entry: str) -> None:
    (tiny.root / "models/tiny/source" / entry).touch()  # the entry must be there
    document = tiny.params()
    document["models"]["tiny"]["source"] |= {"framework": "tiny", "entry": entry}
    document["toolchain"]["export-tiny"] = {"numpy": np.__version__}
    document["interpreters"] = {"tiny": str(python)}
    tiny.write(document)


def waiting(path: Path) -> int:
    """The process that a file names, when it is there."""
    for _ in range(1000):
        if path.is_file() and (text := path.read_text()):
            return int(text)
        time.sleep(0.02)
    raise AssertionError(path)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_does_not_outlive_its_stage(tiny: Project, python: Path, number: signal.Signals) -> None:
    process = stage(tiny, python, "leaves_a_process_and_hangs")
    source = tiny.root / "models/tiny/source"
    worker, child = waiting(source / "worker"), waiting(source / "child")
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert ended(worker)
    if number == signal.SIGKILL:  # nobody is left who could end what the exporter started
        os.kill(child, signal.SIGKILL)
    else:
        assert ended(child)
        assert process.returncode == 130
        assert "export tiny: interrupted; nothing half-written was left in place" in said
    assert not (tiny.root / layout.exported("tiny")).exists()


def test_a_stage_by_an_interpreter_of_params_yaml(tiny: Project, python: Path) -> None:
    prepare(tiny, python, "good")
    done = tiny.run("export", "tiny")  # its graph is not what its `load` computes
    assert done.returncode == errors.ParityError.exit_code
    assert "output 'logits': the framework gives shape (4,)" in done.stderr
    exporter = tiny.root / "stages/exporters/tiny/exporter.py"
    exporter.write_text(EXPORTER.replace("return model", "return None"))
    done = tiny.run("export", "tiny")
    assert (done.returncode, done.stderr) == (0, "")
    told = files.read_json(tiny.root / layout.facts("export", "tiny"))
    assert told["details"]["environment"] == {"numpy": np.__version__}
    assert "stages/exporters/tiny/exporter.py" in told["code"]
    assert "interpreters" not in str(told)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xfe no protobuf", "is not valid ONNX"),
        (zoo.tiny().SerializeToString()[:-40], "is not valid ONNX"),
        (zoo.tiny().SerializeToString().replace(b"Relu", b"Rela"), "No Op registered for Rela"),
    ],
)
def test_an_invalid_graph_goes_no_further(
    tiny: Project, python: Path, data: bytes, words: str
) -> None:
    prepare(tiny, python, "good")
    (tiny.root / "models/tiny/source/net.onnx").write_bytes(data)
    done = tiny.run("export", "tiny")
    assert done.returncode == errors.SourceModelError.exit_code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.usefixtures("tiny")
def test_an_interpreter_that_cannot_run_it(tmp_path: Path) -> None:
    for name, text, words in [
        ("true", "exit 0", r"ended with status 0\)[\s\S]*none"),
        ("old", "echo 'unknown option -X'; exit 2", r"ended with status 2\)[\s\S]*unknown option"),
    ]:
        with pytest.raises(errors.EnvironmentUnmadeError, match=words) as caught:
            run(script(tmp_path / name, text), "good")
        assert "correct `interpreters` in params.yaml" in caught.value.mend
        assert "rm -r" not in caught.value.mend
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o755)
    with pytest.raises(errors.EnvironmentUnmadeError, match="cannot be started: Exec format"):
        run(broken, "good")


@pytest.mark.usefixtures("tiny")
def test_an_interpreter_without_numpy(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "v")], check=True)
    with pytest.raises(errors.EnvironmentUnmadeError, match="No module named 'numpy'"):
        run(tmp_path / "v/bin/python", "good")


@pytest.mark.usefixtures("tiny")
def test_an_interpreter_of_other_versions(python: Path) -> None:
    with pytest.raises(errors.PinError, match=r"the interpreter of the exporter tiny") as caught:
        run(python, "good", pins={"numpy": "1.0.1"}, minor="3.99")
    assert "numpy    " in caught.value.what
    assert "3.99" in caught.value.what
    assert "requirements/export-tiny.txt together (`make pins`)" in caught.value.mend


def test_interrupted_while_it_waits(tiny: Project, python: Path) -> None:
    """In the stage's own process, as `dvc` and a terminal do it."""
    code = textwrap.dedent("""
        import os, signal, sys, threading, time
        from pathlib import Path
        def interrupt():
            while not Path("models/tiny/source/worker").is_file():
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt, daemon=True).start()
        from stages import export
        try:
            export.main("tiny")
        except KeyboardInterrupt:
            print("interrupted")
    """)
    prepare(tiny, python, "leaves_a_process_and_hangs")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tiny.root, capture_output=True, text=True, check=False
    )
    assert done.stdout == "interrupted\n", done.stderr
    source = tiny.root / "models/tiny/source"
    assert ended(int((source / "worker").read_text()))
    assert ended(int((source / "child").read_text()))


def test_the_stage_refuses_an_interpreter_that_is_not_there(tiny: Project) -> None:
    prepare(tiny, Path("/nowhere/bin/python"), "good")
    done = tiny.run("export", "tiny")
    assert done.returncode == errors.EnvironmentUnmadeError.exit_code
    assert "interpreters.tiny in params.yaml names /nowhere/bin/python, which is not" in done.stderr
