"""One of several processes that serve, from both sides: as its parent sees it, and as it knows itself.

A channel is between the two. Its process says on it that it serves, and its parent that another one does in its place;
and when either is gone, the other hears that, whatever it was that ended it.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Self, cast

from settings import worker_environment
from web.accepting import SharedListener, Shares
from web.connections import GuardedConfig
from web.graceful import Grace, GracefulServer

_READY = b"r"
_RETIRE = b"x"


@dataclass(frozen=True, slots=True)
class Worker:
    """Which of the processes this is: no other that lives has its `slot`; `folder` is theirs and nobody else's."""

    slot: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Sockets:
    """What a process shares with the others, and the channel to its parent; `metrics` if they have an address."""

    listener: socket.socket
    channel: socket.socket
    metrics: socket.socket | None = None


@dataclass(frozen=True, slots=True)
class Handle:
    """What a process is started with: who it is, and the descriptors of its sockets; -1 for metrics without one."""

    worker: Worker
    listener: int
    channel: int
    metrics: int

    def __str__(self) -> str:
        return f"{self.worker.slot}:{self.listener}:{self.channel}:{self.metrics}:{self.worker.folder}"

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the process has to inherit."""
        return tuple(number for number in (self.listener, self.channel, self.metrics) if number >= 0)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read one that was written."""
        slot, listener, channel, metrics, folder = text.split(":", 4)
        return cls(Worker(int(slot), Path(folder)), int(listener), int(channel), int(metrics))

    def open(self) -> Sockets:
        """Return the sockets, which are from now on handed to nobody whom this process starts."""
        for inherited in self.descriptors:
            os.set_inheritable(inherited, False)
        metrics = socket.socket(fileno=self.metrics) if self.metrics >= 0 else None
        sockets = Sockets(socket.socket(fileno=self.listener), socket.socket(fileno=self.channel), metrics)
        sockets.channel.setblocking(False)
        return sockets


class WorkerProcess:
    """One as its parent sees it, from its start on. Raises OSError when no process can be started."""

    def __init__(self, worker: Worker, listener: socket.socket, metrics: socket.socket | None) -> None:
        self.slot = worker.slot
        self._channel, theirs = socket.socketpair()
        self._channel.setblocking(False)
        self._born = time.monotonic()
        with theirs:
            handle = Handle(worker, listener.fileno(), theirs.fileno(), metrics.fileno() if metrics else -1)
            self._process = subprocess.Popen(  # noqa: S603 - what this process was started as
                [sys.executable, *sys.orig_argv[1:]],
                env=worker_environment(str(handle)),
                stdin=subprocess.DEVNULL,
                pass_fds=handle.descriptors,
                # Of its own, so that Ctrl-C at a terminal is the parent's to hear, and to pass on.
                process_group=0,
            )
        self._ended = asyncio.Event()
        self.lived = 0.0

    @property
    def pid(self) -> int:
        """The number under which the machine knows it."""
        return self._process.pid

    def look(self) -> bool:
        """Look whether it is still there; who waits for its end goes on when it is not."""
        if self._process.poll() is None:
            return True
        self.lived = time.monotonic() - self._born
        self._ended.set()
        return False

    async def is_ready(self) -> bool:
        """Wait until it serves; return whether it does, and has not ended before."""
        try:
            return await asyncio.get_running_loop().sock_recv(self._channel, 1) == _READY
        except OSError:
            return False

    async def end(self) -> int:
        """Wait for its end; return its exit status, or the negative number of the signal that killed it."""
        await self._ended.wait()
        self._channel.close()
        return int(self._process.returncode)

    def retire(self) -> None:
        """Tell it that another one serves in its place."""
        with suppress(OSError):
            self._channel.send(_RETIRE)

    def tell(self, sig: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        self._process.send_signal(sig)


class WorkerServer(GracefulServer):
    """Ends when its parent says so, and when it has none any more."""

    def __init__(self, config: GuardedConfig, grace: Grace, worker: Worker, channel: socket.socket) -> None:
        super().__init__(config, grace)
        self._shares = Shares(worker.folder / "connections", worker.slot)
        self._channel = channel
        self._is_replaced = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End in good order, and not at once when told twice: service managers tell the parent and all workers."""
        del sig, frame
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Do what is done ten times a second."""
        self._shares.set(len(self.config.connections))  # those that were closed, too, make room for others
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell the parent."""
        await super().startup([])
        for listener in sockets or ():
            listener.setblocking(False)
            listener.listen(self.config.backlog)
            shared = SharedListener(
                listener,
                self._protocol,
                self.config.ssl,
                connections=self.config.connections,
                shares=self._shares,
            )
            self.servers.append(cast("asyncio.Server", shared))  # as much of one as is used
        asyncio.get_running_loop().add_reader(self._channel, self._hear)
        self._channel.send(_READY)

    def _protocol(self) -> asyncio.Protocol:
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _hear(self) -> None:
        asyncio.get_running_loop().remove_reader(self._channel)
        try:
            told = self._channel.recv(1)
        except OSError:
            told = b""
        # A parent that is gone says nothing: nobody would keep the workers up, and none may keep the port.
        self._is_replaced = told == _RETIRE
        self.should_exit = True

    def _begin_to_end(self) -> timedelta:
        # The one in its place serves already: nobody has to look elsewhere.
        return timedelta(0) if self._is_replaced else super()._begin_to_end()
