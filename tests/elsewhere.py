"""Another program that has a house's database open, on whichever engine."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from store.locations import PostgreSQL
from tests.house import House
from tests.postgres import connected

Ask = Callable[..., list[tuple[Any, ...]]]


@contextmanager
def elsewhere(house: House) -> Iterator[Ask]:
    """Open the database; each statement, with `?` for its values, is a transaction of its own, until one is begun."""
    if isinstance(house.settings.database, PostgreSQL):
        with connected(house.settings.database.uri) as ask:
            yield lambda statement, *values: ask(_numbered(statement), *values)
    else:
        with closing(sqlite3.connect(house.database_file, isolation_level=None)) as connection:
            yield lambda statement, *values: connection.execute(statement, values).fetchall()


def _numbered(statement: str) -> str:
    first, *rest = statement.split("?")
    return first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))


def rows(house: House, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Execute a statement, and return its rows."""
    with elsewhere(house) as ask:
        return ask(statement, *values)


def is_on_postgresql(house: House) -> bool:
    """Say on which engine a house stands."""
    return isinstance(house.settings.database, PostgreSQL)


def everything(house: House) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables."""
    with elsewhere(house) as ask:
        tables = ask(_TABLES_OF_POSTGRESQL if is_on_postgresql(house) else _TABLES_OF_SQLITE)
        return {name: ask(f"SELECT * FROM {name}") for (name,) in tables}  # noqa: S608


def stored(house: House) -> bytes:
    """Return all that is stored, as whoever steals it can search it."""
    found = [file.read_bytes() for file in sorted(house.settings.data_dir.rglob("*")) if file.is_file()]
    if is_on_postgresql(house):
        cells = (cell for rows in everything(house).values() for row in rows for cell in row)
        found += [cell if isinstance(cell, bytes) else str(cell).encode() for cell in cells]
    return b"\n".join(found)


_TABLES_OF_SQLITE = "SELECT name FROM sqlite_master WHERE type = 'table'"
_TABLES_OF_POSTGRESQL = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


@contextmanager
def held(house: House, table: str) -> Iterator[Callable[[int], Awaitable[None]]]:
    """Let nobody write to a table, on SQLite to none; the block is handed what waits until so many stand before it.

    What stands there has done, in its transaction, all that comes before.
    """
    with elsewhere(house) as ask, elsewhere(house) as look:
        if is_on_postgresql(house):
            ask("BEGIN")
            ask(f"LOCK TABLE {table} IN SHARE MODE")
        else:
            ask("BEGIN IMMEDIATE")

        async def until(number: int) -> None:
            if is_on_postgresql(house):
                async with asyncio.timeout(20):
                    while look(_WAITING)[0][0] < number:  # noqa: ASYNC110 - only the server knows
                        await asyncio.sleep(0.005)

        yield until
        ask("ROLLBACK")


# Whatever lock it is: the table's, or one that somebody has who stands before the table.
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
