# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Real stores on loopback: moto's S3 server and OpenSSH's sshd; and packages to put into them."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import pwd
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.storage import opening, pointers, transfer
from stages.storage.records import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.storage.records import Record
    from stages.storage.store import Store

ROOT = Path(__file__).parents[1]
WHEN = "2026-01-31T12:00:00Z"
CHANNEL, ENGINE = "staging", "tiny-int8"
BUCKET = "engines"
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}
_UNPACKED = Path(sys.prefix, "sshd")  # by requirements/sshd.sh, which `make test` calls
_STARTS_S = 60.0


def nobody(count: int) -> None:
    """Progress that nobody sees."""


def package(
    folder: Path, seed: int, plan_bytes: int = 20_000, engine: str = ENGINE
) -> dict[str, Entry]:
    """Write what a record takes for a package; of one seed always the same, config.pbtxt of all."""
    made = random.Random(seed)  # noqa: S311 (bytes of no meaning)
    content = {
        "1/model.plan": made.randbytes(plan_bytes),
        "config.pbtxt": b"name: 'tiny'\n",
        "manifest.json": json.dumps({"engine": engine, "filler": made.random()}).encode(),
    }
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return {
        name: Entry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in content.items()
    }


def record(store: Store, listed: dict[str, Entry], version: str, **changes: Any) -> Record:
    """A promotion of these files that has not happened yet."""
    told: dict[str, Any] = {
        "channel": CHANNEL,
        "engine": ENGINE,
        "version": version,
        "files": listed,
        "signature": None,
        "manifest": listed["manifest.json"].sha256,
        "plan": listed["1/model.plan"].sha256,
        "commit": None,
        "who": "Ann <ann@example.org>",
        "when": WHEN,
    }
    return pointers.promotion(store, **told | changes)


def promote(store: Store, folder: Path, seed: int, **options: Any) -> Record:
    """Make a package of this seed, and promote it as v<seed>."""
    listed = package(folder / str(seed), seed, **options)
    made = record(store, listed, f"v{seed}")
    return transfer.publish(store, made, transfer.sources_of(folder / str(seed), listed), nobody)


def promote_in_child(
    environment: dict[str, str], url: str, folder: Path, seed: int, plan_bytes: int
) -> None:
    """As the target of a process, which is killed; one that forks has its server's environment."""
    os.environ.update(environment)
    promote(opening.open_store(url), folder, seed, plan_bytes=plan_bytes)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _STARTS_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"{process.args!r} did not start:\n{log.read_text(errors='replace')}")


@contextlib.contextmanager
def s3_server(folder: Path, **environment: str) -> Iterator[str]:
    """moto's S3 server; its endpoint."""
    port, log = free_port(), folder / "moto.log"
    words = [sys.executable, "-m", "tests.stores_zoo", str(port)]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            words, cwd=ROOT, env={**os.environ, **environment}, stdout=stream, stderr=stream
        )
    try:
        _wait(port, process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def s3_environment(endpoint: str) -> dict[str, str]:
    """What the S3 client needs to know to go there, and nowhere else."""
    return {
        **KEYS,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def _serve_s3(port: int) -> None:
    """moto, whose two steps of a conditional write are made one, as they are in S3."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    app = DomainDispatcherApplication(create_backend_app)
    one = threading.Lock()

    def answer(environment: Any, start: Any) -> Any:
        with one if "HTTP_IF_NONE_MATCH" in environment else contextlib.nullcontext():
            return app(environment, start)

    run_simple("127.0.0.1", port, answer, threaded=True)


class Sshd:
    """OpenSSH's server, in a folder of its own that the user it runs as may read.

    As root it runs as `bin`, since it would else ask for a user and folders that its Debian package
    makes.

    Attributes:
        home: folder for the client's HOME, with a key and the host's.
        data: folder for stores.
    """

    def __init__(self) -> None:
        root = os.geteuid() == 0
        self.user = "bin" if root else getpass.getuser()
        self.folder = Path(tempfile.mkdtemp(prefix="sshd-"))
        self.home, self.data = self.folder / "home", self.folder / "data"
        self.port = free_port()
        (self.home / ".ssh").mkdir(parents=True)
        self.data.mkdir()
        program, libraries = self._program()
        self._keys()
        account = pwd.getpwnam(self.user)
        if root:
            for path in [self.folder, *self.folder.rglob("*")]:
                os.chown(path, account.pw_uid, account.pw_gid)
        options: dict[str, Any] = {"user": self.user, "group": account.pw_gid, "extra_groups": []}
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [program, "-D", "-e", "-f", self.folder / "sshd_config"],
                env={"LD_LIBRARY_PATH": str(libraries)},
                stdout=log,
                stderr=log,
                **options if root else {},
            )
        _wait(self.port, self.process, self.folder / "log")

    def _program(self) -> tuple[Path, Path]:
        """A copy: the project may lie where the server's user cannot read."""
        libraries = self.folder / "lib"
        if (_UNPACKED / "sshd").exists():
            shutil.copytree(_UNPACKED / "lib", libraries, symlinks=True)
            return Path(shutil.copy(_UNPACKED / "sshd", self.folder)), libraries
        found = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        assert found, (
            "no sshd: `sh requirements/sshd.sh .venv/sshd` unpacks one, as `make test` does"
        )
        return Path(found), libraries

    def _keys(self) -> None:
        ssh = self.home / ".ssh"
        for key in (ssh / "id_ed25519", self.folder / "host"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        host = (self.folder / "host.pub").read_text()
        (ssh / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host}")
        (self.folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.folder}/host\n"
            f"AuthorizedKeysFile {ssh}/id_ed25519.pub\nPidFile none\nUsePAM no\nStrictModes no\n"
            "PasswordAuthentication no\nSubsystem sftp internal-sftp\nMaxStartups 100\n"
        )

    def url(self, name: str) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}{self.data}/{name}"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder)


if __name__ == "__main__":
    _serve_s3(int(sys.argv[1]))
