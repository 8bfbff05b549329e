"""The protocol that every engine keeps, and the one error that means "ask again later".

Absent and failed are different answers: a row that is not there is `None`, a database that could not be asked raises
`StoreUnavailable`. No caller can take a failure for an absence, and so log somebody out because a disk was busy.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from store.statements import Statement

Row = Sequence[Any]


class StoreUnavailable(Exception):
    """The database is locked, full, gone or closed; nothing of the interrupted transaction was kept."""


class Reader(Protocol):
    """Something that can be asked: the database itself, or a transaction under way."""

    async def one(self, statement: Statement, /, **values: Any) -> Row | None:
        """Return the first row, or None when there is none.

        Raises `StoreUnavailable` when the database cannot be asked.
        """

    async def all(self, statement: Statement, /, **values: Any) -> list[Row]:
        """Return every row, in the statement's order.

        Raises `StoreUnavailable` when the database cannot be asked.
        """


class Transaction(Reader, Protocol):
    """Reads and writes that happen together or not at all; a read sees the writes before it."""

    async def run(self, statement: Statement, /, **values: Any) -> int:
        """Execute a write and return how many rows it touched.

        Raises `StoreUnavailable` when the database cannot be asked.
        """


class Database(Reader, Protocol):
    """An open database. A read outside a transaction sees everything that was acknowledged before it."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction that commits when the block ends and rolls back when it raises or is cancelled.

        When the block has ended without an error, what it wrote survives a crash of the machine.
        Raises `StoreUnavailable` when the write lock is not to be had in time, or the commit fails.
        """

    async def ping(self) -> None:
        """Return when the database answers. Raises `StoreUnavailable` when it does not."""

    def gauges(self) -> Mapping[str, int]:
        """Return how many connections there are, by what they do; nothing where there is no pool of them."""

    async def close(self) -> None:
        """Close every connection; whatever is asked afterwards raises `StoreUnavailable`."""
