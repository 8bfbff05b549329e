"""The two ends of a move: where rows are read, with nobody writing meanwhile, and where all are written, or none."""

import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import asyncpg

from store import postgresql_faults, sqlite_faults
from store.database import StoreUnavailable
from store.locations import Location, PostgreSQL, SQLiteFile
from store.migration_connections import connect_postgresql
from store.moving_values import TO_POSTGRESQL, Convert, to_sqlite

BATCH = 1_000  # rows that are in memory at once

PATIENCE = timedelta(seconds=10)  # for those who are in the middle of writing something

_LONGEST_COPY = timedelta(hours=12)

Rows = AsyncIterator[Sequence[Any]]


class MoveRefused(Exception):
    """A move that cannot be made as things are; nothing was moved."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column that is written to; `type` is what PostgreSQL calls it, on SQLite it is not asked."""

    name: str
    type: str


class End(Protocol):
    """One transaction on one database. Whatever is not committed has not happened."""

    async def lock(self, tables: Sequence[str]) -> None:
        """Let nobody else write to these tables until the end."""

    async def columns(self, table: str) -> list[Column]:
        """Return the columns that are written to: not those that are computed."""

    async def count(self, table: str) -> int:
        """Return how many rows there are."""

    def rows(self, table: str, columns: Sequence[str]) -> Rows:
        """Yield every row."""

    def convert_for(self, column: Column) -> Convert | None:
        """Return what makes another engine's value one for this column; None for a type that has no like."""

    async def empty(self, table: str) -> None:
        """Take every row away."""

    async def write(self, table: str, columns: Sequence[str], rows: Rows) -> None:
        """Add rows."""

    async def finish(self, tables: Sequence[str]) -> None:
        """See to what goes by the rows, and commit."""


@asynccontextmanager
async def opened(location: Location, patience: timedelta = PATIENCE) -> AsyncIterator[End]:
    """Open an end; what it has not committed when the block ends is taken back. Raises `StoreUnavailable`."""
    if isinstance(location, SQLiteFile):
        with _opened_sqlite(location, patience) as file:
            yield file
    else:
        async with _opened_postgresql(location, patience) as server:
            yield server


class _File:
    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    async def lock(self, tables: Sequence[str]) -> None:
        del tables  # the file has one lock, which is held already

    async def columns(self, table: str) -> list[Column]:
        # `hidden` says 2 or 3 of a column that is computed.
        listed = self._raw.execute(f"PRAGMA table_xinfo({_quoted(table)})")
        return [Column(name, kind) for _, name, kind, _, _, _, hidden in listed if hidden == 0]

    async def count(self, table: str) -> int:
        count: int = self._raw.execute(f"SELECT count(*) FROM {_quoted(table)}").fetchone()[0]  # noqa: S608
        return count

    async def rows(self, table: str, columns: Sequence[str]) -> Rows:
        cursor = self._raw.execute(f"SELECT {_listed(columns)} FROM {_quoted(table)}")  # noqa: S608
        while batch := cursor.fetchmany(BATCH):
            for row in batch:
                yield row

    def convert_for(self, column: Column) -> Convert | None:
        # SQLAlchemy keeps a UUID without its hyphens where a column is as short as that.
        if column.type.upper() == "CHAR(32)":
            return lambda value: str(to_sqlite(value)).replace("-", "")
        return to_sqlite

    async def empty(self, table: str) -> None:
        self._raw.execute(f"DELETE FROM {_quoted(table)}")  # noqa: S608

    async def write(self, table: str, columns: Sequence[str], rows: Rows) -> None:
        places = ", ".join("?" * len(columns))
        insert = f"INSERT INTO {_quoted(table)} ({_listed(columns)}) VALUES ({places})"  # noqa: S608
        batch: list[Sequence[Any]] = []
        async for row in rows:
            batch.append(row)
            if len(batch) == BATCH:
                self._raw.executemany(insert, batch)
                batch.clear()
        self._raw.executemany(insert, batch)

    async def finish(self, tables: Sequence[str]) -> None:
        del tables
        if self._raw.execute("PRAGMA foreign_key_check").fetchone():
            raise MoveRefused("a row that was moved refers to one that is not there")
        self._raw.execute("COMMIT")


