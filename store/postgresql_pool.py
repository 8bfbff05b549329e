"""Connections to PostgreSQL that are held for as long as they last: made when they are needed, taken and given back.

When nothing answers, one who looks for the server again and again is enough: whoever else comes is told at once.
"""

import asyncio
from collections import deque
from contextlib import suppress
from datetime import timedelta
from math import ceil
from typing import Any

import asyncpg

from store.database import StoreUnavailable
from store.postgresql_connection import Backend, Connection, Ticks, connect, hosts_of
from store.postgresql_faults import is_read_only, not_connected, spoils_the_connection
from store.postgresql_outages import Outages

# After a connection could not be made, the next one is tried after so long, and twice as long from time to time.
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 0.5

# How often it is looked whether something has had no answer for too long. The server ends by itself what takes too
# long, and the connection lives on; what has no answer one or two of these later was sent to a server that is gone.
_TICK = 0.2

# How long it is waited for a sign that something else than what was cut has an answer.
_INQUIRY = 0.25

# Of a server that takes no writes, connections are given up: another may be behind the same name by now. But not faster
# than this, or each refused write would cost a connection.
_TICKS_OF_A_CONNECTION = 5

_END_BACKENDS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE (pid, extract(epoch FROM backend_start)::text) IN (SELECT * FROM unnest($1::int[], $2::text[]))
"""


class Pool:
    """As many connections as are needed at once, `most` at the most; the one that was used last is used next."""

    def __init__(self, uri: str, patience: timedelta, most: int) -> None:
        self.patience = patience
        self.most = most
        self._hosts = hosts_of(uri)
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._waiting: deque[asyncio.Future[Connection]] = deque()
        self._ticks = Ticks()
        self._outages = Outages(self._ticks)
        self._answered_at = 0
        self._left_behind: list[Backend] = []
        self._inquiry: asyncio.Task[None] | None = None
        self._doubted_at = 0.0
        self._growing: asyncio.Task[None] | None = None
        self._mending: set[asyncio.Task[None]] = set()
        self._watchdog: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._is_empty: asyncio.Event | None = None

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._all)

    @property
    def in_use(self) -> int:
        """How many of them somebody has."""
        return len(self._all) - len(self._idle)

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return len(self._waiting)

    async def connect(self) -> Any:
        """Make a connection of asyncpg's, set up and in nobody's hands. Raises `StoreUnavailable`."""
        raw, _ = await connect(self._hosts, self.patience)
        return raw

    async def take(self) -> Connection:
        """Take a connection. Raises `StoreUnavailable` when none is to be had in time."""
        if self._idle:
            return self._idle.pop()
        if self._is_closed:
            raise StoreUnavailable("the database is closed")
        self._grow()
        if self._outages.is_on:
            raise StoreUnavailable(self._outages.why)
        loop = asyncio.get_running_loop()
        until = loop.time() + self.patience.total_seconds()
        if self._inquiry is not None:
            # It waited long enough who made it doubtful that there is an answer to be had.
            until = min(until, self._doubted_at + _INQUIRY)
        waiter: asyncio.Future[Connection] = loop.create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout_at(until):
                return await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.give(waiter.result())  # it came in the moment in which nobody waited for it any more
            if isinstance(error, TimeoutError):
                raise StoreUnavailable("no connection to the database was to be had in time") from error
            raise
        finally:
            with suppress(ValueError):
                self._waiting.remove(waiter)

    def give(self, connection: Connection) -> None:
        """Give a connection back that is as it was lent."""
        if connection.raw.is_closed() or self._is_closed:
            self._drop(connection)
            return
        self._answered_at = self._ticks.now
        if self._outages.is_on:
            self._outages.end()
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._idle.append(connection)

    def give_up(self, connection: Connection, error: BaseException) -> bool:
        """Give a connection back in the midst of something, with the error that ended it.

        Return whether the connection alone was lost, as far as is known: others may do what it did not.
        """
        if not connection.raw.is_closed():
            self._outages.note(error)
        if spoils_the_connection(error):
            connection.raw.terminate()
        if is_read_only(error):
            self._give_up_old(connection)
        if connection.raw.is_closed() or self._is_closed:
            self._drop(connection)
            if connection.was_cut or self._is_closed:
                return False
            self._outages.lost += 1
            # Those that have nothing to do will have been lost with it, and do not know it yet.
            self._drop_idle(made_before=self._ticks.now + 1)
            return isinstance(error, StoreUnavailable) and not is_read_only(error)
        if not isinstance(error, Exception) or connection.raw.is_in_transaction():
            task = asyncio.create_task(self._mend(connection, error), name="watchword-mending")
            self._mending.add(task)
            task.add_done_callback(self._mending.discard)
        else:
            self.give(connection)
        return False

    def _give_up_old(self, connection: Connection) -> None:
        """Let go of what may be connected to a server that another has taken the place of."""
        made_before = self._ticks.now - _TICKS_OF_A_CONNECTION
        self._drop_idle(made_before=made_before)
        if connection.made_at < made_before:
            connection.raw.terminate()

    async def _mend(self, connection: Connection, error: BaseException) -> None:
        """Roll back what was begun on a connection, and give it back."""
        try:
            if not isinstance(error, Exception):
                # A statement was given up while it went on: the driver answers once that is over.
                with suppress(asyncpg.PostgresError):
                    await connection.execute("SELECT 1")
            if connection.raw.is_in_transaction():
                await connection.execute("ROLLBACK")
        except BaseException as failed:  # whatever it is, this connection is in no state to be used again
            connection.raw.terminate()
            if not isinstance(failed, Exception):
                raise
        finally:
            self.give(connection)

    def _drop(self, connection: Connection) -> None:
        self._all.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)
        if self._is_closed:
            connection.raw.terminate()
            if self._is_empty is not None and not self._all:
                self._is_empty.set()
        elif self._waiting:
            self._grow()

    def _drop_idle(self, *, made_before: int) -> None:
        for connection in [idle for idle in self._idle if idle.made_at < made_before]:
            connection.raw.terminate()
            self._drop(connection)

    def _fail_waiting(self, why: str) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(StoreUnavailable(why))

    # Making and ending

    def watch(self) -> None:
        """Cut connections that have had no answer for too long, from now on and for as long as this is open."""
        now = self._ticks.now = self._ticks.now + 1
        too_long_ago = now - ceil(self.patience.total_seconds() / _TICK) - 2
        for connection in tuple(self._all):
            if connection.asked_at is not None and connection.asked_at <= too_long_ago:
                self._cut(connection)
        self._watchdog = asyncio.get_running_loop().call_later(_TICK, self.watch)

    def _cut(self, connection: Connection) -> None:
        """Give up a connection that has no answer, and find out whether others would have none either."""
        connection.was_cut = True
        self._leave_behind(connection)
        if self._inquiry is None:
            self._inquiry = asyncio.create_task(self._inquire(), name="watchword-inquiring")

    async def _inquire(self) -> None:
        """Ask on an idle connection, while nobody gets one, or on a new one: if that has no answer, nothing has one."""
        self._doubted_at = asyncio.get_running_loop().time()
        suspects, self._idle = self._idle, []
        try:
            async with asyncio.timeout(_INQUIRY):
                if suspects:
                    await self._end_left_behind(suspects[-1].raw)
                while self._answered_at < self._ticks.now - 1 and not suspects:
                    self._grow()
                    await asyncio.sleep(_INQUIRY / 10)
        except Exception:  # noqa: BLE001 - whatever it is, it is no answer
            for suspect in suspects:
                self._leave_behind(suspect)
            if not self._is_closed:
                self._lose_sight("the database stands still")
        else:
            for suspect in suspects:
                self.give(suspect)
        finally:
            self._inquiry = None
            self._grow()

    def _lose_sight(self, why: str) -> None:
        self._outages.begin(why)
        self._fail_waiting(why)

    def _leave_behind(self, connection: Connection) -> None:
        self._left_behind.append(connection.backend)
        connection.raw.terminate()
        self._drop(connection)

    def _grow(self) -> None:
        if self._growing is None and not self._is_closed and len(self._all) < self.most:
            self._growing = asyncio.create_task(self._make_connections(), name="watchword-connecting")

    async def _make_connections(self) -> None:
        """Make connections, one after the other, while somebody waits for one, or until an outage is over."""
        pause = _FIRST_PAUSE
        try:
            while self._outages.is_on or ((self._waiting or self._left_behind) and len(self._all) < self.most):
                try:
                    connection = await self._made()
                except StoreUnavailable as error:
                    if self._all:
                        self._outages.note_shortage(str(error), len(self._all))
                    else:
                        # Nothing is on its way that could be waited for.
                        self._lose_sight(str(error))
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
                else:
                    pause = _FIRST_PAUSE
                    self._all.add(connection)
                    connection.raw.add_termination_listener(lambda _, ended=connection: self._drop(ended))
                    self._outages.end()
                    self.give(connection)
        finally:
            self._growing = None

    async def _made(self) -> Connection:
        raw, backend = await connect(self._hosts, self.patience)
        if self._left_behind:
            try:
                async with asyncio.timeout(self.patience.total_seconds()):
                    await self._end_left_behind(raw)
            except BaseException as error:
                raw.terminate()
                if isinstance(error, Exception):
                    raise not_connected(error) from error
                raise
        return Connection(raw, backend, self._ticks)

    async def _end_left_behind(self, raw: Any) -> None:
        """End what was given up: the server may not have noticed, and what was locked there would stay so."""
        ended, self._left_behind = self._left_behind, []
        try:
            await raw.execute(_END_BACKENDS, [backend.pid for backend in ended], [backend.started for backend in ended])
        except BaseException as error:
            if isinstance(error, asyncpg.PostgresError) and not raw.is_closed():
                return  # it may not, and will not be allowed to the next time
            self._left_behind += ended
            raise

    async def close(self) -> None:
        """Close every connection, those in use when they are given back, or cut after as long as anything may wait."""
        self._is_closed = True
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._growing is not None:
            self._growing.cancel()
            await asyncio.wait([self._growing])
        self._fail_waiting("the database is closed")
        idle, self._idle = self._idle, []
        self._all.difference_update(idle)
        await asyncio.gather(*(_end(connection.raw) for connection in idle))
        if self._all:
            self._is_empty = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.patience.total_seconds() + _TICK):
                    await self._is_empty.wait()
        for connection in tuple(self._all):
            connection.raw.terminate()
        if going_on := {*self._mending, *([self._inquiry] if self._inquiry else [])}:
            await asyncio.wait(going_on)


async def _end(raw: Any) -> None:
    with suppress(Exception):
        await raw.close(timeout=1)
    with suppress(Exception):
        raw.terminate()
