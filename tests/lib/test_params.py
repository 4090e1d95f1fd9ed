# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""params.yaml is checked as a whole: every mistake, each with its place and what would be right."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dvc.utils.serialize import load_yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stages.lib import errors, params

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "schemas/examples"
FRAMEWORKS = "params.frameworks.yaml"
GOOD = sorted(EXAMPLES.glob("good/params-*.yaml"))
BAD = sorted(EXAMPLES.glob("bad/params-*.yaml"))
MINIMAL = (EXAMPLES / "good/params-minimal.yaml").read_text()


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], params.Params]:
    """Load a text as the params.yaml of a project."""
    (tmp_path / "schemas").mkdir()
    shutil.copy(ROOT / "schemas/params.schema.json", tmp_path / "schemas")

    def load_text(text: str) -> params.Params:
        (tmp_path / "params.yaml").write_text(text)
        return params.load(tmp_path)

    return load_text


def edited(*edits: tuple[str, str]) -> str:
    text = MINIMAL
    for old, new in edits:
        assert text.count(old), old
        text = text.replace(old, new, 1)
    return text


def refused(load: Callable[[str], params.Params], text: str) -> list[str]:
    """The lines of the message, without the count."""
    with pytest.raises(errors.ParamsError, match=r"in params\.yaml") as caught:
        load(text)
    *rows, count = caught.value.what.split("\n")
    expected = "1 mistake" if len(rows) == 1 else f"{len(rows)} mistakes"
    assert count == f"{expected} in params.yaml"
    assert caught.value.mend == "edit params.yaml, then `python -m stages.check`"
    return rows


def test_our_own_params_are_right_and_are_what_dvc_reads() -> None:
    document = params.load(ROOT)
    values = load_yaml(ROOT / "params.yaml")
    for section, value in values.items():
        assert repr(document.param(section)) == repr(value)


def test_the_params_of_all_frameworks_are_right_and_differ_in_models_and_engines_alone(
    load: Callable[[str], params.Params],
) -> None:
    document, ours = load((ROOT / FRAMEWORKS).read_text()), params.load(ROOT)
    values = load_yaml(ROOT / FRAMEWORKS)
    for section, value in values.items():
        assert repr(document.param(section)) == repr(value)
    for section in sorted(values.keys() - {"models", "engines"}):
        known = ours.param(section)
        assert all(known[key] == value for key, value in values[section].items()), section
        assert section == "profiles" or known.keys() == values[section].keys()
    assert values["models"]["digits"] == ours.param("models.digits")
    # So that the cache has them after a `make repro`.
    same = {name: one for name, one in values["engines"].items() if one["model"] == "digits"}
    assert same == {name: ours.param(f"engines.{name}") for name in same}


def test_each_framework_is_built_in_the_same_precisions_and_held_to_the_same_gates() -> None:
    values = load_yaml(ROOT / FRAMEWORKS)
    by_model = {
        model: [{**one, "model": ""} for one in values["engines"].values() if one["model"] == model]
        for model in values["models"]
    }
    assert [one["precision"] for one in by_model["digits"]] == ["fp32", "fp16", "int8"]
    assert all(engines == by_model["digits"] for engines in by_model.values())


def test_there_are_examples() -> None:
    assert len(GOOD) >= 3
    assert len(BAD) >= 20


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_examples(path: Path, load: Callable[[str], params.Params]) -> None:
    assert load(path.read_text()).param("models")


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_examples(path: Path, load: Callable[[str], params.Params]) -> None:
    text = path.read_text()
    expected = text.partition("\n")[0].removeprefix("# expect: ")
    assert re.match(r"params\.yaml:\d+:\d+: ", expected)
    assert [row for row in refused(load, text) if row.startswith(expected)]


def test_merged_engines_are_read_as_dvc_reads_them(load: Callable[[str], params.Params]) -> None:
    document = load((EXAMPLES / "good/params-onnx-two-sets.yaml").read_text())
    assert document.param("engines.reader-bf16.precision") == "bf16"
    assert document.param("engines.reader-bf16.gates") == document.param(
        "engines.reader-fp16.gates"
    )


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(
    load: Callable[[str], params.Params],
) -> None:
    rows = refused(
        load,
        edited(
            ("opset: 22", "opset: 99"),
            ("    threads: 2\n", "    thread: 2\n"),
            ("passes: [infer-shapes,", "passes: [infer-shape,"),
            ("min: [1, 1, 8, 8]", "min: [32, 1, 8, 8]"),
            ("precision: int8", "precision: int9"),
            ("profile: b64", "profile: b46"),
            ("min_cosine: 0.99", "min_cosine: 1.99"),
            ('python: "3.11"', "python: 3.10"),
            ("  package: 1", "  package: 0"),
        ),
    )
    assert [row.split(": ")[1] for row in rows] == [
        "models.digits.opset",
        "models.digits",
        "models.digits.sanitize.passes[0]",
        "profiles.b64[0].image.min[0]",
        "engines.digits-int8.precision",
        "engines.digits-int8.profile",
        "engines.digits-int8.gates.min_cosine",
        "toolchain.python",
        "epoch.package",
    ]
    places = [tuple(map(int, row.split(":")[1:3])) for row in rows]
    assert places == sorted(places)
    assert rows[0].startswith("params.yaml:16:12: ")


