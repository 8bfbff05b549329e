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

# So often, and so many seconds each time, another process is waited for, which may have other things to do. If it takes
# nothing all the same, so many are taken before it is waited for again.
_MOST_WAITS, _WAIT = 20, 0.001
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
        self._waits = self._least = 0
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
        mine = len(self._connections) + self._connections.coming
        self._shares.set(mine)
        if self._has_to_wait(mine):
            self._listen_again(_WAIT)
            return
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another process was faster, or the client has gone
        except OSError as error:
            _log.error("not_accepted", why=str(error))
            self._listen_again(_PAUSE)
        else:
            self._connections.coming += 1
            self._shares.set(mine + 1)
            beginning = self._loop.create_task(self._begin(accepted))
            self._beginning.add(beginning)
            beginning.add_done_callback(self._beginning.discard)

    def _has_to_wait(self, mine: int) -> bool:
        """Say whether another process has fewer, and has not been waited for in vain."""
        least = self._shares.least()
        is_ahead = mine - least > least // 8
        if not is_ahead or least != self._least:
            self._waits, self._least = 0, least
        if is_ahead:
            self._waits = (self._waits + 1) % (_MOST_WAITS + _AT_ONCE)
        return 0 < self._waits <= _MOST_WAITS

    async def _begin(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, accepted, ssl=self._ssl)
        except Exception as error:  # noqa: BLE001 - nobody waits for this task
            self._connections.coming -= 1
            accepted.close()
            if not isinstance(error, OSError):  # the client has gone, or it speaks no TLS
                _log.exception("not_accepted")
