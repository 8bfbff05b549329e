"""Connections to PostgreSQL that are held for as long as they last: borrowed for a statement or a transaction each.

asyncpg's own pool resets a connection whenever it is given back, which costs as much as a read does. These come back in
the state in which they were lent, or not at all.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
import structlog
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect

from store.database import Row, StoreUnavailable
from store.postgresql_faults import raise_if_sick, spoils_the_connection, unavailable_when_sick
from store.statements import Statement

_log = structlog.get_logger("watchword.store")

_DIALECT = asyncpg_dialect()  # type: ignore[no-untyped-call]

# After a connection could not be made, the next one is tried after so long, and twice as long from time to time.
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 1.0

# The server ends by itself what takes too long, and the connection lives on. Whatever has no answer so much later was
# sent to a server that is gone or stands still.
_GRACE = 0.25

# A process that was stopped in the middle of a transaction must not hold its locks for ever.
_LEFT_ALONE = timedelta(seconds=30)


class Connection:
    """One connection, in the hands of one task at a time, with the statements that were prepared on it."""

    __slots__ = ("_prepared", "busy_since", "raw")

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.busy_since: float | None = None  # since when it has had no answer
        self._prepared: dict[Statement, PreparedStatement[Any]] = {}

    async def first(self, statement: Statement, values: dict[str, Any]) -> Row | None:
        """Return the first row, or None."""
        prepared = self._prepared.get(statement) or await self._prepare(statement)
        row: Row | None = await prepared.fetchrow(*statement.compiled(_DIALECT).arguments(values))
        return row

    async def every(self, statement: Statement, values: dict[str, Any]) -> list[Row]:
        """Return every row."""
        prepared = self._prepared.get(statement) or await self._prepare(statement)
        rows: list[Row] = await prepared.fetch(*statement.compiled(_DIALECT).arguments(values))
        return rows

    async def write(self, statement: Statement, values: dict[str, Any]) -> int:
        """Execute a write and return how many rows it touched."""
        prepared = self._prepared.get(statement) or await self._prepare(statement)
        await prepared.fetch(*statement.compiled(_DIALECT).arguments(values))
        return int(prepared.get_statusmsg().rpartition(" ")[2])

    async def _prepare(self, statement: Statement) -> "PreparedStatement[Any]":
        prepared = self._prepared[statement] = await self.raw.prepare(statement.compiled(_DIALECT).sql)
        return prepared


@dataclass
class Connections:
    """As many connections as are needed at once, `most` at the most; the one that was used last is used next."""

    uri: str
    patience: timedelta
    most: int
    _idle: list[Connection] = field(default_factory=list)
    _all: set[Connection] = field(default_factory=set)
    _waiting: "deque[asyncio.Future[Connection]]" = field(default_factory=deque)
    _growing: asyncio.Task[None] | None = None
    _watchdog: asyncio.TimerHandle | None = None
    _is_closed: bool = False
    _is_empty: asyncio.Event | None = None

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
        patience = self.patience.total_seconds()
        with unavailable_when_sick():
            raw = await asyncpg.connect(self.uri, timeout=patience, statement_cache_size=0)
            try:
                async with asyncio.timeout(patience):
                    await _set_up(raw, self.patience)
            except BaseException:
                raw.terminate()
                raise
        return raw

    async def take(self) -> Connection:
        """Take a connection, which goes back by `give`. Raises `StoreUnavailable` when none is to be had in time."""
        if self._idle:
            return self._idle.pop()
        if self._is_closed:
            raise StoreUnavailable("the database is closed")
        waiter: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._grow()
        try:
            async with asyncio.timeout(self.patience.total_seconds()):
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

    def give(self, connection: Connection, error: BaseException | None = None) -> None:
        """Give a connection back, with the error that ended its use, if one did."""
        connection.busy_since = None
        if error is not None and not isinstance(error, asyncio.CancelledError) and spoils_the_connection(error):
            connection.raw.terminate()
        if connection.raw.is_closed() or self._is_closed:
            self._drop(connection)
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._idle.append(connection)

    @asynccontextmanager
    async def borrowed(self) -> AsyncIterator[Connection]:
        """Take a connection for a block, and give it back."""
        connection = await self.take()
        try:
            yield connection
        except BaseException as error:
            self.give(connection, error)
            raise
        else:
            self.give(connection)

    async def first(self, statement: Statement, values: dict[str, Any]) -> Row | None:
        """Ask for one row, with whichever connection is idle. Raises `StoreUnavailable`."""
        # Not `borrowed`: this is what every request begins with, and a context manager costs half of what it does.
        connection = self._idle.pop() if self._idle else await self.take()
        connection.busy_since = asyncio.get_running_loop().time()
        try:
            row = await connection.first(statement, values)
        except BaseException as error:
            self.give(connection, error)
            if isinstance(error, Exception):
                raise_if_sick(error)
            raise
        self.give(connection)
        return row

    async def close(self) -> None:
        """Close every connection, those in use when they are given back, or cut after as long as anything may wait."""
        self._is_closed = True
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._growing is not None:
            self._growing.cancel()
            with suppress(asyncio.CancelledError):
                await self._growing
        self._fail_waiting("the database is closed")
        idle, self._idle = self._idle, []
        for connection in idle:
            self._all.discard(connection)
        await asyncio.gather(*(_end(connection.raw) for connection in idle))
        if self._all:
            self._is_empty = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.patience.total_seconds() + _GRACE):
                    await self._is_empty.wait()
        await asyncio.gather(*(_end(connection.raw) for connection in tuple(self._all)))

    def watch(self) -> None:
        """Cut connections that have had no answer for too long, from now on and for as long as this is open."""
        loop = asyncio.get_running_loop()
        late = loop.time() - self.patience.total_seconds() - _GRACE
        for connection in tuple(self._all):
            if connection.busy_since is not None and connection.busy_since < late:
                _log.warning("database_stands_still", milliseconds=round((loop.time() - connection.busy_since) * 1000))
                connection.raw.terminate()
        self._watchdog = loop.call_later(_GRACE, self.watch)

    def _grow(self) -> None:
        if self._growing is None and len(self._all) < self.most:
            self._growing = asyncio.create_task(self._make_connections(), name="watchword-connecting")

    async def _make_connections(self) -> None:
        """Make connections, one after the other, while somebody waits for one."""
        pause, is_failing = _FIRST_PAUSE, False
        try:
            while self._waiting and len(self._all) < self.most:
                try:
                    connection = Connection(await self.connect())
                except StoreUnavailable as error:
                    if not is_failing:
                        _log.warning("database_not_reached", why=str(error), connections=len(self._all))
                    is_failing = True
                    if not self._all:
                        # Nothing is on its way that could be waited for. Whoever comes next waits for the next try.
                        self._fail_waiting(str(error))
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
                else:
                    pause, is_failing = _FIRST_PAUSE, False
                    self._all.add(connection)
                    connection.raw.add_termination_listener(lambda _, ended=connection: self._drop(ended))
                    self.give(connection)
        finally:
            self._growing = None

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

    def _fail_waiting(self, why: str) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(StoreUnavailable(why))


async def _set_up(raw: Any, patience: timedelta) -> None:
    """Say what holds for every session of ours, whatever the server's defaults are."""
    # Ids are text here, as on SQLite, and values of a type of their own nowhere.
    await raw.set_type_codec("uuid", encoder=str, decoder=str, schema="pg_catalog", format="text")
    settings: Sequence[tuple[str, str]] = (
        ("application_name", "watchword"),
        ("timezone", "UTC"),
        ("statement_timeout", _milliseconds(patience)),
        ("lock_timeout", _milliseconds(patience)),
        ("idle_in_transaction_session_timeout", _milliseconds(max(_LEFT_ALONE, 2 * patience))),
        ("tcp_keepalives_idle", "30"),
        ("tcp_keepalives_interval", "10"),
        ("tcp_keepalives_count", "3"),
    )
    await raw.execute("; ".join(f"SET {name} = '{value}'" for name, value in settings))
    # What was acknowledged is on the disk. An operator may ask for more than that, and not for less.
    await raw.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )


async def _end(raw: Any) -> None:
    with suppress(Exception):
        await raw.close(timeout=1)
    with suppress(Exception):
        raw.terminate()


def _milliseconds(span: timedelta) -> str:
    return str(max(1, round(span.total_seconds() * 1000)))
