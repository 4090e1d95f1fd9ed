# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""How a stage ends: one paragraph, a code of its own, a traceback only when asked for."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stages.lib import console, errors

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
# People and schedulers rely on these: a number never changes its meaning.
CODES = {
    "ParamsError": 2,
    "PinError": 3,
    "SourceModelError": 4,
    "SamplesError": 5,
    "ParityError": 6,
    "ProofError": 7,
    "GraphError": 8,
    "CalibrationError": 9,
    "UnsupportedError": 10,
    "BuildError": 11,
    "MetricError": 12,
    "GateError": 13,
    "NoDeviceError": 14,
    "ArtifactError": 15,
    "StorageError": 16,
    "DeviceError": 17,
    "IntegrityError": 18,
    "EquivalentError": 19,
    "DifferentError": 20,
    "BudgetError": 21,
    "LimitError": 22,
    "EnvironmentUnmadeError": 23,
    "PromotionError": 30,
    "SigningError": 31,
    "HistoryError": 32,
    "StoreError": 35,
    "TakenError": 36,
    "UnfitStoreError": 37,
    "AccessError": 38,
    "ServingError": 40,
    "AnswerError": 41,
}
STAGE = """
import sys
from stages.lib import console, errors
def main(word):
    if word == "known":
        raise errors.GraphError("the graph is odd", mend="look at it")
    if word == "unknown":
        raise KeyError("surprise")
    console.say(word)
console.run("demo", main, "word")
"""


def classes() -> list[type[errors.EngineryError]]:
    return errors.EngineryError.__subclasses__()


