"""The connection that migrations run on: SQLAlchemy's, for Alembic, in one transaction that nobody else migrates in."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from store import postgresql_faults, sqlite_faults
from store.locations import Location, PostgreSQL, SQLiteFile

Result = TypeVar("Result")

_PATIENCE_SECONDS = 30

# Any number, as long as it is this one: what processes that start together take turns by.
_MIGRATION_LOCK = 0x57617463


def migrating(location: Location, work: Callable[[Connection], Result]) -> Result:
    """Do something in a transaction of its own, alone among all who migrate. Raises `StoreUnavailable`."""
    return _within(location, work, writing=True)


def looking(location: Location, work: Callable[[Connection], Result]) -> Result:
    """Look at something. Raises `StoreUnavailable`."""
    return _within(location, work, writing=False)


def _within(location: Location, work: Callable[[Connection], Result], *, writing: bool) -> Result:
    if isinstance(location, SQLiteFile):
        return _within_sqlite(location, work, writing=writing)
    # The driver is asyncio's, and whoever asks may be within a loop of their own.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="watchword-migrating") as thread:
        return thread.submit(asyncio.run, _within_postgresql(location, work, writing=writing)).result()


def _within_sqlite(location: SQLiteFile, work: Callable[[Connection], Result], *, writing: bool) -> Result:
    url = URL.create("sqlite", database=str(location.path))
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": _PATIENCE_SECONDS})

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


async def _within_postgresql(location: PostgreSQL, work: Callable[[Connection], Result], *, writing: bool) -> Result:
    async def connect() -> Any:
        return await asyncpg.connect(location.uri, timeout=_PATIENCE_SECONDS)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        with postgresql_faults.unavailable_when_sick():
            async with engine.begin() as connection:
                if writing:
                    await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
                return await connection.run_sync(work)
    except DBAPIError as error:
        if isinstance(error.orig, Exception) and isinstance(error.orig.__cause__, Exception):
            postgresql_faults.raise_if_sick(error.orig.__cause__)
        raise
    finally:
        await engine.dispose()
