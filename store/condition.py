"""The condition of a database, for whoever looks after it: looked at on a connection of its own, changing nothing."""

import asyncio
import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

import asyncpg

from store import postgresql_faults, sqlite_faults
from store.locations import PostgreSQL, SQLiteFile

_OURS = "watchword"


@dataclass(frozen=True, slots=True)
class SQLiteCondition:
    """What a file of SQLite's says of itself."""

    version: str
    journal_mode: str
    size: int  # bytes, with the log that is not folded into it yet


@dataclass(frozen=True, slots=True)
class PostgreSQLCondition:
    """What a server of PostgreSQL's says of itself, and of how this role comes to it."""

    version: str
    version_number: int
    encoding: str
    fsync: bool
    full_page_writes: bool
    is_standby: bool
    is_read_only: bool
    most_connections: int  # for roles that are not the server's own
    held_by_others: int
    is_local: bool
    is_encrypted: bool
    now: datetime


def condition_of_file(location: SQLiteFile) -> SQLiteCondition:
    """Look at a file. Raises `StoreUnavailable`."""
    with sqlite_faults.unavailable_when_sick():
        connection = sqlite3.connect(f"file:{quote(str(location.path))}?mode=ro", uri=True, timeout=1)
        try:
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (page,) = connection.execute("PRAGMA page_size").fetchone()
        finally:
            connection.close()
    log = location.path.with_name(f"{location.path.name}-wal")
    return SQLiteCondition(sqlite3.sqlite_version, mode, pages * page + (log.stat().st_size if log.exists() else 0))


async def condition_of_server(location: PostgreSQL, *, patience: timedelta) -> PostgreSQLCondition:
    """Look at a server. Raises `StoreUnavailable`."""
    with postgresql_faults.unavailable_when_sick():
        async with asyncio.timeout(2 * patience.total_seconds()):
            connection = await asyncpg.connect(location.uri, timeout=patience.total_seconds())
            try:
                row = await connection.fetchrow(_LOOK, _OURS)
            finally:
                connection.terminate()
    return PostgreSQLCondition(**row)


_LOOK = """
SELECT
    current_setting('server_version') AS version,
    current_setting('server_version_num')::int AS version_number,
    current_setting('server_encoding') AS encoding,
    current_setting('fsync')::bool AS fsync,
    current_setting('full_page_writes')::bool AS full_page_writes,
    pg_is_in_recovery() AS is_standby,
    current_setting('transaction_read_only')::bool AS is_read_only,
    least(
        current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
        (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = session_user),
        (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())
    ) AS most_connections,
    (
        SELECT count(*)::int FROM pg_stat_activity
        WHERE pid <> pg_backend_pid() AND coalesce(backend_type, 'client backend') = 'client backend'
        AND coalesce(application_name, '') <> $1
    ) AS held_by_others,
    coalesce(inet_client_addr() = inet_server_addr() OR inet_client_addr() <<= '127.0.0.0/8', true) AS is_local,
    coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS is_encrypted,
    clock_timestamp() AS now
"""
