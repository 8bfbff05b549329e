"""Asking PostgreSQL on connections that are held: borrowed for a statement or a transaction each.

asyncpg's own pool resets a connection whenever it is given back, which costs as much as a read does. These come back in
the state in which they were lent, or not at all.

What has changed nothing is asked once more when the connection turns out to have been lost, as all of them are when a
server was restarted: that costs nobody an answer.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from store.database import Row
from store.postgresql_connection import Connection
from store.postgresql_pool import Pool
from store.statements import Statement

Result = TypeVar("Result")


class Connections(Pool):
    """The connections of a process, for those who ask."""

    async def first(self, statement: Statement, values: Mapping[str, Any]) -> Row | None:
        """Ask for one row, with whichever connection is idle. Raises `StoreUnavailable`."""
        # `asked` spelled out: this is what every request begins with.
        connection = self._idle.pop() if self._idle else await self.take()
        try:
            row = await connection.first(statement, values)
        except BaseException as error:
            if not self.give_up(connection, error):
                raise
        else:
            self.give(connection)
            return row
        return await self._asked_once(lambda another: another.first(statement, values))

    async def asked(self, question: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Ask something that writes nothing, with whichever connection is idle. Raises `StoreUnavailable`.

        It is asked once more when the connection turns out to have been lost, as all are when a server was restarted.
        """
        connection = await self.take()
        try:
            answer = await question(connection)
        except BaseException as error:
            if not self.give_up(connection, error):
                raise
        else:
            self.give(connection)
            return answer
        return await self._asked_once(question)

    async def begun(self, opening: str) -> Connection:
        """Take a connection on which a transaction has begun; it goes back by `give` or `give_up`, as from `take`."""
        connection = await self.take()
        try:
            await connection.execute(opening)
        except BaseException as error:
            if not self.give_up(connection, error):
                raise
        else:
            return connection
        connection = await self.take()
        try:
            await connection.execute(opening)
        except BaseException as error:
            self.give_up(connection, error)
            raise
        return connection

    @asynccontextmanager
    async def borrowed(self) -> AsyncIterator[Connection]:
        """Take a connection for a block, and give it back. Raises `StoreUnavailable`."""
        connection = await self.take()
        try:
            yield connection
        except BaseException as error:
            self.give_up(connection, error)
            raise
        self.give(connection)

    async def _asked_once(self, question: Callable[[Connection], Awaitable[Result]]) -> Result:
        async with self.borrowed() as connection:
            return await question(connection)
