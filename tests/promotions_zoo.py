# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A checkout with a real package in it, ready to be promoted: Git, keys, dvc.lock, a store."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec
from ruamel.yaml import YAML

from stages.lib import files, layout, lockfile
from tests import packages_zoo as packages

ENGINE, CHANNEL = packages.ENGINE, "staging"
ROOT = packages.ROOT
WHO = "Ada <ada@localhost>"
GIT = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@localhost",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@localhost",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}
OPEN: dict[str, Any] = {
    "url": "store",
    "gates": [],
    "signature": None,
    "require_device_run": False,
    "max_evidence_age_days": None,
    "require_commit": False,
    "approval": None,
    "keep": 2,
}
BY_KEY: dict[str, Any] = {
    "method": "key",
    "public_key": "keys/staging.pub",
    "certificates": None,
    "identity": None,
    "issuer": None,
    "trust_config": None,
}


class Checkout:
    """A project's root in which commands run as people run them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.key = root.parent / "signing.key"

    def channel(self, name: str = CHANNEL, **rules: Any) -> None:
        """Set the rules of a channel: open ones, but for these."""
        path = self.root / layout.PARAMS
        document = YAML(typ="safe").load(path)
        document["channels"][name] = {**OPEN, **rules}
        with path.open("w") as stream:
            YAML(typ="safe").dump(document, stream)

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-B", "-m", "stages.promote", *words],
            cwd=self.root,
            env={**os.environ, **GIT, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def promote(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.run(ENGINE, "--channel", CHANNEL, *words, **variables)

    def git(self, *words: str, when: int = 1_800_000_000) -> str:
        date = {"GIT_AUTHOR_DATE": f"{when} +0000", "GIT_COMMITTER_DATE": f"{when} +0000"}
        done = subprocess.run(
            ["git", *words],
            cwd=self.root,
            env={**os.environ, **GIT, **date},
            capture_output=True,
            check=True,
            text=True,
        )
        return done.stdout.strip()

    def commit(self, message: str = "more") -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def package(self, mark: str = "") -> None:
        """Make the package, another one for each mark, and the dvc.lock that records it."""
        before = Path.cwd()
        os.chdir(self.root)
        try:
            packages.write(lambda facts: _real(facts, mark))
            done = packages.run(self.root)
            assert done.returncode == 0, done.stderr
            self.lock()
        finally:
            os.chdir(before)

    def lock(self) -> None:
        """Record the package as DVC does."""
        path = layout.package(ENGINE).as_posix()
        entry = lockfile.Tree(self.root).entry(path)
        out = {"path": path, "hash": "md5", **(entry or {})}
        stage = {"cmd": "python -m stages.package", "outs": [out]}
        document = {"schema": "2.0", "stages": {f"package@{ENGINE}": stage}}
        (self.root / layout.LOCK).write_text(json.dumps(document))

    def keys(self) -> None:
        """A key pair: the private one outside of the project."""
        private = ec.generate_private_key(ec.SECP256R1())
        self.key.write_bytes(pem(private))
        (self.root / "keys").mkdir(exist_ok=True)
        public = private.public_key()
        told = public.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
        (self.root / "keys/staging.pub").write_bytes(told)

    def verdict(self, channel: str = CHANNEL) -> Any:
        return files.read_json(self.root / layout.promotion(channel, ENGINE))

    def told(self, channel: str = CHANNEL) -> Any:
        """The file of Git that a promotion writes."""
        return files.read_json(self.root / layout.channel(channel, ENGINE))


def pem(private: Any, password: bytes | None = None) -> bytes:
    how: Any = form.BestAvailableEncryption(password) if password else form.NoEncryption()
    data: bytes = private.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, how)
    return data


def _real(facts: dict[str, Any], mark: str) -> None:
    """Code digests of the files that lie here, so that a commit can have them."""
    for stage, told in facts.items():
        told["code"] = {f"stages/{stage}.py": files.sha256(ROOT / f"stages/{stage}.py")}
    facts["sanitize"]["versions"]["polygraphy"] = f"0.53.6{mark}"


def make(root: Path) -> Checkout:
    """A checkout whose one commit holds all code that ran, with a package."""
    root.mkdir()
    checkout = Checkout(root)
    shutil.copy(ROOT / layout.PARAMS, root)
    shutil.copytree(ROOT / "schemas", root / "schemas", ignore=shutil.ignore_patterns("examples"))
    (root / ".gitignore").write_text("__pycache__/\n/evidence/\n/store/\n")
    (root / "artifacts").mkdir()
    shutil.copy(ROOT / "artifacts/.gitignore", root / "artifacts")
    checkout.channel()
    checkout.package()
    checkout.keys()
    checkout.git("init", "--quiet")
    checkout.commit("everything")
    return checkout
