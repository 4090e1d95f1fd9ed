# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""An HTTP proxy on loopback that lets a share of the requests go wrong."""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# The server answers 500 or 503; closes without an answer; after half of it; or gives half as all.
KINDS = ("500", "503", "cut", "half", "short")
FLIP = "flip"  # it stores something else than what was sent, if that is large
_LARGE = 1000
_ERROR = b"<Error><Code>InternalError</Code><Message>it is broken</Message></Error>"


class Proxy(ThreadingHTTPServer):
    """Counts what went wrong and the bytes that clients sent; `forgets` leaves out checksums."""

    daemon_threads = True

    def __init__(self, target: str, share: float, seed: int, kinds: tuple[str, ...]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target).netloc
        self.share = share
        self.faults: list[str] = []
        self.received = 0
        self.forgets = False
        self._kinds = kinds
        self._random = random.Random(seed)  # noqa: S311 (the same in each run)
        self._lock = threading.Lock()

    def fault(self) -> str | None:
        with self._lock:
            if self._random.random() >= self.share:
                return None
            self.faults.append(self._random.choice(self._kinds))
            return self.faults[-1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.fault()
        self.server.received += len(body)
        if fault in ("500", "503"):
            self._answer(int(fault), {"Content-Type": "application/xml"}, _ERROR)
            return
        if fault == "cut":
            self.close_connection = True
            return
        if fault == FLIP and self.command == "PUT" and len(body) > _LARGE:
            body = bytes([body[0] ^ 1]) + body[1:]
        there = http.client.HTTPConnection(self.server.target, timeout=30)
        with contextlib.closing(there):
            there.request(self.command, self.path, body, self._kept(self.headers.items()))
            told = there.getresponse()
            data = told.read()
        left_out = {"connection", "transfer-encoding", "server", "date"}
        headers = self._kept(told.getheaders())
        headers = {key: value for key, value in headers.items() if key.lower() not in left_out}
        self._answer(told.status, headers, data, fault)

    def _kept(self, headers: Iterable[tuple[str, str]]) -> dict[str, str]:
        return {
            key: value
            for key, value in headers
            if not (self.server.forgets and "checksum" in key.lower())
        }

    def _answer(
        self, status: int, headers: dict[str, str], data: bytes, fault: str | None = None
    ) -> None:
        if fault == "short" and len(data) > 1:
            data = data[: len(data) // 2]
        if self.command != "HEAD":
            headers = {key: value for key, value in headers.items() if key != "Content-Length"}
            headers["Content-Length"] = str(len(data))
        self.send_response_only(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if fault == "half" else data)
        self.close_connection = fault == "half" or self.close_connection

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward  # noqa: N815 (http.server's names)

    def log_message(self, *words: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def before(
    target: str, *, share: float, seed: int, kinds: tuple[str, ...] = KINDS
) -> Iterator[tuple[str, Proxy]]:
    """Run a proxy before `target`; its address, and itself."""
    proxy = Proxy(target, share, seed, kinds)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_address[1]}", proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
