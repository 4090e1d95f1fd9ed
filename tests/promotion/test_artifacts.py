# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""One set of tags: what GTO assigns, `dvc artifacts get` gets and `promote` takes for approved."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from stages.lib import layout
from tests import promotions_zoo as zoo
from tests.promotions_zoo import CHANNEL, ENGINE


def run(root: Path, tool: str, *words: str) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).with_name(tool)), *words],
        cwd=root,
        env={**os.environ, **zoo.GIT, "DVC_NO_ANALYTICS": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_dvc_and_promote_go_by_the_same_tags(tmp_path: Path) -> None:
    checkout = zoo.make(tmp_path / "project")
    package = checkout.root / layout.package(ENGINE)
    package.rename(checkout.root / "made")
    (checkout.root / layout.LOCK).unlink()
    # The entries are our own; the stage only puts the package where ours would.
    ours = YAML(typ="safe").load(zoo.ROOT / "dvc.yaml")["artifacts"]
    out = layout.package("${key}").as_posix()
    stage = {"foreach": {ENGINE: {}}, "do": {"cmd": f"cp -r made {out}", "outs": [out]}}
    with (checkout.root / "dvc.yaml").open("w") as stream:
        YAML(typ="safe").dump({"stages": {"package": stage}, "artifacts": ours}, stream)
    run(checkout.root, "dvc", "init", "--quiet")
    run(checkout.root, "dvc", "repro", "--quiet")
    checkout.commit()
    checkout.channel(approval="stage", require_commit=True)

    done = checkout.promote()
    assert done.returncode == 30, done.stdout + done.stderr
    assert f"`gto assign {ENGINE} HEAD --stage {CHANNEL}`" in done.stderr
    run(checkout.root, "gto", "assign", ENGINE, "HEAD", "--stage", CHANNEL)
    done = checkout.promote()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"serves {ENGINE} v0.0.1 now" in done.stdout

    run(checkout.root, "dvc", "artifacts", "get", ".", ENGINE, "--stage", CHANNEL, "--out", "got")
    compared = filecmp.dircmp(checkout.root / "got", package)
    assert compared.common == sorted(path.name for path in package.iterdir())
    assert not [*compared.diff_files, *compared.left_only, *compared.right_only]
