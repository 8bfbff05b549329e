"""The connection that migrations run on: SQLAlchemy's, for Alembic, in one transaction that nobody else migrates in.

On PostgreSQL an older version serves meanwhile. Whoever waits for a lock on a table stands before everybody who comes
later, readers too. So a migration that is not given a table at once gives up all that it did, and tries again.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from store import postgresql_faults, sqlite_faults
from store.database import StoreUnavailable
from store.locations import Location, PostgreSQL, SQLiteFile

Result = TypeVar("Result")

PATIENCE = timedelta(minutes=1)  # for processes that migrate, and for tables that are in use

OLDEST_POSTGRESQL = 14

# How long anything is waited for that takes no time with a server that is well.
_QUICK = timedelta(seconds=30)

# A statement of a migration may have a large table to go through. Longer than this, and the server stands still.
_LONGEST_STATEMENT = timedelta(minutes=10)

# How long requests may stand behind a migration that waits for a table: a part of what they wait for the database.
_LOCK = timedelta(milliseconds=250)
_PAUSE = timedelta(milliseconds=100)

# A process that was stopped in the middle of a migration must not hold its locks for ever.
_LEFT_ALONE = timedelta(minutes=1)

# Any number, as long as it is this one: what processes that start together take turns by.
_MIGRATION_LOCK = 0x57617463

# Not to be had now, and perhaps in a moment: the lock on a table, or a way out of a deadlock.
_IN_USE = frozenset({"55P03", "40P01", "40001"})


class TableInUse(StoreUnavailable):
    """A table that a migration changes is in use; nothing of the migration was kept."""


def migrating(location: Location, work: Callable[[Connection], Result], patience: timedelta = PATIENCE) -> Result:
    """Do something in a transaction of its own, alone among all who migrate.

    On PostgreSQL it is done again while a table is in use, for as long as `patience`. Raises `StoreUnavailable`.
    """
    if isinstance(location, SQLiteFile):
        return _within_sqlite(location, work, patience, writing=True)
    return in_a_loop_of_its_own(_migrating_postgresql(location, work, patience))


def looking(location: Location, work: Callable[[Connection], Result]) -> Result:
    """Look at something, as a role too that may only read. Raises `StoreUnavailable`."""
    if isinstance(location, SQLiteFile):
        return _within_sqlite(location, work, _QUICK, writing=False)
    return in_a_loop_of_its_own(_looking_postgresql(location, work))


def in_a_loop_of_its_own(work: Coroutine[Any, Any, Result]) -> Result:
    """Do what is asynchronous and return its result, also to somebody who is within a loop already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)  # which an interrupt ends
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="watchword-migrating") as thread:
        return thread.submit(asyncio.run, work).result()


async def connect_postgresql(location: PostgreSQL, longest_statement: timedelta = _QUICK) -> Any:
    """Connect to a server that is new enough. Raises `StoreUnavailable`, without a word of the URI."""
    try:
        with postgresql_faults.unavailable_when_sick():
            raw = await asyncpg.connect(
                location.uri,
                timeout=_QUICK.total_seconds(),
                command_timeout=longest_statement.total_seconds(),
                statement_cache_size=0,
            )
    except ValueError:
        # What cannot be read of a URI is told with a piece of it, and that piece may be of the password.
        raise StoreUnavailable(
            "the database's URL cannot be read: what stands in its user name or password may have to be written as %xx"
        ) from None
    version = raw.get_server_version().major
    if version < OLDEST_POSTGRESQL:
        raw.terminate()
        raise StoreUnavailable(f"{location} has the version {version}: {OLDEST_POSTGRESQL} or newer is needed")
    return raw


def raise_if_sick(error: Exception) -> None:
    """Raise `StoreUnavailable` if what a migration failed with is a state of the database, and not its own fault."""
    if not isinstance(error, DBAPIError):
        if isinstance(error, (TimeoutError, asyncpg.InterfaceError)):
            postgresql_faults.raise_if_sick(error)
        return
    if isinstance(error.orig, sqlite3.Error):
        sqlite_faults.raise_if_sick(error.orig)
    server_said = _of_server(error)
    if server_said is None:
        return
    if server_said.sqlstate in _IN_USE:
        raise TableInUse("a table that is to be changed was in use all the time: try again when less goes on")
    if server_said.sqlstate != "0A000":  # which says of a request that a table was changed beneath it
        postgresql_faults.raise_if_sick(server_said)


def sentence_of(error: DBAPIError) -> str:
    """Return what a database says, without the rows that it says it of: these may be anybody's."""
    server_said = _of_server(error)
    return str(error.orig if server_said is None else server_said.args[0])


def _of_server(error: DBAPIError) -> Any:
    cause = None if error.orig is None else error.orig.__cause__
    return cause if isinstance(cause, asyncpg.PostgresError) else None


def _within_sqlite(
    location: SQLiteFile, work: Callable[[Connection], Result], patience: timedelta, *, writing: bool
) -> Result:
    url = URL.create("sqlite", database=str(location.path))
    waiting = {"timeout": patience.total_seconds()}
    engine = create_engine(url, poolclass=NullPool, connect_args=waiting, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _leave_transactions_to_us(raw: Any, _record: Any) -> None:
        # The driver's own habit of committing before DDL would leave half a migration behind.
        raw.isolation_level = None
        if writing:
            raw.execute("PRAGMA journal_mode = WAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # With the write lock from the start, processes that come up together migrate one after the other.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    try:
        with sqlite_faults.unavailable_when_sick(), engine.begin() as connection:
            return work(connection)
    finally:
        engine.dispose()


async def _looking_postgresql(location: PostgreSQL, work: Callable[[Connection], Result]) -> Result:
    async with _connection(location, _QUICK) as connection, connection.begin():
        await connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        return await connection.run_sync(work)


async def _migrating_postgresql(
    location: PostgreSQL, work: Callable[[Connection], Result], patience: timedelta
) -> Result:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience.total_seconds()
    async with _connection(location, _LONGEST_STATEMENT) as connection:
        while True:
            try:
                async with connection.begin():
                    if await _is_our_turn(connection):
                        return await connection.run_sync(work)
                waited_for: StoreUnavailable = StoreUnavailable("another process is migrating this database")
            except TableInUse as in_use:
                waited_for = in_use
            if loop.time() >= deadline:
                raise waited_for
            await asyncio.sleep(_PAUSE.total_seconds())


async def _is_our_turn(connection: AsyncConnection) -> bool:
    # Asked for again and again: a transaction that waits for a lock would hold up others that wait for it to end.
    asked = await connection.exec_driver_sql(
        f"SELECT pg_try_advisory_xact_lock({_MIGRATION_LOCK}),"
        f" set_config('lock_timeout', '{_milliseconds(_LOCK)}', true),"
        f" set_config('statement_timeout', '{_milliseconds(_LONGEST_STATEMENT)}', true),"
        f" set_config('idle_in_transaction_session_timeout', '{_milliseconds(_LEFT_ALONE)}', true)"
    )
    return bool(asked.scalar())


@asynccontextmanager
async def _connection(location: PostgreSQL, longest_statement: timedelta) -> AsyncIterator[AsyncConnection]:
    async def connect() -> Any:
        return await connect_postgresql(location, longest_statement)

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, poolclass=NullPool, hide_parameters=True
    )
    try:
        async with engine.connect() as connection:
            yield connection
    except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise_if_sick(error)
        raise
    finally:
        await engine.dispose()


def _milliseconds(span: timedelta) -> int:
    return round(span.total_seconds() * 1000)
