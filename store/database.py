"""The protocol that every engine keeps, and the one error that means "ask again later".

Absent and failed are different answers: a row that is not there is `None`, a database that could not be asked raises
`StoreUnavailable`. No caller can take a failure for an absence, and so log somebody out because a disk was busy.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from store.statements import Made, Question, Statement

Row = Sequence[Any]


class StoreUnavailable(Exception):
    """The database is locked, full, gone or closed, and nothing of the interrupted transaction was acknowledged.

    Nothing of it was kept either, unless a server of its own was lost in the middle of the COMMIT: what became of that,
    nobody can know.
    """


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

    def announce(self) -> None:
        """Wake whoever waits for changes, in every process, once this transaction has been committed."""


class Changes(Protocol):
    """What somebody follows who reads again whenever something may be new."""

    async def wait(self) -> None:
        """Return once something may have been committed since the last call, by whichever process.

        It may return without a cause, and does so every few seconds at the latest: an announcement can get lost.
        """


class Database(Reader, Protocol):
    """An open database. A read outside a transaction sees everything that was acknowledged before it."""

    def transaction(self, *alone_in: str) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction that commits when the block ends and rolls back when it raises or is cancelled.

        Of transactions that are `alone_in` the same thing, in whichever processes, one goes on at a time, and each sees
        what those before it committed. Whoever reads something, decides by it and writes names what they decide about;
        an engine may do more, and let only one transaction go on at a time.

        When the block has ended without an error, what it wrote survives a crash of the machine.
        Raises `StoreUnavailable` when its turn does not come in time, or the commit fails.
        """

    async def recall(self, question: Question[Made], /, *arguments: Any) -> Made | None:
        """Return what is made of a question's first row as it is at this moment, or None when there is none.

        What was made of it before may be returned again, if it is known that the row is still the same.
        Raises `StoreUnavailable` when the database cannot be asked.
        """

    def changes(self) -> Changes:
        """Follow what is committed from now on."""

    async def ping(self) -> None:
        """Return when the database answers. Raises `StoreUnavailable` when it does not."""

    def gauges(self) -> Mapping[str, int]:
        """Return how many connections there are, by what they do; nothing where there is no pool of them."""

    async def close(self) -> None:
        """Close every connection; whatever is asked afterwards raises `StoreUnavailable`."""
