"""A server that ends in good order: what was asked is answered, who follows is told, and nobody is waited for too long.

uvicorn's own closes connections that are between two requests at once, though the next request may be on its way, and
cuts sockets off from what they have not answered yet.
"""

import asyncio
import signal
import socket
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from types import FrameType
from typing import Protocol, cast

import structlog
import uvicorn

from web.connections import GuardedConfig
from web.state import RUNTIME, Runtime

_log = structlog.get_logger("watchword.server")

# A connection on which nothing is asked is kept for so long, so that the next request, if one is on its way, is
# answered, and with it the client is told that it was the last one (RFC 9112 §9.6).
_LINGER = 1.0
_TICK = 0.05
# What was cut off lets go of what it holds.
_TO_LET_GO = 1.0


@dataclass(frozen=True, slots=True)
class Grace:
    """How a server ends: it goes on for as long as `delay`, and what is under way then has `timeout`."""

    timeout: timedelta
    delay: timedelta = timedelta(0)


class _Leaving(Protocol):
    transport: asyncio.Transport

    def leave(self) -> None:
        """Close the connection if nothing is under way on it."""


class GracefulServer(uvicorn.Server):
    """uvicorn's, but for its end."""

    config: GuardedConfig

    def __init__(self, config: GuardedConfig, grace: Grace) -> None:
        super().__init__(config)
        self._grace = grace
        self._end_at: float | None = None

    @property
    def runtime(self) -> Runtime:
        """What the lifespan opened."""
        runtime: Runtime = self.lifespan.state[RUNTIME]
        return runtime

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End in good order, and when told a second time, at once."""
        del frame
        if self.should_exit:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Do what is done ten times a second; return whether it is time to end."""
        if not await super().on_tick(counter):
            return False
        now = asyncio.get_running_loop().time()
        if self._end_at is None:
            self._end_at = now + self._begin_to_end().total_seconds()
        return now >= self._end_at

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing new, finish what is under way, and cut off what takes too long."""
        self.runtime.draining.set()
        self.config.connections.draining = True
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._drain()
        await self._cut_off()
        await self.lifespan.shutdown()

    def _begin_to_end(self) -> timedelta:
        """Say that the server ends; return for how long it goes on."""
        self.runtime.ending.set()
        _log.info("ending", delay=self._grace.delay.total_seconds())
        return self._grace.delay

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for counter in count(1):
            if not (self.server_state.connections or self.server_state.tasks):
                return
            since = loop.time() - begun
            if since >= self._grace.timeout.total_seconds():
                return
            if since >= _LINGER:
                for connection in list(self.server_state.connections):
                    cast("_Leaving", connection).leave()
            await super().on_tick(counter)  # answers go on to say what time it is
            await asyncio.sleep(_TICK)

    async def _cut_off(self) -> None:
        connections, tasks = list(self.server_state.connections), list(self.server_state.tasks)
        if not (connections or tasks):
            return
        _log.warning("cut_off", connections=len(connections), requests=len(tasks))
        for connection in connections:
            connection.transport.abort()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_TO_LET_GO)