def demo(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", STAGE, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_every_failure_class_has_its_own_code() -> None:
    found = {kind.__name__: kind.exit_code for kind in classes()}
    assert found == CODES
    taken = {*found.values(), 0, 1, 64, 70, 130}
    assert len(taken) == len(found) + 5


@pytest.mark.parametrize("kind", classes())
def test_a_known_failure_is_a_paragraph(
    kind: type[errors.EngineryError], capsys: pytest.CaptureFixture[str]
) -> None:
    error = kind("what failed", mend="`do this`")
    assert console.guarded("demo x", raising(error), debug=False) == kind.exit_code
    shown = capsys.readouterr()
    assert shown.out == ""
    usually = f"{kind.usually}\n\n" if kind.usually else ""
    flat = " ".join(shown.err.split())
    assert flat == " ".join(f"demo x: what failed {usually} To mend it: `do this`".split())
    assert shown.err.startswith("\ndemo x: what failed\n\n")
    assert shown.err.endswith("\n\nTo mend it: `do this`\n\n")
    assert max(map(len, shown.err.splitlines())) <= 100


def test_a_failure_names_the_model_or_engine_that_was_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    what, mend = "models.<m>.source of <e>", "look at models/<model>, or dvc repro build@<engine>"
    error = errors.GraphError(what, mend=mend)
    console.guarded("demo", raising(error), debug=False, given={"model": "digits"})
    shown = capsys.readouterr().err
    assert "demo: models.digits.source of <e>\n" in shown
    assert "To mend it: look at models/digits, or dvc repro build@<engine>\n" in shown
    console.guarded("demo", raising(error), debug=False, given={"engine": "fast"})
    shown = capsys.readouterr().err
    assert "demo: models.<m>.source of fast\n" in shown
    assert "build@fast\n" in shown


def test_debug_adds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    error = errors.GraphError("what failed", mend="`do this`")
    assert console.guarded("demo", raising(error), debug=True) == 8
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last):" in shown
    assert shown.endswith("To mend it: `do this`\n\n")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KeyError("surprise"), 70, "demo: unexpected KeyError: 'surprise'"),
        (SystemExit(0), 70, "demo: unexpected SystemExit: 0"),
        (MemoryError(), 70, "demo: unexpected MemoryError: "),
        (KeyboardInterrupt(), 130, "demo: interrupted"),
    ],
)
def test_the_unexpected(
    error: BaseException, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert console.guarded("demo", raising(error), debug=False) == code
    shown = capsys.readouterr().err
    assert text in shown
    assert "Traceback" not in shown


def test_success_says_nothing_more(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.guarded("demo", lambda: console.say("done"), debug=False) == 0
    assert capsys.readouterr() == ("done\n", "")


def test_words_reach_main() -> None:
    done = demo("fine")
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")


@pytest.mark.parametrize("words", [(), ("a", "b"), ("--debug",)])
def test_a_usage_error_is_64(words: tuple[str, ...]) -> None:
    done = demo(*words)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr == "usage: python -m stages.demo <word> [--debug]\n"


def test_help_is_no_error() -> None:
    done = demo("--help")
    assert done.returncode == 0
    assert done.stderr == "usage: python -m stages.demo <word> [--debug]\n"


@pytest.mark.parametrize("word", ["known", "unknown"])
@pytest.mark.parametrize("asked", ["", "word", "variable"])
def test_the_traceback_is_shown_when_asked_for(word: str, asked: str) -> None:
    words = [word, "--debug"] if asked == "word" else [word]
    done = demo(*words, ENGINERY_DEBUG="1" if asked == "variable" else "0")
    assert done.returncode == {"known": 8, "unknown": 70}[word]
    assert ("Traceback" in done.stderr) == bool(asked)
    assert f"demo {word}: " in done.stderr


CHILD = """
import time
from stages.lib import console
def main():
    print("up", flush=True)
    time.sleep(60)
console.run("demo", main)
"""
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_stage_dies_with_its_parent() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(child)


SLEEPER = """
import time
from pathlib import Path
from stages.lib import console, files
def main():
    with files.writing(Path("out")) as temporary:
        temporary.write_text("half")
        print("up", flush=True)
        time.sleep(60)
console.run("demo", main)
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_stage_leaves_nothing(tmp_path: Path, sent: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as stage:
        assert stage.stdout is not None
        stage.stdout.readline()
        stage.send_signal(sent)
        _, said = stage.communicate(timeout=30)
    assert stage.returncode == 130
    assert "interrupted" in said
    assert not list(tmp_path.iterdir())


PROGRESS = """
import time
from stages.lib import console
console._SHOWN_AFTER_S = 0.2
items = console.progress(range(4), total=4, unit="batch", label="observe")
print([(time.sleep(0.15), item)[1] for item in items])
"""


COUNTING = """
import time
from stages.lib import console
console._SHOWN_AFTER_S = 0.2
with console.counting(4000, label="upload") as progress:
    for _ in range(4):
        time.sleep(0.15)
        progress(1000)
print([0, 1, 2, 3])
"""


@pytest.mark.parametrize(("code", "label"), [(PROGRESS, b"observe: "), (COUNTING, b"upload: ")])
def test_progress_is_shown_on_a_terminal_and_nowhere_else(code: str, label: bytes) -> None:
    main, side = pty.openpty()
    termios.tcsetwinsize(side, (24, 80))
    shown = {}
    try:
        for error in (subprocess.PIPE, side):
            done = subprocess.run(
                [sys.executable, "-c", code],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=error,
                check=True,
            )
            assert done.stdout == b"[0, 1, 2, 3]\n"
            shown[error] = done.stderr
        assert shown[subprocess.PIPE] == b""
        assert select.select([main], [], [], 5)[0], "no bar on a terminal"
        assert label in os.read(main, 1 << 16)
    finally:
        os.close(main)
        os.close(side)


PARSED = """
import argparse
from stages.lib import console
parser = argparse.ArgumentParser(prog="python -m stages.demo")
parser.add_argument("--to", required=True)
console.run_parsed("demo", lambda words: console.say(words.to), parser)
"""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--to", "a"], 0, "a\n"),
        (["--debug", "--to", "a"], 0, "a\n"),
        ([], 64, ""),
        (["--help"], 0, "usage: python -m stages.demo [-h] --to TO"),
    ],
)
def test_a_command_with_options(words: list[str], code: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARSED, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert done.stdout.startswith(said)
    assert ("usage: " in done.stderr) == (code != 0)
