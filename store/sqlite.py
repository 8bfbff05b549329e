"""The embedded engine: the standard library's `sqlite3`, one reading connection and one writing one.

Reads run inline on the event loop: an indexed read takes about 5 µs, a hop to a thread ten times that. In WAL mode a
reader waits for nobody. Of a write, only what may wait runs in the writer's thread: BEGIN IMMEDIATE, which waits for
another process, and COMMIT, which waits for the disk; its statements hold the lock already and run inline.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

from store.database import Row, StoreUnavailable
from store.sqlite_faults import raise_if_sick, unavailable_when_sick
from store.sqlite_files import Inode, connected, files_at, inode_of, revisions_in
from store.sqlite_memory import RememberedRows
from store.statements import Statement

_DIALECT = sqlite_dialect(paramstyle="qmark")

FileVersion = tuple[Inode | None, int]

# A reader in WAL mode is only ever held up while another process recovers the log after a crash. The wait is inline, so
# every request of this process pays for it: raise it and one sick file stalls the whole server.
_READ_PATIENCE = timedelta(milliseconds=50)

# How late somebody who waits for changes may hear of one, and when they read again without having heard of any.
_BETWEEN_LOOKS = timedelta(milliseconds=25)
_LOOKS_IN_VAIN = 200

# How long reads may go on from a file that was deleted, or replaced by another.
_LOOK_EVERY = timedelta(seconds=1)


class _Connection:
    """A connection that speaks statements; its caller sees to it that one task at a time does."""

    def __init__(self, path: Path, patience: timedelta, *, read_only: bool) -> None:
        self._path = path
        self._patience = patience
        self._is_reader = read_only
        self.raw = connected(path, patience, check_same_thread=False)
        try:
            self.raw.execute("PRAGMA foreign_keys = ON")
            self.raw.execute("PRAGMA journal_mode = WAL")
            self.raw.execute("PRAGMA synchronous = FULL")
            if read_only:
                self.raw.execute("PRAGMA query_only = ON")
            self._revisions = revisions_in(self.raw)
            self._files = files_at(path)
        except BaseException:
            self.raw.close()
            raise
        self._remembered = RememberedRows(self.raw)

    async def one(self, statement: Statement, /, **values: Any) -> Row | None:
        return self.first(statement, values)

    async def all(self, statement: Statement, /, **values: Any) -> list[Row]:
        compiled = statement.compiled(_DIALECT)
        with unavailable_when_sick():
            return self.raw.execute(compiled.sql, compiled.arguments(values)).fetchall()

    def first(self, statement: Statement, values: Mapping[str, Any]) -> Row | None:
        compiled = statement.compiled(_DIALECT)
        arguments = compiled.arguments(values)
        if statement.by_every_request and self._is_reader:
            return self._remembered.first(statement, arguments, lambda: self._first(compiled.sql, arguments))
        return self._first(compiled.sql, arguments)

    def _first(self, sql: str, arguments: tuple[Any, ...]) -> Row | None:
        # Not `unavailable_when_sick`, which costs as much as a tenth of the read that every request begins with.
        try:
            row: Row | None = self.raw.execute(sql, arguments).fetchone()
        except sqlite3.Error as error:
            raise_if_sick(error)
            raise
        return row

    async def run(self, statement: Statement, /, **values: Any) -> int:
        compiled = statement.compiled(_DIALECT)
        with unavailable_when_sick():
            return self.raw.execute(compiled.sql, compiled.arguments(values)).rowcount

    def announce(self) -> None:
        """Do nothing: whoever waits looks at the file's own version."""

    def version(self) -> FileVersion:
        """Return what is another value whenever another connection, of any process, has committed."""
        with unavailable_when_sick():
            version: int = self.raw.execute("PRAGMA data_version").fetchone()[0]
        return self._files.main, version

    def is_there(self) -> bool:
        """Say whether the path still stands for the file that this is connected to."""
        return inode_of(self._path) == self._files.main

    def followed(self) -> "_Connection":
        """Return this connection or, where another file was put in this one's place, one to that, and close this.

        Raises `StoreUnavailable` when there is none, or it cannot be told from what is left of this one.
        """
        there = files_at(self._path)
        if there.main == self._files.main:
            return self
        if there.main is None:
            raise StoreUnavailable("the database file is gone")
        if there.left(self._files):
            raise StoreUnavailable("the database file was replaced, and the log of the one before was left beside it")
        with unavailable_when_sick():
            other = _Connection(self._path, self._patience, read_only=self._is_reader)
        if other._revisions != self._revisions:
            other.raw.close()
            raise StoreUnavailable("the database file was replaced by one that is migrated otherwise: restart")
        # SQLite sees that the file was moved, and leaves the log alone that is at the path now.
        self.raw.close()
        return other


class _Changes:
    """Looks at the file's version again and again: that costs 3 µs, and reads no table."""

    def __init__(self, version: Callable[[], FileVersion]) -> None:
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
        self._patience = patience
        with unavailable_when_sick():
            self._writer = _Connection(path, patience, read_only=False)
            self._reader = _Connection(path, _READ_PATIENCE, read_only=True)
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="watchword-sqlite")
        self._closed = False
        self._look_again = 0.0

    async def one(self, statement: Statement, /, **values: Any) -> Row | None:
        """Keep the contract of `Reader.one`."""
        self._look_at_file()
        return self._reader.first(statement, values)

    async def all(self, statement: Statement, /, **values: Any) -> list[Row]:
        """Keep the contract of `Reader.all`."""
        self._look_at_file()
        return await self._reader.all(statement, **values)

    @asynccontextmanager
    async def transaction(self, *alone_in: str) -> AsyncIterator[_Connection]:
        """Keep the contract of `Database.transaction`; one at a time in this process, and among all processes."""
        del alone_in  # everybody is alone in everything
        await self._take_turn()
        try:
            await self._require_file()
            try:
                await self._in_thread("BEGIN IMMEDIATE")
                if not self._writer.is_there():
                    # It has waited for somebody who put another file in this one's place.
                    raise StoreUnavailable("the database file was replaced at this moment")
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
        self._look_again = 0.0
        self._look_at_file()
        with unavailable_when_sick():
            self._reader.raw.execute("SELECT count(*) FROM sqlite_master").fetchone()

    async def close(self) -> None:
        """Keep the contract of `Database.close`; waits for a transaction that is under way."""
        async with self._turn:
            if not self._closed:
                self._closed = True
                self._thread.shutdown()
                self._reader.raw.close()
                self._writer.raw.close()

    def _version(self) -> FileVersion:
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
            self._require_open()
            self._reader = self._reader.followed()
            self._look_again = now + _LOOK_EVERY.total_seconds()

    async def _require_file(self) -> None:
        # SQLite goes on writing to a file that was deleted or replaced under it, and acknowledges what nobody will
        # ever read again.
        self._require_open()
        if not self._writer.is_there():
            await _to_the_end(self._thread, self._follow_file)

    def _follow_file(self) -> None:
        self._writer = self._writer.followed()
        self._look_again = 0.0  # whoever has written reads the same file

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the database is closed")

    async def _in_thread(self, sql: str) -> None:
        """Run what may wait in the writer's thread, to its end even if the caller is cancelled meanwhile."""
        with unavailable_when_sick():
            await _to_the_end(self._thread, lambda: self._writer.raw.execute(sql))


async def _to_the_end(thread: ThreadPoolExecutor, function: Callable[[], object]) -> None:
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
    future.result()
