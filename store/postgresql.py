"""The engine for more than one machine: a PostgreSQL server, asked by prepared statements on connections that are held.

Transactions are READ COMMITTED. What is decided by reading before writing is decided alone, under an advisory lock that
is taken in the same message that begins the transaction; every statement after it sees all that was committed before.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from hashlib import blake2b
from typing import Any, TypeVar

from store.database import Row, StoreUnavailable
from store.locations import PostgreSQL
from store.postgresql_announcements import Announcements, PostgreSQLChanges
from store.postgresql_connections import Connection, Connections
from store.postgresql_faults import raise_if_sick
from store.statements import Statement

Result = TypeVar("Result")


class _Transaction:
    """What goes on on one connection, between BEGIN and COMMIT."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self.is_announced = False

    async def one(self, statement: Statement, /, **values: Any) -> Row | None:
        return await self.answered(self._connection.first(statement, values))

    async def all(self, statement: Statement, /, **values: Any) -> list[Row]:
        return await self.answered(self._connection.every(statement, values))

    async def run(self, statement: Statement, /, **values: Any) -> int:
        return await self.answered(self._connection.write(statement, values))

    def announce(self) -> None:
        self.is_announced = True

    async def answered(self, asking: Awaitable[Result]) -> Result:
        """Wait for an answer, for so long as the watchdog lets one wait."""
        self._connection.busy_since = self._loop.time()
        try:
            return await asking
        except Exception as error:
            raise_if_sick(error)
            raise
        finally:
            self._connection.busy_since = None


class PostgreSQLDatabase:
    """A database that is migrated already, open for this process; keeps the contract of `Database`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._announcements = Announcements(connections)

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

    async def one(self, statement: Statement, /, **values: Any) -> Row | None:
        """Keep the contract of `Reader.one`."""
        return await self._connections.first(statement, values)

    async def all(self, statement: Statement, /, **values: Any) -> list[Row]:
        """Keep the contract of `Reader.all`."""
        async with self._connections.borrowed() as connection:
            return await _Transaction(connection).all(statement, **values)

    @asynccontextmanager
    async def transaction(self, *alone_in: str) -> AsyncIterator[_Transaction]:
        """Keep the contract of `Database.transaction`."""
        async with self._connections.borrowed() as connection:
            tx = _Transaction(connection)
            is_over = False
            try:
                await tx.answered(connection.raw.execute(_begin(alone_in)))
                yield tx
                is_over = True
                # A request that is dropped meanwhile must not leave the question open of whether this was done.
                await _to_the_end(tx.answered(connection.raw.execute("COMMIT")))
            except BaseException:
                # The server rolls back by itself what it could not commit, or when the connection is lost.
                if not is_over and not connection.raw.is_closed():
                    await _to_the_end(_rolled_back(tx, connection))
                raise
        if tx.is_announced:
            self._announcements.announce()

    def changes(self) -> PostgreSQLChanges:
        """Keep the contract of `Database.changes`."""
        return self._announcements.follow()

    async def ping(self) -> None:
        """Keep the contract of `Database.ping`; a server that takes no writes does not count as one."""
        async with self._connections.borrowed() as connection:
            asking = connection.raw.fetchval("SELECT current_setting('transaction_read_only')")
            if await _Transaction(connection).answered(asking) != "off":
                raise StoreUnavailable("the database is read-only")

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


async def _rolled_back(tx: _Transaction, connection: Connection) -> None:
    try:
        await tx.answered(connection.raw.execute("ROLLBACK"))
    except Exception:  # noqa: BLE001 - whatever it is, this connection is in no state to be used again
        connection.raw.terminate()


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
