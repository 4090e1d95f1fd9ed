# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What a served package is asked, over HTTP and gRPC, and what counts as an answer."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.lib import errors
from stages.serving import clients

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.serving.answers import Expected
    from stages.serving.server import Server

_CLIENTS, _EACH = 8, 16
_MEND = "look at the package's config.pbtxt, and at `python -m stages.serve {engine}` again"


@dataclass(frozen=True, kw_only=True)
class Served:
    """A package as a client sees it.

    Attributes:
        engine: its key, and the model's name.
        largest: largest batch, or 0 where requests are whole.
        whole: largest first dimension that a profile takes; for `largest` 0.
        batching: `dynamic_batching`.
        squeezed: inputs and outputs of one number for each sample, which clients see as [batch, 1].
    """

    engine: str
    largest: int
    whole: int
    batching: dict[str, Any] | None
    squeezed: frozenset[str]

    def batches(self) -> list[int]:
        """Sizes to try: 1, the preferred ones and the largest."""
        if not self.largest:
            return []
        preferred = (self.batching or {}).get("preferred_batch_size", [])
        return sorted({1, *preferred, self.largest})


def run(served: Served, expected: Expected, server: Server) -> Iterator[tuple[str, str]]:
    """Ask all; yield what was asked and what came of it.

    Raises:
        AnswerError: an answer is missing or wrong, or nothing was refused that should be.
    """
    for protocol in clients.PROTOCOLS:
        with clients.Client(server, protocol) as client:
            for size in served.batches():
                yield f"{protocol} batch {size}", _ask(served, expected, client, 0, size)
            if not served.largest:
                count = len(next(iter(expected.inputs.values())))
                yield f"{protocol} whole request", _ask(served, expected, client, 0, count)
            above = (served.largest or served.whole) + 1
            yield f"{protocol} batch {above}", _refused(served, expected, client, above)
    yield f"{_CLIENTS} clients, {_CLIENTS * _EACH} requests", _crowd(served, expected, server)


def _ask(served: Served, expected: Expected, client: Any, start: int, count: int) -> str:
    feed, answers = expected.rows(start, count)
    try:
        found = client.infer(served.engine, _seen(served, feed), list(answers))
    except clients.RefusedError as error:
        raise _error(served, f"batch {count} was refused: {error}") from None
    text, good = expected.judge(found, _seen(served, answers))
    if not good:
        raise _error(served, f"batch {count} was answered otherwise than validated: {text}")
    return f"as validated: {text}"


def _seen(served: Served, arrays: Any) -> Any:
    """As clients see them."""
    return {n: a[:, None] if n in served.squeezed else a for n, a in arrays.items()}


def _refused(served: Served, expected: Expected, client: Any, count: int) -> str:
    feed, answers = expected.rows(0, count)
    try:
        client.infer(served.engine, _seen(served, feed), list(answers))
    except clients.RefusedError as error:
        return f"refused: {str(error).splitlines()[0]}"
    raise _error(served, f"batch {count} is above the largest of its profiles, and was answered")


def _crowd(served: Served, expected: Expected, server: Server) -> str:
    """Many clients at once, each with samples of its own, then what the server counted."""
    together = threading.Barrier(_CLIENTS)
    size = 1 if served.largest else len(next(iter(expected.inputs.values())))

    def work(number: int) -> None:
        with clients.Client(server, "grpc") as client:
            together.wait()
            for index in range(_EACH):
                _ask(served, expected, client, number * _EACH + index, size)

    with clients.Client(server, "grpc") as client:
        before, begin = client.statistics(served.engine), time.monotonic()
        with ThreadPoolExecutor(_CLIENTS) as pool:
            list(pool.map(work, range(_CLIENTS)))
        seconds, after = time.monotonic() - begin, client.statistics(served.engine)
    asked, runs = after.requests - before.requests, after.executions - before.executions
    sizes = [n for n, count in after.batches.items() if count > before.batches.get(n, 0)]
    waits = (served.batching or {}).get("max_queue_delay_microseconds", 0)
    if waits and runs >= asked:
        raise _error(served, f"{asked} requests ran one by one, though {waits} us are to be waited")
    rate = math.floor(asked / seconds)
    many = f"batches of {min(sizes)} to {max(sizes)}" if sizes else "no batches counted"
    return f"as validated, in {runs} runs ({many}), {rate} requests/s"


def _error(served: Served, what: str) -> errors.AnswerError:
    msg = f"{served.engine}, served by Triton: {what}"
    return errors.AnswerError(msg, mend=_MEND.format(engine=served.engine))
