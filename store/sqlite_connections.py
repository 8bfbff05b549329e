"""One connection to a SQLite file: it knows which file that is, and says when another one has taken its place."""

import os
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NewType

from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

from store.database import Row, StoreUnavailable
from store.namespaces import CORE
from store.sqlite_faults import raise_if_sick, unavailable_when_sick
from store.sqlite_memory import Memory
from store.statements import Made, Question, Statement

_DIALECT = sqlite_dialect(paramstyle="qmark")

# What SQLite keeps beside a file by its name, and would apply to any other that gets this name.
SIDE_FILES = ("-wal", "-shm", "-journal")

# A file that is replaced while it is being opened is opened again: once is rare, and nobody does it all the time.
_ATTEMPTS = 3

FileIdentity = NewType("FileIdentity", tuple[int, int])


def identity_of(path: Path) -> FileIdentity:
    """Return what tells one file from another that is put in its place. Raises `StoreUnavailable` when it is gone."""
    try:
        found = path.stat()
    except OSError as error:
        raise StoreUnavailable("the database file is gone") from error
    return FileIdentity((found.st_dev, found.st_ino))


def connect(path: Path, patience: timedelta, *, mode: str = "mode=rw") -> sqlite3.Connection:
    """Connect to a file that is there: none is ever made, also where one is just being replaced."""
    address = f"{path.absolute().as_uri()}?{mode}"
    return sqlite3.connect(
        address, uri=True, timeout=patience.total_seconds(), isolation_level=None, check_same_thread=False
    )


class SQLiteConnection:
    """A connection that speaks statements; its caller sees to it that one task at a time does."""

    def __init__(self, path: Path, patience: timedelta, *, read_only: bool) -> None:
        """Open the file that is at the path now, and no mixture of it and the next one.

        SQLite opens the log beside the file by its name, and later than the file: between the two it may be another's.
        Raises `StoreUnavailable` when there is no database of Watchword's.
        """
        with unavailable_when_sick():
            for _ in range(_ATTEMPTS):
                self.file = identity_of(path)
                self.raw = _opened(path, patience, read_only=read_only)
                if identity_of(path) == self.file:
                    break
                self.raw.close()
            else:
                raise StoreUnavailable("the database file is being replaced")
        self._path, self._patience, self._is_reader = path, patience, read_only
        self._beside = _beside(path)
        self._memory = Memory(self.raw)

    def followed(self) -> "SQLiteConnection":
        """Return a connection to the file that has taken this one's place, and close this.

        Raises `StoreUnavailable`, also while the log of this file lies beside the other: it would be applied to it.
        """
        if self._beside & _beside(self._path):
            raise StoreUnavailable("the database file was replaced, and the log of the one before was left beside it")
        other = SQLiteConnection(self._path, self._patience, read_only=self._is_reader)
        # SQLite sees that this file was moved, and leaves the log alone that is beside the other.
        self.raw.close()
        return other

    async def one(self, statement: Statement, /, **values: Any) -> Row | None:
        """Keep the contract of `Reader.one`."""
        return self._first(statement, values)

    async def all(self, statement: Statement, /, **values: Any) -> list[Row]:
        """Keep the contract of `Reader.all`."""
        compiled = statement.compiled(_DIALECT)
        with unavailable_when_sick():
            return self.raw.execute(compiled.sql, compiled.arguments(values)).fetchall()

    def recall(self, question: Question[Made], arguments: tuple[Any, ...]) -> Made | None:
        """Do what `Database.recall` does, of a connection that only reads: its own commits it would not hear of."""
        answers = self._memory.answers(question)
        known = answers.get(arguments)
        if known is None:
            row = self._first(question.statement, question.values(arguments))
            if row is not None:
                known = question.made_of(row)
                self._memory.keep(answers, arguments, known)
        return known

    def _first(self, statement: Statement, values: Mapping[str, Any]) -> Row | None:
        compiled = statement.compiled(_DIALECT)
        # Not `unavailable_when_sick`, which costs as much as a tenth of such a read.
        try:
            row: Row | None = self.raw.execute(compiled.sql, compiled.arguments(values)).fetchone()
        except sqlite3.Error as error:
            raise_if_sick(error)
            raise
        return row

    async def run(self, statement: Statement, /, **values: Any) -> int:
        """Keep the contract of `Transaction.run`."""
        compiled = statement.compiled(_DIALECT)
        with unavailable_when_sick():
            return self.raw.execute(compiled.sql, compiled.arguments(values)).rowcount

    def announce(self) -> None:
        """Do nothing: whoever waits looks at the file's own version."""

    def version(self) -> tuple[FileIdentity, int]:
        """Return what is something else whenever another connection, of any process, has committed."""
        with unavailable_when_sick():
            return self.file, self.raw.execute("PRAGMA data_version").fetchone()[0]


def _beside(path: Path) -> frozenset[FileIdentity]:
    """Return which files lie beside the one that is at the path, or where a link at the path leads."""
    there, real = set[FileIdentity](), os.path.realpath(path)
    for side in SIDE_FILES:
        with suppress(StoreUnavailable):
            there.add(identity_of(Path(f"{real}{side}")))
    return frozenset(there)


def _opened(path: Path, patience: timedelta, *, read_only: bool) -> sqlite3.Connection:
    raw = connect(path, patience)
    try:
        # Before anything is set: an empty file that was put here would be made a database by that.
        (found,) = raw.execute("SELECT count(*) FROM sqlite_master WHERE name = ?", [CORE.version_table]).fetchone()
        if not found:
            raise StoreUnavailable("the database file is not one of Watchword's")
        raw.execute("PRAGMA foreign_keys = ON")
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA synchronous = FULL")
        if read_only:
            raw.execute("PRAGMA query_only = ON")
    except BaseException:
        raw.close()
        raise
    return raw