def test_a_key_that_is_no_text_is_told_once(load: Callable[[str], params.Params]) -> None:
    rows = refused(load, edited(("  digits-int8:", "  True:"), ("    opset: 22", "    22: 22")))
    assert [row.split(" (")[0].split(" null")[0] for row in rows] == [
        "params.yaml:4:3: models.digits: missing key 'opset': ONNX opset to export;",
        "params.yaml:16:5: the key 22 is not text",
        "params.yaml:54:3: the key True is not text",
    ]


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ([("cache_version: 101601", "cache_version:")], "found null. Nothing is written there"),
        ([("cache_version: 101601", "cache_version: 10.16")], "found the number 10.16"),
        ([("fold_limit_kib: 1024", "fold_limit_kib: 1 MiB")], "A number has no unit, comma"),
        ([("atol: 1.0e-4", "atol: '1e-4'")], "Take the quotes away"),
        ([("outputs: [logits]", "outputs: logits")], "Write a list, as `- item` lines or as"),
        ([("labels: label", "labels: 7")], 'put it in quotes to have text, "7"'),
        ([("framework: pytorch", "framework: 3")], "expected text, found the number 3"),
        ([("bins: 2048", "bins: 2000")], "2000 is not allowed; allowed: 128, 256, 512"),
        ([("dtype: float32", "dtype: Float32")], "Did you mean 'float32'?"),
        ([("shape: [batch, 1", "shape: [ba tch, 1")], "shape[0]: 'ba tch' is not allowed."),
        ([("[sm86, sm89]", "[sm86, sm90]")], "compute_capabilities[1]: 'sm90' is not allowed"),
        ([("epoch:", "epok:")], "unknown key 'epok'. Did you mean 'epoch'? Known here: models"),
        ([("entry: model.py:load", "entry: /model.py:load")], "Expected <file>.py:<function>"),
        ([("entry: model.py:load", "entry: a/../m.py:load")], "Expected <file>.py:<function>"),
        ([("entry: model.py:load", "entry: model.py")], "Expected <file>.py:<function>"),
    ],
)
def test_messages(
    load: Callable[[str], params.Params], edits: list[tuple[str, str]], message: str
) -> None:
    assert any(message in row for row in refused(load, edited(*edits)))


def test_a_missing_or_unreadable_file(load: Callable[[str], params.Params], tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(b"# x\na: \xff\n")
    with pytest.raises(errors.ParamsError, match="not UTF-8: save it as UTF-8") as caught:
        params.load(tmp_path)
    assert caught.value.what.startswith("params.yaml:2:4: ")
    (tmp_path / "params.yaml").unlink()
    with pytest.raises(errors.ParamsError, match=r"params\.yaml is not there"):
        params.load(tmp_path)
    assert refused(load, "") == ["params.yaml:1:1: the file is empty"]
    assert refused(load, "- 1\n") == ["params.yaml:1:1: expected a mapping, found a list"]


def test_param_gives_copies_and_names_what_is_near(load: Callable[[str], params.Params]) -> None:
    document = load(MINIMAL)
    document.param("engines")["digits-int8"].clear()
    assert document.param("engines.digits-int8.precision") == "int8"
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign"):
        document._marked = None  # type: ignore[assignment, misc]
    with pytest.raises(
        errors.ParamsError, match=r"has no engine 'digits-int9'\. Did you mean 'dig"
    ):
        document.param("engines.digits-int9.precision")
    with pytest.raises(errors.ParamsError, match=r"has no profile 'b65'.*There is: b64"):
        document.param("profiles.b65")
    with pytest.raises(
        errors.ParamsError, match=r"no key 'precisoin' in engines\.digits-int8\. Did"
    ):
        document.param("engines.digits-int8.precisoin")


VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1.5,
    10**30,
    "",
    "x",
    "é\n",
    [],
    [[]],
    {},
    {"x": 1},
    float("nan"),
]


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    inner = [(*path, key) for key, _ in pairs] if isinstance(value, dict | list) else []
    return inner + [
        p
        for at in inner
        if isinstance(value[at[-1]], dict | list)
        for p in paths(value[at[-1]], at)
    ]


PATHS = paths(YAML(typ="safe").load(MINIMAL))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(VALUES)), min_size=1, max_size=4))
def test_no_document_makes_the_checks_themselves_fail(
    load: Callable[[str], params.Params], changes: list[tuple[Any, Any]]
) -> None:
    document = YAML(typ="safe").load(MINIMAL)
    for path, value in changes:
        at = document
        for part in path[:-1]:
            at = at[part] if _has(at, part) else None
        if isinstance(at, dict) or _has(at, path[-1]):
            at[path[-1]] = copy.deepcopy(value)
    try:
        load(json.dumps(document, indent=1))
    except errors.ParamsError as error:
        rows = error.what.split("\n")[:-1]
    else:
        rows = []
    assert all(re.match(r"params\.yaml:\d+:\d+: .", row) for row in rows)
    assert not any("not YAML" in row for row in rows)


def _has(value: Any, part: Any) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, dict) and part in value


def test_loading_imports_nothing_heavy() -> None:
    code = (
        "import sys; from stages.lib import params;"
        "assert 'jsonschema' not in sys.modules; params.load();"
        "print(sorted({'numpy', 'onnx', 'dvc', 'torch'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "[]\n"
