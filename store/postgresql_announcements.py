"""What one process tells the others when it has committed something that is followed: that there is something new.

Each process says so after its commits, by NOTIFY, a few dozen times a second at the most. Said within the transactions,
every commit would wait for the one before it to be on the disk, for PostgreSQL puts notifications in one order. What is
lost, with a process or with the connection that listens, is found when the tables are read next: it costs time alone.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any
from weakref import WeakSet

from store.database import StoreUnavailable
from store.postgresql_connections import Connections
from store.postgresql_faults import unavailable_when_sick

_CHANNEL = "watchword_changes"

# How long announcements are gathered; and when tables are read again without one, if they can arrive and if not.
_GATHERED_FOR = timedelta(milliseconds=10)
_WHILE_LISTENING = timedelta(seconds=2)
_WHILE_DEAF = timedelta(milliseconds=250)


class PostgreSQLChanges:
    """One who waits; keeps the contract of `Changes`."""

    def __init__(self, announcements: "Announcements") -> None:
        self._announcements = announcements
        self.news = asyncio.Event()

    async def wait(self) -> None:
        """Keep the contract of `Changes.wait`."""
        pause = _WHILE_LISTENING if self._announcements.is_listening else _WHILE_DEAF
        with suppress(TimeoutError):
            async with asyncio.timeout(pause.total_seconds()):
                await self.news.wait()
        self.news.clear()


class Announcements:
    """Tells, and listens while somebody in this process follows, on a connection of its own."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._followers: WeakSet[PostgreSQLChanges] = WeakSet()
        self._ear: Any = None
        self._was_cut = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._has_news = False
        self._is_closed = False

    @property
    def is_listening(self) -> bool:
        """Whether what others say arrives here at this moment."""
        return self._ear is not None and not self._ear.is_closed()

    def announce(self) -> None:
        """Tell every process, this one too, that something was committed that is followed."""
        self._wake()
        self._has_news = True
        if self._telling is None and not self._is_closed:
            self._telling = asyncio.create_task(self._tell(), name="watchword-announcing")

    def follow(self) -> PostgreSQLChanges:
        """Return one who waits from now on."""
        changes = PostgreSQLChanges(self)
        self._followers.add(changes)
        if self._listening is None and not self._is_closed:
            self._listening = asyncio.create_task(self._listen(), name="watchword-listening")
        return changes

    async def close(self) -> None:
        """Tell what is to be told still, and listen no longer."""
        self._is_closed = True
        if self._telling is not None:
            await asyncio.wait([self._telling])
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        self._wake()

    async def _tell(self) -> None:
        try:
            while self._has_news:
                await asyncio.sleep(_GATHERED_FOR.total_seconds())
                # What is committed while this is under way is not told by it.
                self._has_news = False
                with suppress(StoreUnavailable), unavailable_when_sick():
                    async with self._connections.borrowed() as connection:
                        await connection.execute(f"NOTIFY {_CHANNEL}")
        finally:
            self._telling = None

    async def _listen(self) -> None:
        """Listen while somebody follows; where that cannot be, try again as long as it takes."""
        try:
            while self._followers:
                self._was_cut.clear()
                if self.is_listening:
                    await self._try_ear()
                else:
                    await self._open_ear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_WHILE_LISTENING.total_seconds()):
                        await self._was_cut.wait()
                        await asyncio.sleep(_WHILE_DEAF.total_seconds())  # it may be cut again and again
        finally:
            self._listening = None
            if self._ear is not None:
                self._ear.terminate()
                self._ear = None

    async def _open_ear(self) -> None:
        with suppress(StoreUnavailable), unavailable_when_sick():
            ear = await self._connections.connect()
            try:
                async with asyncio.timeout(self._connections.patience.total_seconds()):
                    await ear.add_listener(_CHANNEL, lambda *_: self._wake())
            except BaseException:
                ear.terminate()
                raise
            ear.add_termination_listener(lambda _: self._note_cut())
            self._ear = ear
            self._wake()  # something may have been said while nobody listened

    async def _try_ear(self) -> None:
        """Cut a connection that says nothing because there is nobody at its other end."""
        try:
            async with asyncio.timeout(self._connections.patience.total_seconds()):
                await self._ear.execute("SELECT 1")
        except Exception:  # noqa: BLE001 - whatever it is, this connection is of no use
            self._ear.terminate()

    def _note_cut(self) -> None:
        self._was_cut.set()
        self._wake()  # from now on they look more often

    def _wake(self) -> None:
        for changes in self._followers:
            changes.news.set()
