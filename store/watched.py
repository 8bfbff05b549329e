"""A database that is watched: how often it could not be asked, and what is done once a transaction was committed."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any

from store.database import Changes, Database, Row, StoreUnavailable, Transaction
from store.statements import Made, Question, Statement

Around = Callable[[], AbstractContextManager[object]]


class WatchedDatabase:
    """Keeps the contract of `Database` by the database that it was given.

    `unavailable` is how often that could not be asked; each transaction runs within what `around` returns.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._after_commit: dict[int, list[Callable[[], None]]] = {}
        self.unavailable = 0
        self.around: Around = nullcontext

    async def one(self, statement: Statement, /, **values: Any) -> Row | None:
        """Keep the contract of `Reader.one`."""
        try:
            return await self._database.one(statement, **values)
        except StoreUnavailable:
            self.unavailable += 1
            raise

    async def all(self, statement: Statement, /, **values: Any) -> list[Row]:
        """Keep the contract of `Reader.all`."""
        try:
            return await self._database.all(statement, **values)
        except StoreUnavailable:
            self.unavailable += 1
            raise

    async def recall(self, question: Question[Made], /, *arguments: Any) -> Made | None:
        """Keep the contract of `Database.recall`."""
        try:
            return await self._database.recall(question, *arguments)
        except StoreUnavailable:
            self.unavailable += 1
            raise

    @asynccontextmanager
    async def transaction(self, *alone_in: str) -> AsyncIterator[Transaction]:
        """Keep the contract of `Database.transaction`; then do what was to be done once it was committed."""
        to_do: list[Callable[[], None]] = []
        try:
            with self.around():
                async with self._database.transaction(*alone_in) as tx:
                    # An engine may use one object again, but for one transaction at a time: until the block is left.
                    self._after_commit[id(tx)] = to_do
                    try:
                        yield tx
                    finally:
                        del self._after_commit[id(tx)]
        except StoreUnavailable:
            self.unavailable += 1
            raise
        for function in to_do:
            function()

    def after_commit(self, tx: Transaction, function: Callable[[], None]) -> None:
        """Call a function once this transaction, which is under way here, was committed; otherwise never."""
        self._after_commit[id(tx)].append(function)

    def changes(self) -> Changes:
        """Keep the contract of `Database.changes`."""
        return self._database.changes()

    async def ping(self) -> None:
        """Keep the contract of `Database.ping`."""
        try:
            await self._database.ping()
        except StoreUnavailable:
            self.unavailable += 1
            raise

    def gauges(self) -> Mapping[str, int]:
        """Keep the contract of `Database.gauges`."""
        return self._database.gauges()

    async def close(self) -> None:
        """Keep the contract of `Database.close`."""
        await self._database.close()
