"""The load: connections that ask without pause, each its next question as soon as the last one is answered.

It is written against the loop's transports, because a client library would be slower than what it measures. Requests
are bytes made beforehand; of an answer the length, the status and every byte of the body are checked.
"""

import asyncio
from array import array
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeVar

import uvloop

from bench.accounts import HOST

# Who has waited so long for the last answer goes: it is counted as a failure.
PATIENCE = 15.0

Result = TypeVar("Result")


@dataclass(frozen=True)
class Call:
    """A request, and whether the body of an answer is the expected one."""

    request: bytes
    is_right: Callable[[bytes], bool]


@dataclass
class Tally:
    """What came of a load: how long each right answer took, in seconds, and how many answers were wrong or missing."""

    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    failures: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Right answers per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float) -> float:
        """Return the seconds within which so many of a hundred answers came; infinite when none did."""
        ranked = sorted(self.latencies)
        return ranked[min(int(len(ranked) * percent / 100), len(ranked) - 1)] if ranked else float("inf")

    def later_than(self, seconds: float) -> int:
        """Return how many right answers took longer than that."""
        return sum(latency > seconds for latency in self.latencies)


async def drive(port: int, calls: Sequence[Call], *, seconds: float = 3600.0, requests: int | None = None) -> Tally:
    """Make each call on a connection of its own, again and again, for so long or so often altogether."""
    tally = Tally()
    run = _Run(tally, perf_counter() + seconds, requests)
    loop = asyncio.get_running_loop()
    begun = perf_counter()
    connections = [_Connection(call, run, loop.create_future()) for call in calls]
    await asyncio.gather(*(loop.create_connection(lambda c=c: c, HOST, port) for c in connections))  # type: ignore[misc]
    _, silent = await asyncio.wait([connection.ended for connection in connections], timeout=seconds + PATIENCE)
    tally.seconds = perf_counter() - begun
    for connection in connections:
        connection.hang_up()
    tally.failures += len(silent)
    return tally


def run_load(load: Coroutine[Any, Any, Result]) -> Result:
    """Run a load to its end, on the fast loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(load)


class _Run:
    """What the connections of one load share: their tally, and when they stop."""

    def __init__(self, tally: Tally, stop_at: float, requests: int | None) -> None:
        self.tally = tally
        self._stop_at = stop_at
        self._left = requests

    def may_go_on(self, now: float) -> bool:
        if self._left is not None:
            self._left -= 1
            return self._left >= 0
        return now < self._stop_at


class _Connection(asyncio.Protocol):
    """One connection that is kept open; `ended` is done when it has its last answer, or was dropped."""

    def __init__(self, call: Call, run: _Run, ended: "asyncio.Future[None]") -> None:
        self.ended = ended
        self._request, self._is_right = call.request, call.is_right
        self._run = run
        self._transport: asyncio.WriteTransport | None = None
        self._asked_at = 0.0
        self._received = b""
        self._body_at = 0
        self._length = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._ask(perf_counter())

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        if not self._body_at:
            head_end = received.find(b"\r\n\r\n")
            if head_end < 0:
                self._received = received
                return
            self._body_at = head_end + 4
            self._length = self._body_at + _content_length(received[:head_end])
        if len(received) < self._length:
            self._received = received
            return
        now = perf_counter()
        if received.startswith(b"HTTP/1.1 200 ") and self._is_right(received[self._body_at : self._length]):
            self._run.tally.latencies.append(now - self._asked_at)
        else:
            self._run.tally.failures += 1
        self._received = b""
        self._body_at = 0
        self._ask(now)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self.ended.done():
            self._run.tally.failures += 1  # a question was asked, and will have no answer
            self.ended.set_result(None)

    def hang_up(self) -> None:
        """Close the connection; one that has no answer yet is counted by whoever waited for it."""
        self.ended.cancel()
        if self._transport is not None:
            self._transport.close()

    def _ask(self, now: float) -> None:
        if self._transport is None or not self._run.may_go_on(now):
            if not self.ended.done():
                self.ended.set_result(None)
            return
        self._asked_at = now
        self._transport.write(self._request)


def _content_length(head: bytes) -> int:
    # A streamed answer has none; no stack here sends one, and to take it for empty would count it as wrong.
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0
