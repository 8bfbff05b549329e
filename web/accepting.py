"""Takes connections from a socket that processes share, so that each has its share of them.

A connection that is kept alive stays where it is. Of a burst, whichever process wakes first would take all, and have
all of the work for as long as they last. So whoever has more than another one lets that one go first.
"""

import asyncio
import mmap
import os
import socket
from collections.abc import Callable
from pathlib import Path
from ssl import SSLContext

import structlog

from web.connections import Connections

_log = structlog.get_logger("watchword.connections")

# So long another process, which may have other things to do, is waited for; then so many are taken before another wait.
_WAIT = 0.005
_AT_ONCE = 16
# While no file can be opened.
_PAUSE = 1.0

_MOST_PROCESSES = 1024


class Shares:
    """How many connections each process has, in memory that they share: one more than it has, and 0 for no process."""

    def __init__(self, file: Path, slot: int) -> None:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, 4 * _MOST_PROCESSES)
            self._memory = memoryview(mmap.mmap(descriptor, 4 * _MOST_PROCESSES)).cast("I")
        finally:
            os.close(descriptor)
        self._slot = slot

    def set(self, mine: int) -> None:
        """Note how many this process has."""
        self._memory[self._slot] = mine + 1

    def leave(self) -> None:
        """Note that this process takes none any more."""
        self._memory[self._slot] = 0

    def least(self) -> int:
        """Return how many the process has that has fewest."""
        return min((count for count in self._memory if count), default=1) - 1


class SharedListener:
    """Accepts for one process; `close` and `wait_closed` are those of an `asyncio.Server`."""

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        ssl: SSLContext | None,
        *,
        connections: Connections,
        shares: Shares,
    ) -> None:
        self._listener = listener
        self._make_protocol = make_protocol
        self._ssl = ssl
        self._connections = connections
        self._shares = shares
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[None]] = set()
        self._may_take = 0  # without another look at the others
        self._is_closed = False
        shares.set(0)
        self._listen()

    def close(self) -> None:
        """Accept nothing more."""
        self._is_closed = True
        self._shares.leave()
        self._loop.remove_reader(self._listener)

    async def wait_closed(self) -> None:
        """Wait until what was accepted has a protocol."""
        if self._beginning:
            await asyncio.wait(self._beginning)

    def _listen(self) -> None:
        if not self._is_closed:
            self._loop.add_reader(self._listener, self._take)

    def _listen_again(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._loop.call_later(seconds, self._listen)

    def _take(self) -> None:
        """Accept one connection, or leave it to a process that has fewer, for a moment."""
        mine = len(self._connections) + len(self._beginning)
        self._shares.set(mine)
        if self._may_take:
            self._may_take -= 1
        elif mine - (least := self._shares.least()) > least // 8:
            self._may_take = _AT_ONCE
            self._listen_again(_WAIT)
            return
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            self._may_take = 0  # another process was faster, or the client has gone
        except OSError as error:
            _log.error("not_accepted", why=str(error))
            self._listen_again(_PAUSE)
        else:
            beginning = self._loop.create_task(self._begin(accepted))
            self._beginning.add(beginning)
            beginning.add_done_callback(self._beginning.discard)

    async def _begin(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, accepted, ssl=self._ssl)
        except OSError:  # the client has gone, or it speaks no TLS
            accepted.close()
        except Exception:  # noqa: BLE001 - nobody waits for this task
            _log.exception("not_accepted")
            accepted.close()
