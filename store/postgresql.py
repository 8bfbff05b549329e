"""The engine for more than one machine: a PostgreSQL server, asked by prepared statements on connections that are held.

Transactions are READ COMMITTED. What is decided by reading before writing is decided alone, under an advisory lock that
is taken in the same message that begins the transaction; every statement after it sees all that was committed before.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from hashlib import blake2b
from typing import Any

import asyncpg
from sqlalchemy import func, select

from store.database import Row, StoreUnavailable
from store.locations import PostgreSQL
from store.postgresql_announcements import Announcements, PostgreSQLChanges
from store.postgresql_connection import Connection
from store.postgresql_connections import Connections
from store.statements import Made, Question, Statement
from store.turns import Turns

_READ_ONLY = Statement(select(func.current_setting("transaction_read_only")))


class _Transaction:
    """What goes on on one connection, between BEGIN and COMMIT."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.is_announced = False

    async def one(self, statement: Statement, /, **values: Any) -> Row | None:
        return await self._connection.first(statement, values)

    async def all(self, statement: Statement, /, **values: Any) -> list[Row]:
        return await self._connection.every(statement, values)

    async def run(self, statement: Statement, /, **values: Any) -> int:
        return await self._connection.write(statement, values)

    def announce(self) -> None:
        self.is_announced = True

    async def commit(self) -> None:
        # To commit what has failed is to roll it back, and for PostgreSQL no error.
        if await self._connection.execute("COMMIT") != "COMMIT":
            raise StoreUnavailable("nothing was committed: a statement of the transaction had failed")


class PostgreSQLDatabase:
    """A database that is migrated already, open for this process; keeps the contract of `Database`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._announcements = Announcements(connections)
        self._turns = Turns(connections.patience)

    @classmethod
    async def open(cls, location: PostgreSQL, *, patience: timedelta, connections: int) -> "PostgreSQLDatabase":
        """Connect; `patience` is how long anything waits for the server, or for one of the `connections`.

        Raises `StoreUnavailable` when the server cannot be reached.
        """
        held = Connections(location.uri, patience, connections)
        database = cls(held)
        held.watch()
        try:
            await database.ping()
        except BaseException:
            await database.close()
            raise
        return database

    @property
    def connections(self) -> Connections:
        """What is held, for those who watch."""
        return self._connections

    def one(self, statement: Statement, /, **values: Any) -> Coroutine[Any, Any, Row | None]:
        """Keep the contract of `Reader.one`."""
        return self._connections.first(statement, values)

    async def all(self, statement: Statement, /, **values: Any) -> list[Row]:
        """Keep the contract of `Reader.all`."""
        return await self._connections.asked(lambda connection: connection.every(statement, values))

    async def recall(self, question: Question[Made], /, *arguments: Any) -> Made | None:
        """Keep the contract of `Database.recall`; whether a row is still the same, is known only by asking for it."""
        row = await self.one(question.statement, **question.values(arguments))
        return None if row is None else question.made_of(row)

    @asynccontextmanager
    async def transaction(self, *alone_in: str) -> AsyncIterator[_Transaction]:
        """Keep the contract of `Database.transaction`."""
        async with self._turns.of(alone_in):
            connection = await self._connections.begun(_begin(alone_in))
            tx = _Transaction(connection)
            try:
                yield tx
                # A request that is dropped meanwhile must not leave the question open of whether this was done.
                await _to_the_end(tx.commit())
            except BaseException as error:
                self._connections.give_up(connection, error)
                raise
            self._connections.give(connection)
        if tx.is_announced:
            self._announcements.announce()

    def changes(self) -> PostgreSQLChanges:
        """Keep the contract of `Database.changes`."""
        return self._announcements.follow()

    async def ping(self) -> None:
        """Keep the contract of `Database.ping`; a server that takes no writes does not count as one."""
        await self._connections.asked(_require_writable)

    def gauges(self) -> Mapping[str, int]:
        """Keep the contract of `Database.gauges`."""
        held = self._connections
        return {"open": held.open, "in_use": held.in_use, "waiting": held.waiting}

    async def close(self) -> None:
        """Keep the contract of `Database.close`."""
        await self._announcements.close()
        await self._connections.close()


def _begin(alone_in: tuple[str, ...]) -> str:
    # In one order, so that no two transactions wait for each other.
    locks = sorted({_number_of(name) for name in alone_in})
    if not locks:
        return "BEGIN"
    return "BEGIN; " + "; ".join(f"SELECT pg_advisory_xact_lock({lock})" for lock in locks)


def _number_of(name: str) -> int:
    """Return the 64 bits that stand for a name; two names that share them would only wait for each other."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8, person=b"watchword").digest(), signed=True)


async def _require_writable(connection: Connection) -> None:
    row = await connection.first(_READ_ONLY, {})
    if row is None or row[0] != "off":
        raise StoreUnavailable("the database is read-only") from asyncpg.ReadOnlySQLTransactionError()


async def _to_the_end(asking: Awaitable[None]) -> None:
    """Wait for something to be over; a cancellation is delivered only then."""
    task = asyncio.ensure_future(asking)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        with suppress(Exception):
            task.result()
        raise cancelled
    task.result()
