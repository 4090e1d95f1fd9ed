# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Promotion of a package of 2 GB to an S3 server on loopback: `python -m bench.promotion`.

Against Boto3's own upload of the same file in parts, round by round, each in a process of its own
that says what it took; then the same promotion again. The server is moto, in its own process.
`python -m bench.promotion <bytes>` takes another size.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from stages.storage import opening, pointers, transfer
from stages.storage.records import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
SIZE = 2_000_000_000
ROUNDS = 3
BUCKET = "bench"
PLAN, MANIFEST = "1/model.plan", "manifest.json"
_BLOCK = 1 << 22


def main(size: int) -> None:
    """Make the package, upload it both ways, print."""
    ours, plain, memory, again = [], [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(ROUNDS):
            _package(folder, size, number)
            with _server(folder) as environment:  # a new one: it keeps all in memory
                told = _child(environment, "plain", folder)
                plain.append(size / told[0] / 1e6)
                told = _child(environment, "ours", folder)
                ours.append(size / told[0] / 1e6)
                memory.append(told[1])
                again.append(_child(environment, "ours", folder)[0])
    ratios = [one / other for one, other in zip(ours, plain, strict=True)]
    print(f"package of {size / 1e9:.1f} GB to S3 on loopback, {ROUNDS} rounds, {_cores()} cores")
    print(f"upload_file of Boto3: {_shown(plain, '.0f')} MB/s")
    print(f"promotion:            {_shown(ours, '.0f')} MB/s, digests and checks included")
    print(f"promotion / Boto3:    {_shown(ratios, '.2f')}, aim: >= 0.70")
    print(f"peak memory:          {max(memory) / 1e6:.0f} MB, aim: < 300 MB")
    print(f"promoted again:       {_shown(again, '.1f')} s, nothing sent but a record")


def upload(how: str, folder: Path) -> None:
    """Upload the package; print seconds, peak memory in bytes."""
    if how == "plain":
        import boto3

        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        begin = time.perf_counter()
        client.upload_file(str(folder / PLAN), BUCKET, "plain")
        seconds = time.perf_counter() - begin
        client.delete_object(Bucket=BUCKET, Key="plain")
    else:
        store = opening.open_store(f"s3://{BUCKET}/store")
        listed = {name: _entry(folder / name) for name in (PLAN, MANIFEST)}
        begin = time.perf_counter()
        record = pointers.promotion(
            store,
            channel="bench",
            engine="bench",
            version="v1",
            files=listed,
            signature=None,
            manifest=listed[MANIFEST].sha256,
            plan=listed[PLAN].sha256,
            commit=None,
            who="bench",
            when="2026-01-01T00:00:00Z",
        )
        sources = transfer.sources_of(folder, listed)
        transfer.publish(store, record, sources, lambda _: None)
        seconds = time.perf_counter() - begin
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _child(environment: dict[str, str], how: str, folder: Path) -> list[float]:
    words = (sys.executable, "-m", "bench.promotion", how, str(folder))
    told = subprocess.run(
        words, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return [float(word) for word in told.stdout.split()]


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[dict[str, str]]:
    """Start moto; the environment of its clients."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    words = (sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port))
    with (folder / "moto.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        while process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield os.environ | {  # noqa: TID251 (a bench, no stage)
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        }
    finally:
        process.kill()
        process.wait()


def _package(folder: Path, size: int, seed: int) -> None:
    """A plan in which no block is like another, and something to stand for the manifest."""
    (folder / "1").mkdir(exist_ok=True)
    block = bytes(range(256)) * (_BLOCK // 256)
    with (folder / PLAN).open("wb") as stream:
        for start in range(0, size, _BLOCK):
            mark = hashlib.sha256(f"{seed} {start}".encode()).digest()
            stream.write((mark + block)[: min(_BLOCK, size - start)])
    (folder / MANIFEST).write_text(f"{seed}\n")


def _entry(path: Path) -> Entry:
    with path.open("rb") as stream:
        return Entry(hashlib.file_digest(stream, "sha256").hexdigest(), path.stat().st_size)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _shown(values: list[float], form: str) -> str:
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:{form}} ({least:{form}} to {most:{form}})"


if __name__ == "__main__":
    if sys.argv[1:2] in (["plain"], ["ours"]):
        upload(sys.argv[1], Path(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else SIZE)
