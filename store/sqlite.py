"""The embedded engine: the standard library's `sqlite3`, one reading connection and one writing one.

Reads run inline on the event loop: an indexed read takes about 5 µs, a hop to a thread ten times that. In WAL mode a
reader waits for nobody. Of a write, only what may wait runs in the writer's thread: BEGIN IMMEDIATE, which waits for
another process, and COMMIT, which waits for the disk; its statements hold the lock already and run inline.

A file that is replaced, by `watchword restore`, is opened anew: reads are from the new one within a second, and nothing
is committed to the old one any more.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from store.database import Row, StoreUnavailable
from store.sqlite_connections import SQLiteConnection, identity_of
from store.sqlite_faults import unavailable_when_sick
from store.statements import Made, Question, Statement

Result = TypeVar("Result")

# A reader in WAL mode is only ever held up while another process recovers the log after a crash. The wait is inline, so
# every request of this process pays for it: raise it and one sick file stalls the whole server.
_READ_PATIENCE = timedelta(milliseconds=50)

# How late somebody who waits for changes may hear of one, and when they read again without having heard of any.
_BETWEEN_LOOKS = timedelta(milliseconds=25)
_LOOKS_IN_VAIN = 200

# How long reads may go on from a file that was deleted, or replaced by a backup.
_LOOK_EVERY = timedelta(seconds=1)

# How often the file may be replaced while one transaction waits for its turn.
_ATTEMPTS = 3


class _Changes:
    """Looks at the file's version again and again: that costs 3 µs, and reads no table."""

    def __init__(self, version: Callable[[], object]) -> None:
        self._version = version
        self._seen = version()

    async def wait(self) -> None:
        """Keep the contract of `Changes.wait`."""
        for _ in range(_LOOKS_IN_VAIN):
            await asyncio.sleep(_BETWEEN_LOOKS.total_seconds())
            version = self._version()
            if version != self._seen:
                self._seen = version
                return


class SQLiteDatabase:
    """A SQLite file that is migrated already, open for this process; keeps the contract of `Database`."""

    def __init__(self, path: Path, *, patience: timedelta = timedelta(seconds=2)) -> None:
        """Open the file; `patience` is how long a write waits for its turn before it is UNAVAILABLE.

        Raises `StoreUnavailable` when the file is not there or is not a database.
        """
        if not path.is_file():
            raise StoreUnavailable(f"there is no database file {path}")
        self._path = path
        self._patience = patience
        self._writer = SQLiteConnection(path, patience, read_only=False)
        try:
            self._reader = SQLiteConnection(path, _READ_PATIENCE, read_only=True)
        except BaseException:
            self._writer.raw.close()
            raise
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="watchword-sqlite")
        self._closed = False
        self._look_again = 0.0

    async def one(self, statement: Statement, /, **values: Any) -> Row | None:
        """Keep the contract of `Reader.one`."""
        self._look_at_file()
        return await self._reader.one(statement, **values)

    async def all(self, statement: Statement, /, **values: Any) -> list[Row]:
        """Keep the contract of `Reader.all`."""
        self._look_at_file()
        return await self._reader.all(statement, **values)

    async def recall(self, question: Question[Made], /, *arguments: Any) -> Made | None:
        """Keep the contract of `Database.recall`."""
        self._look_at_file()
        return self._reader.recall(question, arguments)

    @asynccontextmanager
    async def transaction(self, *alone_in: str) -> AsyncIterator[SQLiteConnection]:
        """Keep the contract of `Database.transaction`; one at a time in this process, and among all processes."""
        del alone_in  # everybody is alone in everything
        await self._take_turn()
        try:
            try:
                await self._begin()
                yield self._writer
                await self._in_thread("COMMIT")
            finally:
                # Left by an error or a cancellation, or because the disk refused the COMMIT: nothing of it stays.
                if not self._closed and self._writer.raw.in_transaction:
                    await self._in_thread("ROLLBACK")
        finally:
            self._turn.release()

    def changes(self) -> _Changes:
        """Keep the contract of `Database.changes`."""
        return _Changes(self._version)

    async def ping(self) -> None:
        """Keep the contract of `Database.ping`."""
        self._look_at_file_now()
        with unavailable_when_sick():
            self._reader.raw.execute("SELECT count(*) FROM sqlite_master").fetchone()

    def gauges(self) -> Mapping[str, int]:
        """Keep the contract of `Database.gauges`: there is no pool."""
        return {}

    async def close(self) -> None:
        """Keep the contract of `Database.close`; waits for a transaction that is under way."""
        async with self._turn:
            if not self._closed:
                self._closed = True
                self._thread.shutdown()
                self._reader.raw.close()
                self._writer.raw.close()

    def _version(self) -> object:
        self._look_at_file()
        return self._reader.version()

    async def _take_turn(self) -> None:
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                await self._turn.acquire()
        except TimeoutError as error:
            raise StoreUnavailable("the write lock was not to be had in time") from error

    def _look_at_file(self) -> None:
        # For a read once a second is enough: a look costs half of what the read does.
        now = time.monotonic()
        if now >= self._look_again:
            self._look_at_file_now()
            self._look_again = now + _LOOK_EVERY.total_seconds()

    def _look_at_file_now(self) -> None:
        """Read from the file that is at the path now. Nothing is in the middle of a read: reads run inline."""
        if not self._is_current(self._reader):
            self._reader = self._reader.followed()

    async def _begin(self) -> None:
        """Begin a transaction of the file that is at the path: held by it, the write lock keeps others from moving it.

        SQLite goes on writing to a file that was deleted or replaced under it, and acknowledges what nobody will ever
        read again. So the file is looked at when the lock is had: whoever replaced it may have held it until then.
        """
        for _ in range(_ATTEMPTS):
            if not self._is_current(self._writer):
                await _to_the_end(self._thread, self._exchange_writer)
            await self._in_thread("BEGIN IMMEDIATE")
            if self._is_current(self._writer):
                return
            await self._in_thread("ROLLBACK")
        raise StoreUnavailable("the database file is being replaced")

    def _exchange_writer(self) -> None:
        self._writer = self._writer.followed()
        self._look_again = 0.0  # whoever has written reads from the same file

    def _is_current(self, connection: SQLiteConnection) -> bool:
        if self._closed:
            raise StoreUnavailable("the database is closed")
        return identity_of(self._path) == connection.file

    async def _in_thread(self, sql: str) -> None:
        """Run what may wait in the writer's thread, to its end even if the caller is cancelled meanwhile."""
        with unavailable_when_sick():
            await _to_the_end(self._thread, lambda: self._writer.raw.execute(sql))


async def _to_the_end(thread: ThreadPoolExecutor, function: Callable[[], Result]) -> Result:
    """Await a function in a thread; a cancellation is delivered only once the function has returned.

    Without this, a request that is dropped during its COMMIT would roll back on a connection that is still committing.
    """
    future = asyncio.get_running_loop().run_in_executor(thread, function)
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from future.exception()
    return future.result()