@contextmanager
def _opened_sqlite(location: SQLiteFile, patience: timedelta) -> Iterator[_File]:
    if not location.path.is_file():
        raise StoreUnavailable(f"there is no database file {location}")
    with sqlite_faults.unavailable_when_sick():
        raw = sqlite3.connect(location.path, timeout=patience.total_seconds(), isolation_level=None)
        try:
            raw.execute("PRAGMA synchronous = FULL")
            raw.execute("BEGIN IMMEDIATE")
            yield _File(raw)
        finally:
            raw.close()  # which takes back what was not committed


_COLUMNS = """
SELECT attname, CASE typtype WHEN 'e' THEN 'text'
    WHEN 'd' THEN (SELECT base.typname FROM pg_type base WHERE base.oid = t.typbasetype) ELSE typname END
FROM pg_attribute JOIN pg_type t ON t.oid = atttypid
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum
"""

# Where the numbers of new rows are drawn from: it goes on after the largest that is there.
_NUMBERED = """
SELECT attname, pg_get_serial_sequence($1::text, attname) FROM pg_attribute
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
    AND pg_get_serial_sequence($1::text, attname) IS NOT NULL
"""


class _Server:
    def __init__(self, raw: Any) -> None:
        self._raw = raw

    async def lock(self, tables: Sequence[str]) -> None:
        # The first statement: what is read after it is read from one moment, and nobody writes after that.
        await self._raw.execute(f"LOCK TABLE {_listed(tables)} IN SHARE ROW EXCLUSIVE MODE")

    async def columns(self, table: str) -> list[Column]:
        return [Column(name, kind) for name, kind in await self._raw.fetch(_COLUMNS, _quoted(table))]

    async def count(self, table: str) -> int:
        count: int = await self._raw.fetchval(f"SELECT count(*) FROM {_quoted(table)}")  # noqa: S608
        return count

    async def rows(self, table: str, columns: Sequence[str]) -> Rows:
        async for row in self._raw.cursor(f"SELECT {_listed(columns)} FROM {_quoted(table)}", prefetch=BATCH):  # noqa: S608
            yield row

    def convert_for(self, column: Column) -> Convert | None:
        return TO_POSTGRESQL.get(column.type)

    async def empty(self, table: str) -> None:
        await self._raw.execute(f"DELETE FROM {_quoted(table)}")  # noqa: S608

    async def write(self, table: str, columns: Sequence[str], rows: Rows) -> None:
        try:
            await self._raw.copy_records_to_table(table, records=rows, columns=columns)
        except (asyncpg.DataError, ArithmeticError, TypeError):
            # Which may say the value; and that may be a secret.
            raise MoveRefused(f"a row of {table!r} has a value that its column does not take") from None

    async def finish(self, tables: Sequence[str]) -> None:
        for table in tables:
            for column, sequence in await self._raw.fetch(_NUMBERED, _quoted(table)):
                largest = await self._raw.fetchval(f"SELECT max({_quoted(column)}) FROM {_quoted(table)}")  # noqa: S608
                if largest is not None:
                    await self._raw.execute("SELECT setval($1::text::regclass, $2::bigint)", sequence, largest)
        await self._raw.execute("COMMIT")


@asynccontextmanager
async def _opened_postgresql(location: PostgreSQL, patience: timedelta) -> AsyncIterator[_Server]:
    with postgresql_faults.unavailable_when_sick():
        raw = await connect_postgresql(location, _LONGEST_COPY)
        try:
            await raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            await raw.execute(
                f"SET LOCAL lock_timeout = {round(patience.total_seconds() * 1000)}; SET LOCAL statement_timeout = 0;"
                "SET LOCAL idle_in_transaction_session_timeout = '10min'; SET LOCAL synchronous_commit = on"
            )
            yield _Server(raw)
        except asyncpg.PostgresError as error:
            postgresql_faults.raise_if_sick(error)
            # Without its detail, which is the row that it is about.
            raise MoveRefused(f"PostgreSQL refuses the move: {error.args[0]}") from None
        finally:
            raw.terminate()  # the server takes back what was not committed


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(_quoted, names))
