# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A real Triton server on 127.0.0.1, for as long as a check takes.

The server is the one in NVIDIA's wheel nvidia-pytriton, in an environment of its own beside the one
that runs this: its Python backend starts the Python that stands first in PATH.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stages.lib import errors, files, pins

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOME = Path(sys.prefix) / "serving"
_HOST = "127.0.0.1"
_STARTS = 3  # another process may take a port between its choice and its use
_STARTED_S, _STOPPED_S, _POLL_S = 120.0, 20.0, 0.05
_LAST_LINES = 12


@dataclass(frozen=True)
class Server:
    """Where a server listens, as host:port, and its log."""

    http: str
    grpc: str
    log: Path


@contextlib.contextmanager
def serving(packages: list[Path]) -> Iterator[Server]:
    """Serve package folders, whose names are the models'; nothing is written into them.

    Raises:
        PinError: there is no server here.
        AnswerError: it does not start.
    """
    site = _site()
    with files.scratch() as folder:
        _repository(folder / "repository", packages)
        _backends(folder / "backends", site)
        for last in (False,) * (_STARTS - 1) + (True,):
            server = Server(_free(), _free(), folder / "server.log")
            with server.log.open("wb") as log:
                process = subprocess.Popen(
                    _command(server, folder, site),
                    env=_environment(site),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            try:
                if _started(process, server, last=last):
                    yield server
                    return
            finally:
                _stop(process)


def _site() -> Path:
    """Folder of the installed packages that hold the server."""
    site = _HOME / "lib" / f"python{pins.python_minor()}" / "site-packages"
    if not (site / "pytriton" / "tritonserver").is_dir():
        msg = f"there is no Triton server here: {site} has no pytriton"
        raise errors.PinError(msg, mend="`make serve-check` installs requirements/serving.txt")
    return site


def _repository(root: Path, packages: list[Path]) -> None:
    """Links in folders of their own, since Python leaves compiled files beside what it imports."""
    for package in packages:
        for path in sorted(package.resolve().rglob("*")):
            if path.is_file():
                link = root / package.name / path.relative_to(package.resolve())
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path)


def _backends(root: Path, site: Path) -> None:
    """The Python backend, with the stub of this minor version beside it."""
    shipped, python = site / "pytriton" / "tritonserver", root / "python"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(shipped / "backends" / "python", python, ignore=ignored)
    stub = "triton_python_backend_stub"
    shutil.copy(shipped / "python_backend_stubs" / pins.python_minor() / stub, python / stub)


def _free() -> str:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return f"{_HOST}:{probe.getsockname()[1]}"


def _command(server: Server, folder: Path, site: Path) -> list[str]:
    http, grpc = (address.rpartition(":")[2] for address in (server.http, server.grpc))
    return [
        str(site / "pytriton/tritonserver/bin/tritonserver"),
        f"--model-repository={folder / 'repository'}",
        f"--backend-directory={folder / 'backends'}",
        f"--http-address={_HOST}",
        f"--http-port={http}",
        f"--grpc-address={_HOST}",
        f"--grpc-port={grpc}",
        "--allow-metrics=false",
        # A model that does not load is told by the server, which goes on for the others.
        "--exit-on-error=false",
        "--disable-auto-complete-config",
    ]


def _environment(site: Path) -> dict[str, str]:
    libraries = [str(site / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR") or ""]
    return {
        **os.environ,  # noqa: TID251  for the server, no stage
        "PATH": f"{_HOME / 'bin'}:/usr/bin:/bin",
        "LD_LIBRARY_PATH": ":".join(filter(None, libraries)),
    }


def _started(process: subprocess.Popen[bytes], server: Server, *, last: bool) -> bool:
    """Wait until it listens on both ports, which it does once all models are loaded or failed."""
    end = time.monotonic() + _STARTED_S
    while process.poll() is None and time.monotonic() < end:
        if all(_listens(address) for address in (server.http, server.grpc)):
            return True
        time.sleep(_POLL_S)
    if process.poll() is not None and not last:
        return False
    tail = server.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
    msg = "\n".join([f"tritonserver does not start (status {process.poll()}):", "", *tail])
    raise errors.AnswerError(msg, mend="`rm -r .venv/serving*; make serve-check`")


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOPPED_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
