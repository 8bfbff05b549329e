"""Processes that share a socket: a burst of connections is dealt out, and one that hangs is not waited for."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from web.accepting import SharedListener, Shares
from web.connections import ConnectionLimits, Connections

PATIENCE = 10.0


class Counted(asyncio.Protocol):
    """What a process does with a connection, as far as it matters here."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._connections.admit(transport, ("127.0.0.1", 1))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._connections.release(self._transport)

    def review(self, now: float) -> None:
        """Let the client take its time."""


class Process:
    """One of those that share a socket: all that it has of its own."""

    def __init__(self, file: Path, slot: int, listener: socket.socket) -> None:
        self.connections = Connections(ConnectionLimits(timedelta(minutes=5), 1_000, 1_000))
        self.shares = Shares(file, slot)
        make = lambda: Counted(self.connections)  # noqa: E731
        self.shared = SharedListener(listener, make, None, connections=self.connections, shares=self.shares)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen(128)
        bound.setblocking(False)
        yield bound


@contextmanager
def processes(file: Path, listener: socket.socket, *slots: int) -> Iterator[list[Process]]:
    """Run so many; each has a descriptor of its own, as processes have."""
    running = [Process(file, slot, listener.dup()) for slot in slots]
    try:
        yield running
    finally:
        for process in running:
            process.shared.close()
            process.shared._listener.close()


@asynccontextmanager
async def connected(listener: socket.socket, how_many: int) -> AsyncIterator[list[asyncio.StreamWriter]]:
    """Connect so often, all at once."""
    opened = await asyncio.gather(*(asyncio.open_connection(*listener.getsockname()) for _ in range(how_many)))
    try:
        yield [writer for _, writer in opened]
    finally:
        for _, writer in opened:
            writer.close()


async def until_there_are(how_many: int, *running: Process) -> list[int]:
    """Wait until so many connections are taken; return how many each process has."""
    async with asyncio.timeout(PATIENCE):
        while sum(len(process.connections) for process in running) != how_many:  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0)
    return [len(process.connections) for process in running]


async def test_a_burst_is_dealt_out_evenly(tmp_path: Path, listener: socket.socket) -> None:
    with processes(tmp_path / "shares", listener, 1, 2) as running:
        async with connected(listener, 12):
            assert await until_there_are(12, *running) == [6, 6]
        await until_there_are(0, *running)


async def test_who_has_fewer_takes_what_comes_next(tmp_path: Path, listener: socket.socket) -> None:
    with processes(tmp_path / "shares", listener, 1) as (old,):
        async with connected(listener, 6):
            await until_there_are(6, old)
            with processes(tmp_path / "shares", listener, 2) as (new,):
                async with connected(listener, 6):
                    assert await until_there_are(12, old, new) == [6, 6]


async def test_one_that_takes_nothing_is_waited_for_a_moment_and_no_longer(
    tmp_path: Path, listener: socket.socket
) -> None:
    Shares(tmp_path / "shares", 2).set(0)  # it hangs, or was killed
    with processes(tmp_path / "shares", listener, 1) as (running,):
        async with connected(listener, 40):
            assert await until_there_are(40, running) == [40]


async def test_one_that_ended_is_not_waited_for(tmp_path: Path, listener: socket.socket) -> None:
    file = tmp_path / "shares"
    with processes(file, listener, 1, 2):
        assert Shares(file, 3).least() == 0
    assert Shares(file, 3).least() == 0
    with processes(file, listener, 1) as (running,):
        running.shares.set(7)
        assert Shares(file, 3).least() == 7
